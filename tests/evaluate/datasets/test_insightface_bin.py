"""`.bin` files of every protocol of pickle, and what is none."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from curate.errors import UsageError
from curate.evaluate.datasets import read
from curate.evaluate.samples import PairTrials
from tests.evaluate import layouts

PICTURES = [layouts.jpeg(i, 32) for i in range(20)]
SAME = [i % 2 == 0 for i in range(10)]
PICTURES_AS = {
    "bytes": PICTURES,
    "bytearrays": [bytearray(p) for p in PICTURES],
    "arrays": [np.frombuffer(p, np.uint8) for p in PICTURES],
    "columns": [np.frombuffer(p, np.uint8)[:, None] for p in PICTURES],
    "objects": np.array(PICTURES, dtype=object),
}
SAME_AS = {
    "booleans": SAME,
    "array": np.array(SAME),
    "scalars": list(np.array(SAME)),
    "numbers": [int(s) for s in SAME],
    "int64": np.array(SAME, dtype=np.int64),
    "tuple": tuple(SAME),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("pictures", PICTURES_AS)
def test_every_protocol_is_read_alike(protocol: int, pictures: str, tmp_path: Path) -> None:
    for same in SAME_AS.values():
        (tmp_path / "lfw.bin").write_bytes(pickle.dumps((PICTURES_AS[pictures], same), protocol=protocol))
        dataset = read("lfw", "recognition", tmp_path)
        assert isinstance(dataset.trials, PairTrials) and dataset.trials.same.tolist() == SAME
        assert all(s.picture.read().shape == (32, 32, 3) for s in dataset.samples[:2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((PICTURES, [*SAME[:-1], -1]), "pair 10 has -1 where True or False"),
        ((PICTURES, [*SAME[:-1], "False"]), "pair 10 has 'False'"),
        (([np.zeros((32, 32, 3), np.uint8)] * 20, SAME), "a picture is an array .* encoded pictures are needed"),
        ((["a.jpg"] * 20, SAME), "a picture is str; encoded pictures are needed"),
        ({"a": 1}, "no insightface .bin"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(content: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError, match=message):
        read("lfw", "recognition", tmp_path)


@pytest.mark.parametrize("name", ["builtins eval", "os system", "numpy load", "numpy._core.numeric fromfunction"])
def test_code_is_refused(name: str, tmp_path: Path) -> None:
    module, function = name.split()
    code = f"c{module}\n{function}\n(S'1'\ntR.".encode()
    (tmp_path / "lfw.bin").write_bytes(code)
    with pytest.raises(UsageError, match=f"it asks for {module}.{function}, which no list of pictures needs"):
        read("lfw", "recognition", tmp_path)
