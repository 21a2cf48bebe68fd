"""insightface's `.bin` files of aligned pairs: a pickled list of JPEG bytes and one of booleans, two pictures a pair.

A pickle can run code, so this one is read by an unpickler that knows bytes, numbers, lists and NumPy arrays alone.
"""

from __future__ import annotations

import codecs
import io
import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import UsageError, one_line
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import counts
from curate.evaluate.pictures import Encoded
from curate.evaluate.samples import TEST, Dataset, PairTrials, Sample, TaskName

CROP = CropRule("whole", size=112, origin="aligned by insightface to ArcFace's template")
PAIRS = {"cfp_fp": 7000}
"""How many pairs a file holds where they are not 6,000."""
HARMLESS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.{module}", function): getattr(import_module(f"numpy._core.{module}"), function)
        for core in ("core", "_core")  # before and since NumPy 2
        for module, function in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    },
    ("_codecs", "encode"): codecs.encode,
    ("builtins", "bytearray"): bytearray,
    ("__builtin__", "bytearray"): bytearray,
}
"""What bytes, numbers and arrays are made by, in every protocol of pickle; none runs code of the file's choice."""


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no list of pictures needs")
        return HARMLESS[module, name]


def read_bin(path: Path, name: str, task: TaskName, folds: int = 10) -> Dataset:
    """A data set of the pairs in a `.bin` file; the folds are ten equal parts, in order, as insightface cuts them.

    Raises:
        UsageError: it is not of the format, or asks for code.
    """
    try:
        content = _Restricted(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        pictures, same = content
        images = [_encoded(picture) for picture in pictures]
        labels = np.array([_verdict(value, place) for place, value in enumerate(same)], dtype=bool)
    except (
        OSError,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
    ) as error:
        raise UsageError(f"{path}: no insightface .bin of pairs ({one_line(error, 120)})") from None
    if len(labels) < folds:
        raise UsageError(
            f"{path}: {len(labels)} pairs, which cannot be cut into {folds} folds; at least {folds} are needed"
        )
    if len(images) != 2 * len(labels):
        raise UsageError(f"{path}: {len(images)} pictures for {len(labels)} pairs; twice as many are needed")
    samples = [Sample(f"{path.name}/{i:06d}", Encoded(image), TEST) for i, image in enumerate(images)]
    index = np.arange(len(labels), dtype=np.int64)
    trials = PairTrials(2 * index, 2 * index + 1, labels, index * folds // len(labels))
    notes = counts({"pairs": len(labels)}, {"pairs": PAIRS.get(name, 6000)})
    return Dataset(name, task, samples, CROP, trials=trials, notes=notes)


def _encoded(picture: Any) -> bytes:
    """The bytes of a picture file, as bytes or as an array of them.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or max(picture.shape, default=0) != picture.size:
            raise ValueError(f"a picture is an array {picture.shape} of {picture.dtype}; encoded pictures are needed")
        return picture.tobytes()
    if not isinstance(picture, bytes | bytearray):
        raise ValueError(f"a picture is {type(picture).__name__}; encoded pictures are needed")
    return bytes(picture)


def _verdict(value: Any, place: int) -> bool:
    """Whether a pair is one person.

    Raises:
        ValueError: it is neither 0 nor 1.
    """
    found = value.item() if isinstance(value, np.generic) else value
    if found not in (0, 1):
        raise ValueError(f"pair {place + 1} has {found!r} where True or False is needed")
    return bool(found)
