"""Pictures that are no build, as faces to learn from: `--data DIR|URL`.

    a folder                pictures below it, in any depth; the first folder is the label
    WebDataset shards       *.tar: one URL, a folder of them, or a pattern (shard-{000..010}.tar, shard-*.tar); `cls`,
                            `txt` or a key of `json` is the label
    Hugging Face data sets  on disk: `save_to_disk` (arrow) or Parquet files with a column of pictures, such as
                            `curate export --format huggingface` writes; a column is the label

Nothing is known of clips and near-duplicates here. Where there are several splits, `train` is read.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import fsspec
import numpy as np
import pyarrow as pa
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from curate import locations
from curate.errors import UnavailableError, UsageError, one_line
from curate.pretrain.picture_readers import AT_ONCE, SUFFIXES, Entry, Files, Reader, Shards, Tables, relative
from curate.progress import say
from curate.storage.files import files_below

Positions = NDArray[np.int64]
MOST_SIDE = 512
"""Of pictures whose size nobody chose, pixels."""
QUALITY = 95
ORIENTATION = 274
"""The EXIF tag that says how a camera was held."""


@dataclass(frozen=True)
class PictureSet:
    """Pictures of any kind; see `curate.pretrain.faces.Faces`.

    Attributes:
        path: as the user gave it.
        sha256: of their names and labels, and the sizes of the files that hold them.
        entries: the pictures, those of one file side by side.
        reader: reads them.
        side: pixels to which pictures are cut square and resized; None: the first one's shorter side.
        whole: of a part nothing is said, since it was said of the whole.
    """

    path: str
    sha256: str
    entries: tuple[Entry, ...]
    reader: Reader
    side: int | None
    build: str | None = None
    build_hash: str | None = None
    whole: bool = True

    def __len__(self) -> int:
        return len(self.entries)

    def face_ids(self, positions: Positions) -> list[str]:
        """Names of the pictures at some positions."""
        return [self.entries[position].name for position in positions]

    def labels(self, name: str) -> tuple[Positions, list[str]]:
        """The labels that were read; there is one kind."""
        names = sorted({entry.label for entry in self.entries if entry.label is not None})
        if not names:
            raise UsageError(f"data.labels = {name}: {self.path} has no labels (a folder a class, cls, or a column)")
        index = {label: number for number, label in enumerate(names)}
        values = [-1 if entry.label is None else index[entry.label] for entry in self.entries]
        return np.array(values, np.int64), names

    def people(self) -> Positions | None:
        """The labels, if there are any."""
        try:
            return self.labels("label")[0]
        except UsageError:
            return None

    def clips(self) -> Positions:
        """Not known: every picture counts as one."""
        return np.arange(len(self), dtype=np.int64)

    def near_duplicates(self) -> Positions:
        """Not known: no picture counts as one."""
        return np.arange(len(self), dtype=np.int64)

    def subset(self, positions: Positions) -> PictureSet:
        """The pictures at some positions alone."""
        return replace(self, entries=tuple(self.entries[position] for position in positions), whole=False)

    def pictures(self) -> Iterator[tuple[Positions, list[bytes]]]:
        """Square JPEGs of one size; what was done to them is counted and said."""
        order = sorted(
            range(len(self)), key=lambda position: (self.entries[position].file, self.entries[position].number)
        )
        side, counts = self.side, dict.fromkeys(("as they are", "cut or resized", "re-encoded", "unreadable"), 0)
        for file, group in itertools.groupby(order, key=lambda position: self.entries[position].file):
            positions = list(group)
            contents = self._contents(file, positions)
            while chunk := list(itertools.islice(zip(positions, contents, strict=False), AT_ONCE)):
                made = []
                for _, content in chunk:
                    data, what, side = _square_jpeg(content, side)
                    counts[what] += 1
                    made.append(data)
                positions = positions[len(chunk) :]
                yield np.array([position for position, _ in chunk], np.int64), made
            if positions:
                raise UsageError(f"{file}: holds {len(positions)} pictures less than when it was listed; run again")
        said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        if self.whole:
            say(f"{self.path}: {len(self):,} pictures of {side} x {side} pixels: {said}")

    def _contents(self, file: str, positions: list[int]) -> Iterator[bytes]:
        try:
            yield from self.reader.read(file, [self.entries[position] for position in positions])
        except FileNotFoundError:
            raise UsageError(f"{file}: went missing while it was read") from None
        except (OSError, tarfile.TarError, pa.ArrowException) as error:
            raise UsageError(f"{file}: cannot be read ({one_line(error, 160)})") from None


def open_pictures(path: str, labels: str, side: int | None) -> PictureSet:
    """Lists the pictures of a folder or URL.

    Args:
        path: see the module.
        labels: name of the column or key that holds labels.
        side: see `PictureSet`.

    Raises:
        UsageError: there is nothing, or no picture in it.
    """
    files, sizes = _files(path)
    reader, chosen = _kind(path, files)
    try:
        entries = tuple(reader.entries(chosen, labels))
    except (OSError, tarfile.TarError, pa.ArrowException) as error:
        raise UsageError(f"--data {path}: cannot be read ({one_line(error, 160)})") from None
    if not entries:
        raise UsageError(f"--data {path}: no pictures in it")
    digest = hashlib.sha256(json.dumps([side, [(relative(f, path), sizes.get(f)) for f in chosen]]).encode())
    for entry in entries:
        digest.update(json.dumps([entry.name, entry.label]).encode())
    return PictureSet(path, digest.hexdigest(), entries, reader, side)


# ------------------------------------------------------------------------------------------------- what lies where


def _files(path: str) -> tuple[list[str], dict[str, int | None]]:
    """The files below a folder or URL, sorted, and their sizes."""
    named = _braces(path)
    if len(named) > 1 or locations.suffix(path) in (".tar", ".parquet", ".arrow"):
        named = [file for one in named for file in _stars(path, one)]
        return named, {file: _size(file) for file in named}
    if locations.is_local(path):
        root = Path(locations.local_path(path))
        if not root.exists():
            raise UsageError(f"--data {path}: there is no such folder")
        found = sorted(str(file) for file in files_below(root) if file.is_file() and not _hidden(file, root))
        return found, {file: Path(file).stat().st_size for file in found}
    try:
        system, base = fsspec.core.url_to_fs(path)
        listed = system.find(base, detail=True)
    except (ImportError, ValueError) as error:
        raise UnavailableError(f"--data {path}: cannot be reached ({one_line(error, 160)})") from None
    except OSError as error:
        raise UsageError(f"--data {path}: cannot be listed ({one_line(error, 160)})") from None
    sizes = {_below(path, name, str(base)): info.get("size") for name, info in listed.items()}
    return sorted(sizes), sizes


def _below(path: str, name: str, base: str) -> str:
    """The location of a file that a file system lists below `base`, which is what it calls the folder at `path`."""
    return locations.join(path, name.removeprefix(base).lstrip("/")) if name.startswith(base) else name


def _kind(path: str, files: list[str]) -> tuple[Reader, list[str]]:
    """How the files are read, and which of them."""
    names = {PurePosixPath(file).name for file in files}
    for suffix, reader in ((".tar", Shards()), (".arrow", Tables()), (".parquet", Tables())):
        chosen = [file for file in files if locations.suffix(file) == suffix]
        if chosen and (suffix != ".arrow" or "state.json" in names or len(chosen) == len(files)):
            return reader, _of_training(path, chosen)
    return Files(path), [file for file in files if locations.suffix(file) in SUFFIXES]


def _of_training(path: str, files: list[str]) -> list[str]:
    """Those of the split `train`, where the files are of several."""
    train = [file for file in files if re.search(r"(^|[/_.-])train([/_.-]|$)", relative(file, path))]
    if train and len(train) < len(files):
        say(f"--data {path}: the split train is read, {len(train)} of {len(files)} files")
    return train or files


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _size(file: str) -> int | None:
    try:
        if locations.is_local(file):
            return Path(locations.local_path(file)).stat().st_size
        system, name = fsspec.core.url_to_fs(file)
        return int(system.size(name))
    except (OSError, ImportError, ValueError, TypeError):
        return None


def _braces(path: str) -> list[str]:
    """`shard-{000..010}.tar` as the names that it stands for; any other path as it is."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", path)
    if not found:
        return [path]
    first, last = found[1], found[2]
    numbers = range(int(first), int(last) + 1)
    return [p for n in numbers for p in _braces(path[: found.start()] + str(n).zfill(len(first)) + path[found.end() :])]


