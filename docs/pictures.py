"""Takes the pictures of pages that the documentation shows: `python -m docs.pictures FOLDER`.

They are of a build of those clips of `curate demo` that show people in the public domain alone; it is made in FOLDER
where it is not there yet. Needs Chromium and its WebDriver.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

from PIL import Image

from curate import recipe
from curate.demo import clips
from curate.run import page
from curate.run.build import build
from curate.run.cluster import Executor
from tests.browser import Browser, chromium

DOCS = Path(__file__).parent
FREE = ("astronaut.mp4", "admiral.mp4", "astronaut-again.mp4", "coffee.mp4", "cut-off.mp4")
COLOURS = 128
"""Of a picture's palette, so that the repository stays small."""
SEEN = "(([...all]) => all.length > 7 && all.slice(0, 8).every((one) => one.complete))(document.querySelectorAll('{}'))"


def built(folder: Path) -> Path:
    """The build, made if it is not there."""
    if not (folder / "build" / "build.json").is_file():
        with clips.render(folder / "clips").open(newline="") as listed:
            rows = [row for row in csv.reader(listed) if row[0] in (*FREE, "source")]
        with (folder / "clips" / "free.csv").open("w", newline="") as out:
            csv.writer(out).writerows(rows)
        chosen = recipe.load(None, {"manifests.sizes": [40], "manifests.redundancies": [0.0, 0.5]})
        build(folder / "clips" / "free.csv", folder / "build", chosen, Executor(1))
    return folder / "build"


def keep(data: bytes, name: str, width: int = 0) -> None:
    """Writes a screenshot, PNG, with a palette; cut to a width in pixels where one is given."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture = picture.crop((0, 0, width or picture.width, picture.height))
    picture.quantize(COLOURS).save(DOCS / name, optimize=True)


def report(browser: Browser, place: Path) -> None:
    """The report's head, and what words mean, from its parts."""
    browser.open(page.write(place).resolve().as_uri())  # again: the build may be of an earlier version
    browser.show(1100, "light", 1000)
    keep(browser.picture(), "report.png")
    browser.show(820, "light", 860)
    for name, selector in (
        ("track", "#moments .track:nth-child(2)"),
        ("cluster", "div.cluster"),
        ("pairs", "#border"),
    ):
        keep(browser.picture(selector), f"definitions-{name}.png")


def explore(browser: Browser, place: Path) -> None:
    """The page of `curate explore`."""
    arguments = [sys.executable, "-m", "curate", "explore", str(place), "--port", "0", "--no-browser"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        browser.open(next(word for word in server.stdout.readline().split() if word.startswith("http://127")))
        browser.show(1000, "light", 640)
        browser.until(SEEN.format(".tile img"))
        keep(browser.picture(), "explore-faces.png")
        browser.run("document.getElementById('tab-threshold').click()")
        browser.until(SEEN.format(".pair img"))
        keep(browser.picture(), "explore-threshold.png")
        server.terminate()


if __name__ == "__main__":
    where = built(Path(sys.argv[1]))
    with chromium() as opened:
        report(opened, where)
        explore(opened, where)
