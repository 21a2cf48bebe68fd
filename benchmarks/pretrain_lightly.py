"""lightly's SwAV, for `benchmarks/pretrain.py`, or beside ours in the processor time of one thread.

    python benchmarks/pretrain_lightly.py [--quick] [--json FILE]

lightly and torchvision come without their dependencies, which would bring another torch: `pip install --no-deps
lightly lightly_utils lightning_utilities torchvision`. Operators of torchvision, which need its build for the torch
that is here, are not registered: nothing of SwAV uses them. Where a package is missing, lightly is left out.
"""

from __future__ import annotations

import importlib.util
import io
import json
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate.pretrain import methods
from curate.pretrain.backbones import build
from curate.pretrain.distributed import World
from curate.pretrain.step import Stepper

NEEDED = ("lightly", "lightly_utils", "lightning_utilities", "torchvision")
NORMAL = {"mean": [0.485, 0.456, 0.406], "std": [0.228, 0.224, 0.225]}


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

            self.transform = SwaVTransform(normalize=NORMAL)
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


def ours(jpegs: list[bytes], stepper: Stepper) -> None:
    """The crops of some pictures, decoded and rendered as a run does."""
    batch = stepper.recipe.batch
    for start in range(0, len(jpegs), batch):
        images = np.stack([simplejpeg.decode_jpeg(data, "RGB") for data in jpegs[start : start + batch]])
        stepper.render(torch.from_numpy(images), None, stepper.info(start // batch))


def main() -> None:
    """Processor seconds of one thread, ours and lightly's in turns, for a machine that does other work beside."""
    import pretrain  # which imports this module

    arguments = measure.arguments(main.__doc__ or "")
    if missing():
        sys.exit(f"pip install --no-deps {' '.join(missing())}")
    count, batch, rounds = (16, 4, 1) if arguments.quick else (64, 8, 3)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        _, jpegs = pretrain.write_build(Path(name) / "build", count)
    recipe = pretrain.recipe_of(batch, 100)
    stepper = Stepper(
        methods.build(build("resnet50"), recipe).train(), recipe, World(0, 1, 0, torch.device("cpu")), 100, 10
    )
    theirs, crops = Swav(build("resnet50"), 2048), Crops(jpegs)
    images = torch.from_numpy(np.stack([simplejpeg.decode_jpeg(data, "RGB") for data in jpegs[:batch]]))

    def whole() -> None:
        theirs.step([torch.stack(views) for views in zip(*(crops[index] for index in range(batch)), strict=True)])

    parts = {
        "crops": {"ours": partial(ours, jpegs, stepper), "lightly": lambda: [crops[index] for index in range(count)]},
        "step": {"ours": lambda: stepper(images, None, stepper.info(0)), "lightly": whole},
    }
    result: dict[str, Any] = {"machine": measure.machine(), "clock": "processor seconds of one thread"}
    for part, runs in parts.items():
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds + 1):  # the first one warms up
            for name, run in runs.items():
                started = time.process_time()
                run()
                seconds[name].append(time.process_time() - started)
        found = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        result[part] = {f"{name}_s": round(value, 3) for name, value in found.items()}
        result[part] |= {"pictures": count if part == "crops" else batch}
        result[part] |= {"lightly / ours": round(found["lightly"] / found["ours"], 2)}
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
