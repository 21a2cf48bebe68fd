"""Sample clips, filmed from the photographs that installed packages ship, so that nothing need be downloaded.

What repeats what is known (`EXPECTED`), so that the build's findings can be compared with it: a re-encoded, a
mirrored and a trimmed copy, a long still passage, a clip without people, one with damaged bytes and one cut off.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from curate.demo import film
from curate.demo.film import Head, Shot, View
from curate.errors import UnavailableError
from curate.hardware import cores
from curate.records import Pixels
from curate.storage.files import atomic_write, write_bytes

SEED = 1
SCRATCHES = (0.4, 0.44, 0.48)
"""Where in the file of the damaged clip, as shares of its length."""
SCRATCH_BYTES = 400
NASA = "public domain (NASA)"
NAVY = "public domain (U.S. Navy)"
SAMPLE = "sample picture of the insightface package; its rights are not stated"
CC0 = "CC0"


@dataclass(frozen=True)
class Photograph:
    """A picture inside an installed package.

    Attributes:
        file: path below the package's folder.
        width, height: pixels that the positions in `heads` are meant for.
    """

    package: str
    file: str
    width: int
    height: int
    license: str
    heads: tuple[Head, ...] = ()


ASTRONAUT = Photograph("skimage", "data/astronaut.png", 512, 512, NASA, (Head(223, 122, 96),))
ADMIRAL = Photograph("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", 512, 600, NAVY, (Head(272, 235, 190),))
ACTOR = Photograph("insightface", "data/images/Tom_Hanks_54745.png", 112, 112, SAMPLE, (Head(54, 66, 86),))
TABLE = Photograph(
    "insightface",
    "data/images/t1.jpg",
    1280,
    886,
    SAMPLE,
    (
        Head(118, 338, 105),
        Head(320, 224, 90),
        Head(515, 360, 122),
        Head(785, 418, 104),
        Head(936, 140, 110),
        Head(1168, 336, 104),
    ),
)
COFFEE = Photograph("skimage", "data/coffee.png", 600, 400, CC0)
ROCKET = Photograph("skimage", "data/rocket.jpg", 640, 427, CC0)


@dataclass(frozen=True)
class Expected:
    """What is known about one clip.

    Attributes:
        status: what it is, in the words of `videos.parquet`.
        copy_of: file name of the earlier clip that it repeats.
        note: in words; also a column of the list, which the report shows.
        damaged: whether some sampled frames cannot be decoded soundly.
    """

    title: str
    license: str
    note: str
    status: str = "ok"
    copy_of: str | None = None
    damaged: bool = False


EXPECTED: dict[str, Expected] = {
    "astronaut.mp4": Expected("Before the launch", NASA, "slow zoom; the head turns, the light changes"),
    "table.mp4": Expected("Six at a table", SAMPLE, "a pan along six people, who hardly move"),
    "admiral.mp4": Expected("The admiral waits", NAVY, "a long still passage: nearly every frame repeats the first"),
    "panel.mp4": Expected("Panel, highlights", f"{SAMPLE}; {NASA}; {NAVY}", "cuts between eight people"),
    "actor.mkv": Expected(
        "Casting tape (scratched)", SAMPLE, "some bytes are damaged; the rest is sound", damaged=True
    ),
    "astronaut-again.mp4": Expected(
        "Before the launch [reupload]",
        NASA,
        "astronaut.mp4 again, rescaled to 480x270 and re-encoded as MPEG-4",
        "duplicate",
        "astronaut.mp4",
    ),
    "table-mirrored.mp4": Expected(
        "Six at a table, do not steal", SAMPLE, "table.mp4 again, mirrored", "duplicate", "table.mp4"
    ),
    "panel-trimmed.mp4": Expected(
        "Panel, best bits",
        f"{SAMPLE}; {NASA}; {NAVY}",
        "the middle of panel.mp4, re-encoded",
        "duplicate",
        "panel.mp4",
    ),
    "coffee.mp4": Expected("Coffee, then a rocket", CC0, "nobody is in it", "no_faces"),
    "cut-off.mp4": Expected("Upload stopped at 60 %", NASA, "the file ends too early: its index is missing", "failed"),
}
"""Clips by file name, in the order of the list."""
COPIES = ("astronaut-again.mp4", "table-mirrored.mp4", "panel-trimmed.mp4", "cut-off.mp4")
"""Clips that are made of others."""


def render(folder: Path, advance: Callable[[str], object] = str) -> Path:
    """Renders the clips and the list that names them.

    Args:
        folder: is made where it is missing; clips that are there are rendered again.
        advance: receives the name of each clip when it is done.

    Returns:
        `folder/list.csv` with columns `source`, `title`, `uploader`, `license` and `note`.

    Raises:
        UnavailableError: an installed package lacks its picture, or PyAV has no encoder.
        StorageError: the folder cannot be written.
    """
    makers: dict[str, Callable[[Path], object]] = {
        "astronaut.mp4": lambda path: film.encode(path, film.frames(_astronaut(), SEED)),
        "table.mp4": lambda path: film.encode(path, film.frames(_table(), SEED + 1)),
        "admiral.mp4": lambda path: film.encode(path, film.frames(_admiral(), SEED + 2)),
        "panel.mp4": lambda path: film.encode(path, film.frames(_panel(), SEED + 3)),
        "actor.mkv": lambda path: _scratch(film.encode(path, film.frames(_actor(), SEED + 4))),
        "astronaut-again.mp4": lambda path: film.encode(
            path, film.decode(folder / "astronaut.mp4"), codec="mpeg4", crf=24, size=(480, 270)
        ),
        "table-mirrored.mp4": lambda path: film.encode(
            path, (picture[:, ::-1] for picture in film.decode(folder / "table.mp4")), crf=26
        ),
        "panel-trimmed.mp4": lambda path: film.encode(
            path, islice(film.decode(folder / "panel.mp4"), int(1.5 * film.FPS), int(7.5 * film.FPS)), crf=28
        ),
        "coffee.mp4": lambda path: film.encode(path, film.frames(_coffee(), SEED + 5)),
        "cut-off.mp4": lambda path: _cut(folder / "astronaut.mp4", path),
    }

    def make(name: str) -> str:
        with atomic_write(folder / name) as temporary:
            made = temporary.with_name(f"{temporary.name}{Path(name).suffix}")  # encoders go by the suffix
            try:
                makers[name](made)
                made.replace(temporary)
            finally:
                made.unlink(missing_ok=True)
        return name

    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(cores()) as each:
        for names in ([name for name in EXPECTED if name not in COPIES], COPIES):
            for name in each.map(make, names):
                advance(name)
    return _write_list(folder / "list.csv")


def picture(photograph: Photograph) -> Pixels:
    """The pixels of a photograph, uint8 [height, width, 3], RGB; its package is found but not imported.

    Raises:
        UnavailableError: the package is not installed, or ships another picture or none.
    """
    spec = importlib.util.find_spec(photograph.package)
    places = spec.submodule_search_locations if spec else None
    path = Path(next(iter(places), "")) / photograph.file if places else Path(photograph.file)
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if pixels is None or pixels.shape[:2] != (photograph.height, photograph.width):
        raise UnavailableError(
            f"the demo's picture {photograph.file} is not in the installed {photograph.package}; "
            f"pip install --force-reinstall {photograph.package.replace('skimage', 'scikit-image')}"
        )
    return np.ascontiguousarray(pixels[..., ::-1])


def _astronaut() -> list[Shot]:
    views = (
        View(240, 170, 330, turn=-0.9, light=-0.6),
        View(226, 142, 250, roll=-4, turn=0.2, nod=0.7, light=0.0),
        View(224, 130, 215, roll=5, turn=1.0, nod=-0.5, light=0.8),
        View(222, 126, 200, roll=0, turn=-0.2, nod=-0.9, light=-0.9),
    )
    return [_shot(ASTRONAUT, views, 7)]


def _table() -> list[Shot]:
    views = (
        View(330, 330, 620, turn=0.3),
        View(560, 360, 560, turn=0.0),
        View(760, 360, 560, turn=-0.2),
        View(950, 320, 620, turn=-0.4),
    )
    return [_shot(TABLE, views, 7)]


def _admiral() -> list[Shot]:
    still = _shot(ADMIRAL, (View(290, 260, 500),), 6.5, hand_held=False)
    moved = _shot(ADMIRAL, (View(290, 260, 500), View(272, 240, 430, roll=3, turn=0.9, nod=0.4, light=0.7)), 1.5)
    return [still, moved]


def _panel() -> list[Shot]:
    """Cuts between people who were in other clips, held and lit otherwise, and one who was not."""
    table = [
        (0, View(150, 345, 300, turn=0.9, light=0.8), View(170, 350, 270, roll=4, turn=-0.3, nod=0.8, light=0.2)),
        (2, View(515, 370, 330, turn=-1.0, light=-0.7), View(520, 365, 300, roll=-5, turn=0.1, nod=-0.8, light=0.5)),
        (3, View(785, 430, 300, turn=0.8, nod=0.6, light=-0.8), View(790, 425, 280, turn=-0.9, nod=-0.2, light=0.1)),
        (5, View(1128, 345, 300, turn=-0.8, nod=-0.7), View(1130, 340, 270, roll=-4, turn=0.8, light=-0.9)),
        (1, View(320, 235, 280, roll=5, turn=0.8, light=-0.5), View(320, 230, 260, turn=-0.6, nod=0.8, light=0.9)),
        (4, View(936, 160, 300, nod=0.9, light=0.6), View(936, 165, 280, roll=-3, turn=0.9, nod=-0.6, light=-0.6)),
    ]
    takes = [Shot(picture(TABLE), (TABLE.heads[i],), (start, end), 1.1) for i, start, end in table]
    astronaut = (View(226, 135, 240, roll=-6, turn=0.9, nod=0.9, light=0.5), View(226, 140, 225, turn=0.6, nod=0.0))
    admiral = (View(272, 245, 480, roll=-5, turn=-1.0, light=-0.9), View(272, 240, 440, turn=-0.5, nod=-0.9))
    takes.insert(2, _shot(ASTRONAUT, astronaut, 1.1))
    takes.insert(5, _shot(ADMIRAL, admiral, 1.1))
    return takes


def _actor() -> list[Shot]:
    pixels = film.widened(picture(ACTOR))
    middle = pixels.shape[1] / 2
    moved = tuple(Head(head.x + middle - ACTOR.width / 2, head.y, head.width) for head in ACTOR.heads)
    views = (
        View(middle, 58, 190, turn=-0.8, light=0.5),
        View(middle - 4, 60, 165, roll=5, turn=0.7, nod=0.6),
        View(middle, 58, 180, roll=-4, turn=0.0, nod=-0.8, light=-0.7),
    )
    return [Shot(pixels, moved, views, 6)]


def _coffee() -> list[Shot]:
    return [
        _shot(COFFEE, (View(250, 180, 420), View(330, 220, 520)), 2.5),
        _shot(ROCKET, (View(320, 260, 560), View(320, 200, 380)), 2.5),
    ]


def _shot(photograph: Photograph, views: tuple[View, ...], seconds: float, hand_held: bool = True) -> Shot:
    return Shot(picture(photograph), photograph.heads, views, seconds, hand_held)


def _scratch(path: Path) -> Path:
    """Overwrites bytes here and there in the middle of a clip, as a scratched disk would lose them."""
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(SEED)
    for share in SCRATCHES:
        start = int(len(data) * share)
        data[start : start + SCRATCH_BYTES] = rng.bytes(SCRATCH_BYTES)
    path.write_bytes(bytes(data))
    return path


def _cut(original: Path, path: Path) -> None:
    """The first 60 % of a file; an MP4's index lies at its end."""
    data = original.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])


def _write_list(path: Path) -> Path:
    rows = [
        {"source": name, "title": known.title, "uploader": "curate demo", "license": known.license, "note": known.note}
        for name, known in EXPECTED.items()
    ]
    text = StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())
    return path
