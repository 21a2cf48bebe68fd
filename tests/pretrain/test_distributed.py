from __future__ import annotations

import pytest

from curate.pretrain import distributed


def test_the_cores_of_a_machine_are_shared_by_its_own_processes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed.hardware, "cores", lambda: 64)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert distributed.cores_each() == 64  # alone, whatever is left in the environment
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 32)  # four machines
    assert distributed.cores_each() == 8
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert distributed.cores_each() == 2  # not told: all are taken to be here
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 128)
    assert distributed.cores_each() == 1
