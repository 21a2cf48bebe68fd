from __future__ import annotations

import pytest

from curate.run import cluster


@pytest.mark.parametrize(("workers", "items", "started"), [(None, 1, 1), (2, 5, 2), (None, None, 2)])
def test_no_more_processes_than_there_is_work_for(
    workers: int | None, items: int | None, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(cluster, "cores", lambda: 2)

    class Local:
        def __init__(self, n_workers: int, **_: object) -> None:
            asked.append(n_workers)

        def __enter__(self) -> Local:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(cluster, "LocalCluster", Local)
    monkeypatch.setattr(cluster, "Client", lambda local, **_: local)
    with cluster.Executor(workers).connect(items):
        assert asked == [started]
