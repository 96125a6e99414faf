"""Links from a page to files outside ``docs/`` lead to the repository, since the site does not hold them."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace relative links that leave the folder of the pages."""
    folder = Path(app.env.doc2path(page)).parent
    root = Path(app.srcdir).parent

    def address(found: re.Match[str]) -> str:
        target = (folder / found[1]).resolve()
        if target.is_relative_to(app.srcdir) or not target.is_relative_to(root):
            return found[1]
        kind = "tree" if target.is_dir() else "blob"
        return f"{app.config.repository}/{kind}/main/{target.relative_to(root).as_posix()}"

    source[0] = LINK.sub(address, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("repository", "", "env")
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}
