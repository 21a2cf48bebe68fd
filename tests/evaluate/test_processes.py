"""Fine-tuning in two processes is that of one, but for rounding."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from curate.evaluate import results
from curate.pretrain import distributed
from tests.evaluate import layouts
from tests.evaluate.test_benchmark import measure
from tests.evaluate.tiny import tiny

KEYS = {"finetune.epochs": 2, "finetune.batch": 8, "finetune.lr": 0.01, "crop.size": 32}
FOLDERS = ("once", "again")


def main(folder: Path) -> None:
    """What each process does: the same calls; only the first has something to write.

    The second is done with a call before the first is, and meets it again in the next.
    """
    torch.set_num_threads(1)
    first = os.environ["RANK"] == "0"
    for name in FOLDERS:
        out = folder / f"{name}.jsonl"
        found = measure(
            "emotion", "csv", folder / name, mode="finetune", backbone=tiny(), out=out, overrides=KEYS, name="tiny"
        )
        assert found
        assert bool(measure("emotion", "csv", folder / name, mode="knn", backbone=tiny())) == first
        time.sleep(0.5 * first)
    assert distributed.size() == 2


def test_two_processes_tune_what_one_does(tmp_path: Path) -> None:
    for name in FOLDERS:
        layouts.make_csv(tmp_path / name)
        broken = next((tmp_path / name / "images").iterdir())
        broken.write_bytes(b"no picture")  # left out by whoever meets it
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(2):  # as torchrun does
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        place |= {"MASTER_PORT": str(port), "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.evaluate.test_processes", str(tmp_path)]
        started.append(subprocess.Popen(command, env=os.environ | place))
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    for name in FOLDERS:
        together = results.read(tmp_path / f"{name}.jsonl")
        alone = measure(
            "emotion", "csv", tmp_path / name, mode="finetune", backbone=tiny(), overrides=KEYS, name="tiny"
        )
        assert [(r.metric, r.n_train, r.n_test, r.skipped) for r in together] == [
            (r.metric, r.n_train, r.n_test, r.skipped) for r in alone
        ]
        np.testing.assert_allclose([r.value for r in together], [r.value for r in alone], atol=2e-3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
