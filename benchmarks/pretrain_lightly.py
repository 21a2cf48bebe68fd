"""lightly's SwAV, for `benchmarks/pretrain.py`: its transform in DataLoader workers, its head, prototypes and loss.

lightly and torchvision come without their dependencies, which would bring another torch: `pip install --no-deps
lightly lightly_utils lightning_utilities torchvision`. Operators of torchvision, which need its build for the torch
that is here, are not registered: nothing of SwAV uses them. Where a package is missing, lightly is left out.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import types
from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn

NEEDED = ("lightly", "lightly_utils", "lightning_utilities", "torchvision")
MEAN_STD = {"mean": [0.485, 0.456, 0.406], "std": [0.228, 0.224, 0.225]}


def missing() -> list[str]:
    """Packages that are not there."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def without_operators() -> None:
    """Lets torchvision be imported beside a torch that it was not built for."""
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))


class Crops(torch.utils.data.Dataset):
    """Decodes one picture by PIL and gives the eight crops of `SwaVTransform`; its defaults are the paper's."""

    def __init__(self, jpegs: list[bytes]) -> None:
        self.jpegs = jpegs
        self.transform = None

    def __len__(self) -> int:
        return len(self.jpegs)

    def __getitem__(self, index: int) -> list[Tensor]:
        if self.transform is None:  # in the worker
            without_operators()
            from lightly.transforms.swav_transform import SwaVTransform

            self.transform = SwaVTransform(normalize=MEAN_STD)
        return self.transform(Image.open(io.BytesIO(self.jpegs[index])).convert("RGB"))


class Swav(nn.Module):
    """SwAV as lightly's examples build it, around a backbone of ours (so both are the same network)."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        without_operators()
        from lightly.loss import SwaVLoss
        from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes

        self.backbone = backbone
        self.head = SwaVProjectionHead(width, 2048, 128)
        self.prototypes = SwaVPrototypes(128, 3000)
        self.criterion = SwaVLoss()
        self.optimiser = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-6)

    def step(self, crops: list[Tensor]) -> float:
        """Forward, loss, backward and update as in its examples."""
        self.prototypes.normalize()
        found = [nn.functional.normalize(self.head(self.backbone(crop)), dim=1) for crop in crops]
        scores = [self.prototypes(x) for x in found]
        loss = self.criterion(scores[:2], scores[2:])
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(loss.detach())


def train(model: Swav, batches: Iterator[list[Tensor]], steps: int) -> None:
    """Whole steps: crops of the loader, forward, loss, backward, update."""
    for _ in range(steps):
        model.step(next(batches))


def forever(loaded: torch.utils.data.DataLoader) -> Iterator[list[Tensor]]:
    """Its batches, pass after pass."""
    while True:
        yield from loaded