def _stars(path: str, name: str) -> list[str]:
    """The files that `shard-*.tar` stands for; any other name as it is; `path`: as the user gave it."""
    if "*" not in name:
        return [name]
    try:
        system, pattern = fsspec.core.url_to_fs(name)
        local = locations.is_local(name)
        found = sorted(str(one) if local else system.unstrip_protocol(one) for one in system.glob(pattern))
    except (OSError, ImportError, ValueError) as error:
        raise UnavailableError(f"--data {path}: cannot be listed ({one_line(error, 160)})") from None
    if not found:
        raise UsageError(f"--data {path}: no file has such a name")
    return found


def _square_jpeg(content: bytes, side: int | None) -> tuple[bytes, str, int | None]:
    """A picture as a square JPEG of `side` pixels; what was done to it; and the side, which the first one decides.

    A JPEG that is that already stays as it is. Others lose what lies beyond their central square.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            side = side or min(MOST_SIDE, *opened.size)
            upright = opened.getexif().get(ORIENTATION, 1) == 1
            if opened.format == "JPEG" and opened.size == (side, side) and upright:
                simplejpeg.decode_jpeg_header(content)
                return content, "as they are", side
            what = "re-encoded" if opened.size == (side, side) else "cut or resized"
            picture = ImageOps.exif_transpose(opened).convert("RGB")
            pixels = np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b"", "unreadable", side
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=QUALITY, colorsubsampling="444"), what, side
