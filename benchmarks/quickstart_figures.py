"""The README's table, text and figure of the quickstart, all from the same runs.

uv run python benchmarks/quickstart_figures.py --out figures     # seeds 0, 1 and 2; goes on where it stopped

The figure needs ``chromium`` on the path. Rounding differs between machines, and training with it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import equissl
from equissl import report
from equissl.report.display_names import decimal
from equissl.report.rows import read

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- figures of the quickstart: benchmarks/quickstart_figures.py -->", "<!-- end of figures -->"
COLUMNS: Mapping[str, str] = {
    "linear/top1": "top-1",
    "audit/hue": "hue (R²)",
    "audit/crop_left": "crop left (R²)",
    "audit/crop_top": "crop top (R²)",
    "audit/rotation": "in-plane rotation (R²)",
    "factor/floor_hue": "floor hue (R²)",
}


def main() -> None:
    """Run what is missing, then write README.md and docs/report.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    runs = {seed: equissl.quickstart(given.out / f"seed{seed}", seed=seed) for seed in given.seeds}
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n{figures(runs)}\n{END}{after}", encoding="utf-8")
    figure(given.out / f"seed{given.seeds[0]}" / "report.html", ROOT / "docs" / "report.png")


def figures(runs: Mapping[int, list[Path]]) -> str:
    """The table with a row per seed and encoder, and what it shows in words."""
    lines = [f"| seed | | {' | '.join(COLUMNS.values())} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    spread: dict[str, list[float]] = {}
    for seed, folders in runs.items():
        for folder in folders:
            found = scores(folder)
            lines.append(f"| {seed} | {folder.name} | {' | '.join(cells(found))} |")
            spread.setdefault(folder.name, []).append(found["audit/hue"])
    first, folders = next(iter(runs.items()))
    lines.append(f"| | untrained copies (seed {first}) | {' | '.join(cells(scores(folders[0], 'random')))} |")
    lines.append(f"| | statistics of the image | {' | '.join(cells(scores(folders[0], 'statistics')))} |")
    ranges = " and ".join(f"{n} {min(v):.2f} to {max(v):.2f}" for n, v in spread.items())
    claim = report.finding(report.comparison(folders)).claim
    return "\n".join(
        [*lines, "", f"The page of seed {first} begins: *{claim}* Hue over {len(runs)} seeds: {ranges}."]
    )


def scores(folder: Path, baseline: str = "") -> dict[str, float]:
    """Name -> score of the whole features, or of a baseline beside them."""
    rows = read(folder).scores
    return {m.name: m.value for m in rows if m.baseline == baseline and m.part == "all"}


def cells(found: Mapping[str, float]) -> Iterator[str]:
    return (decimal(found[name], 2) if name in found else "" for name in COLUMNS)


def figure(page: Path, out: Path) -> None:
    """A screenshot of the top of a page."""
    if (browser := shutil.which("chromium")) is None:
        print(f"no figure: there is no chromium to show {page}")
        return
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1440,2000"]
    subprocess.run([browser, *flags, f"--screenshot={out}", page.resolve().as_uri()], check=True)


if __name__ == "__main__":
    main()
