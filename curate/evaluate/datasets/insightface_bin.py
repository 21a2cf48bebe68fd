"""insightface's `.bin` files of aligned pairs: a pickled list of JPEG bytes and one of booleans, two pictures a pair.

A pickle can run code, so this one is read by an unpickler that knows bytes, numbers, lists and NumPy arrays alone.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import UsageError, one_line
from curate.evaluate.crops import CropRule
from curate.evaluate.pictures import Encoded
from curate.evaluate.samples import TEST, Dataset, PairTrials, Sample, TaskName

CROP = CropRule("whole", size=112, origin="aligned by insightface to ArcFace's template")
HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no list of pictures needs")
        return super().find_class(module, name)


def read_bin(path: Path, name: str, task: TaskName, folds: int = 10) -> Dataset:
    """A data set of the pairs in a `.bin` file; the folds are ten equal parts, in order, as insightface cuts them.

    Raises:
        UsageError: it is not of the format, or asks for code.
    """
    try:
        content = _Restricted(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        pictures, same = content
        images = [p.tobytes() if isinstance(p, np.ndarray) else bytes(p) for p in pictures]
        truth = np.array([bool(s) for s in same])
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
    if len(truth) < folds:
        raise UsageError(
            f"{path}: {len(truth)} pairs, which cannot be cut into {folds} folds; at least {folds} are needed"
        )
    if len(images) != 2 * len(truth):
        raise UsageError(f"{path}: {len(images)} pictures for {len(truth)} pairs; twice as many are needed")
    samples = [Sample(f"{path.name}/{i:06d}", Encoded(image), TEST) for i, image in enumerate(images)]
    index = np.arange(len(truth), dtype=np.int64)
    return Dataset(
        name, task, samples, CROP, trials=PairTrials(2 * index, 2 * index + 1, truth, index * folds // len(truth))
    )
