from __future__ import annotations

import os

import pytest

from curate import hardware


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
