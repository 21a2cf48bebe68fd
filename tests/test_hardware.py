from __future__ import annotations

import importlib.metadata
import json
import os
import re
import tomllib
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from curate import hardware
from curate.errors import UnavailableError


@pytest.mark.parametrize(
    ("mask", "worker", "taken"), [(None, 3, "1"), ("2,5", 0, "2"), ("2,5", 3, "5"), ("GPU-ab, GPU-cd", 1, "GPU-cd")]
)
def test_workers_share_the_gpus_that_the_user_lets_them_see(
    mask: str | None, worker: int, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hardware.GPU_MASK, mask or "")
    if mask is None:
        monkeypatch.delenv(hardware.GPU_MASK)
    hardware.take_gpu(worker, 2)
    assert os.environ[hardware.GPU_MASK] == taken


def test_without_gpus_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(hardware.GPU_MASK, raising=False)
    hardware.take_gpu(1, 0)
    assert hardware.GPU_MASK not in os.environ


@given(count=st.integers(0, 40), size=st.integers(1, 16), room=st.integers(1, 16))
def test_a_batch_that_does_not_fit_is_halved_and_every_item_is_done_once(count: int, size: int, room: int) -> None:
    batch = hardware.BatchSize(size)

    def call(start: int, end: int) -> list[int]:
        if end - start > room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return list(range(start, end))

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        done = batch.run(count, call)
    assert [item for part in done for item in part] == list(range(count))
    assert batch.size <= max(room, 1) or count <= room
    assert len(said) == (size // batch.size).bit_length() - 1, "each halving is said"


@pytest.mark.parametrize(
    "said",
    [
        "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 4860000 bytes",
        "libx265.so.216: failed to map segment from shared object",
        "std::bad_alloc",
        "[Errno 12] Cannot allocate memory",
    ],
)
def test_libraries_that_have_no_memory_are_understood(said: str) -> None:
    assert hardware.out_of_memory(RuntimeError(said))


def test_what_is_no_want_of_memory_is_not_tried_again() -> None:
    for error in (RuntimeError("shape mismatch"), RuntimeError("out of memory")):
        batch = hardware.BatchSize(4 if "shape" in str(error) else 1)

        def call(start: int, end: int, error: RuntimeError = error) -> None:
            raise error

        with pytest.raises(RuntimeError, match=str(error)):
            batch.run(4, call)
        assert batch.size in (1, 4)


def test_a_gpu_that_is_not_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.check_used("auto", "cpu", "cpu") is hardware.check_used("cuda", "cuda", "cuda") is None
    assert "pip install onnxruntime-gpu" in str(hardware.check_used("auto", "cuda", "cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(hardware, "version_of", lambda name: "1.31.1" if name == "onnxruntime-gpu" else None)
        assert "of CUDA 12, pip install 'onnxruntime-gpu<1.27'" in str(hardware.check_used("auto", "cuda", "cpu"))
    with pytest.raises(UnavailableError, match="onnxruntime-gpu"):
        hardware.check_used("cuda", "cuda", "cpu")


@pytest.mark.parametrize("there", [("onnxruntime",), ("onnxruntime-gpu",), ("onnxruntime", "onnxruntime-gpu"), ()])
def test_two_packages_of_one_module_are_refused(there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "version_of", lambda name: "1.0" if name in there else None)
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda _: object() if there else None)
    if len(there) == 1:
        hardware.check_onnxruntime()
        return
    with pytest.raises(UnavailableError, match="pip install"):
        hardware.check_onnxruntime()


ROOT = Path(__file__).parents[1]
CLASHING = (
    {"onnxruntime", "onnxruntime-gpu"},
    {"faiss-cpu", "faiss-gpu", "faiss-gpu-cu12"},
    {"nvidia-nvimgcodec-cu12", "nvidia-nvimgcodec-cu13"},
)
"""Packages that install the same module."""


def installed_with(extra: str) -> set[str]:
    """Everything that curate asks for with an extra, by what the installed packages say that they need."""
    found: set[str] = set()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(line) for line in project["dependencies"] + project["optional-dependencies"].get(extra, [])]
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        if name in found:
            continue
        found.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        wishes = (*needed.extras, "")
        waiting += [
            one
            for one in map(Requirement, lines)
            if not one.marker or any(one.marker.evaluate({"extra": wish}) for wish in wishes)
        ]
    return found


@pytest.mark.parametrize("name", ["CPU", "CUDA 12", "CUDA 13"])
def test_what_pip_finds_is_what_is_asked_for_and_of_one_cuda(name: str) -> None:
    """As benchmarks/resolve.py found it in PyPI's metadata."""
    found = json.loads((ROOT / "benchmarks/results/resolved.json").read_text(encoding="utf-8"))[name]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    replaced = {"onnxruntime": "onnxruntime-gpu"} if name != "CPU" else {}
    for wanted in map(Requirement, project["dependencies"]):
        package = canonicalize_name(wanted.name)
        assert wanted.specifier.contains(found[replaced.get(package, package)]), package
    assert all(len(clashing & found.keys()) <= 1 for clashing in CLASHING)
    families = {package[-2:] for package in found if re.search(r"-cu1\d$", package)}
    assert families == ({name[-2:]} if name != "CPU" else set())
    if name != "CPU":
        assert (Version(found["onnxruntime-gpu"]) < Version("1.27")) == (name == "CUDA 12")


def test_no_install_line_brings_two_packages_of_one_module() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in ("", *project["optional-dependencies"]):
        together = installed_with(extra)
        assert {"onnxruntime", "faiss-cpu", "numpy"} <= together
        assert all(len(clashing & together) <= 1 for clashing in CLASHING), extra
    named = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        named |= set(re.findall(r"pip install '?(?:\.|curate-faces)\[([a-z0-9-]+)\]", page.read_text(encoding="utf-8")))
    assert named <= project["optional-dependencies"].keys()


def test_torch_is_not_asked_where_no_driver_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def available() -> bool:
        asked.append(1)
        return True

    monkeypatch.setattr("torch.cuda.is_available", available)
    monkeypatch.setattr(hardware, "gpu_driver", lambda: False)
    assert hardware.device("auto") == hardware.device("cpu") == "cpu" and not asked
    monkeypatch.setattr(hardware, "gpu_driver", lambda: True)
    assert hardware.device("cpu") == "cpu" and not asked
    assert hardware.device("auto") == hardware.device("cuda") == "cuda" and asked
