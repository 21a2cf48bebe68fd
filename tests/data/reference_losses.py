"""Writes reference_losses.json: what lightly's losses say of fixed numbers, for tests/pretrain/test_references.py.

    pip install --no-deps --target /tmp/lightly lightly==1.6.0 lightly-utils
    PYTHONPATH=/tmp/lightly python tests/data/reference_losses.py

lightly (MIT) needs torchvision, of which its losses use nothing; an empty module stands in for it, so that it imports
beside any torch. It is not needed to run the tests.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch


class Stub(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules in the place of torchvision and other packages that the losses do not use."""

    NAMES = (
        "torchvision",
        "pytorch_lightning",
        "hydra",
        "omegaconf",
        "lightly_utils",
        "PIL",
        "aenum",
        "requests",
        "tqdm",
    )

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: MagicMock() if not name.startswith("__") else None  # type: ignore[method-assign]
        module.__path__ = []
        return module

    def exec_module(self, module) -> None:
        pass


def numbers(seed: int, *shape: int) -> torch.Tensor:
    """The inputs: the test makes the same ones."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def main() -> None:
    sys.meta_path.insert(0, Stub())
    from lightly.loss import BarlowTwinsLoss, KoLeoLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss, VICRegLoss
    from lightly.loss.swav_loss import sinkhorn

    a, b = numbers(1, 16, 12), numbers(2, 16, 12)
    scores = [torch.nn.functional.normalize(numbers(seed, 16, 8), dim=1) for seed in range(3, 7)]
    found = {
        "barlow_twins": BarlowTwinsLoss(lambda_param=0.0051)(a, b),
        "vicreg": VICRegLoss(lambda_param=25, mu_param=25, nu_param=1)(a, b),
        "koleo": KoLeoLoss()(a),
        "simclr": NTXentLoss(temperature=0.1)(a, b),
        "simsiam": NegativeCosineSimilarity()(a, b),
        "swav": SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)(scores[:2], scores[2:]),
        "sinkhorn": sinkhorn(scores[0], iterations=3, epsilon=0.05).square().sum(),
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({name: float(value) for name, value in found.items()}, indent=2) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
