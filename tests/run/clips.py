"""Clips of a second or two for tests, made from photographs that installed packages ship."""

from __future__ import annotations

import shutil
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def photograph(package: str, path: str) -> Picture:
    """A picture that lies in an installed package, RGB."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    data = np.fromfile(Path(spec.submodule_search_locations[0]) / path, np.uint8)
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def astronaut() -> Picture:
    return photograph("skimage", "data/astronaut.png")[:360, 40:400]


def people() -> Picture:
    return photograph("insightface", "data/images/t1.jpg")


def write(path: Path, picture: Picture, frames: int = 12, fps: int = 10, zoom: float = 1.15, turn: float = 12) -> None:
    """A clip that zooms into a picture and turns it by some degrees."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    pictures = []
    for i in range(frames):
        share = i / max(1, frames - 1)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn * (share - 0.5), 1 + (zoom - 1) * share)
        pictures.append(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE))
    encode(path, pictures, fps)


def encode(path: Path, pictures: list[Picture], fps: int) -> None:
    """A clip of pictures of one size, with even sides."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        stream.time_base = Fraction(1, fps)
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))


def collection(folder: Path) -> Path:
    """Clips with and without faces, a copy, broken files, and a list of them with columns; returns the list."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "astronaut.mp4", astronaut())
    write(folder / "people.mp4", people(), frames=6)
    shutil.copy(folder / "astronaut.mp4", folder / "again.mp4")
    write(folder / "grey.mp4", np.full((240, 320, 3), 90, np.uint8), frames=4)
    (folder / "cut.mp4").write_bytes((folder / "people.mp4").read_bytes()[:3000])
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "empty.mp4").write_bytes(b"")
    rows = [
        ("astronaut.mp4", "<script>alert(1)</script>", "CC0", 1),
        ("people.mp4", "five, or six", "", 2),
        ("again.mp4", "../../etc/passwd", "CC0", 3),
        ("grey.mp4", "nobody", "", 4),
        ("cut.mp4", "", "", 5),
        ("noise.mp4", "", "", 6),
        ("empty.mp4", "", "", 7),
        ("missing.mp4", "", "", 8),
    ]
    listed = folder / "list.csv"
    lines = [f'{source},"{title}",{licence},{number}' for source, title, licence, number in rows]
    listed.write_text("\n".join(["source,title,license,batch", *lines]) + "\n", encoding="utf-8")
    return listed
