"""`.bin` files of every protocol of pickle, and what is none."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from curate.errors import UsageError
from curate.evaluate.datasets import read
from curate.evaluate.samples import (
    PairTrials,
)
from tests.evaluate import layouts
from tests.evaluate.test_datasets import all_sound

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


@pytest.mark.parametrize("name", ["lfw", "cfp_fp", "agedb_30"])
def test_insightface_bin(name: str, tmp_path: Path) -> None:
    layouts.make_bin(tmp_path / f"{name}.bin")
    dataset = read(name, "recognition", tmp_path)
    assert isinstance(dataset.trials, PairTrials) and np.bincount(dataset.trials.fold).tolist() == [2] * 10
    assert all_sound(dataset)


def test_bin_of_python_2_and_of_numpy(tmp_path: Path) -> None:
    content = ([np.frombuffer(layouts.jpeg(i), np.uint8) for i in range(40)], np.arange(20) % 2 == 0)
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content, protocol=2))
    dataset = read("lfw", "recognition", tmp_path)
    assert all_sound(dataset) and dataset.trials is not None and dataset.trials.same.sum() == 10


def test_bin_with_few_pairs_or_pictures_says_which(tmp_path: Path) -> None:
    layouts.make_bin(tmp_path / "lfw.bin", pairs=2)
    with pytest.raises(UsageError, match=r"lfw\.bin: 2 pairs, which cannot be cut into 10 folds; at least 10"):
        read("lfw", "recognition", tmp_path)
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([layouts.jpeg(i) for i in range(4)], [True] * 10)))
    with pytest.raises(UsageError, match="4 pictures for 10 pairs; twice as many"):
        read("lfw", "recognition", tmp_path)


def test_bin_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([Evil()], [True])))
    with pytest.raises(UsageError, match="it asks for"):
        read("lfw", "recognition", tmp_path)
    assert not (tmp_path / "ran").exists()
