"""Configuration of the site: `uv run --group docs sphinx-build -W docs OUT`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
_PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]

project = "equissl"
author = copyright = "The equissl authors"
release = version = _PROJECT["version"]
repository = _PROJECT["urls"]["Repository"]  # read by repository_links

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "repository_links",
    "reference",
]
exclude_patterns = ["_ext"]
highlight_language = "bash"
# Every method has a class named Config.
suppress_warnings = ["ref.python"]

myst_heading_anchors = 4
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "ignore_pattern": r"notebooks",
    "plot_gallery": "False",  # tests/test_examples.py runs them
    "download_all_examples": False,
    "remove_config_comments": True,
}

html_theme = "furo"
html_title = f"equissl {release}"
html_static_path = ["_static"]
html_css_files = ["equissl.css"]
html_show_copyright = False
html_theme_options = {
    "source_repository": repository,
    "source_branch": "main",
    "source_directory": "docs/",
}
