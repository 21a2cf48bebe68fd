"""MTCNN (arXiv 1604.02878) out of a wheel of `facenet-pytorch`, as a peer.

The pins of that package exclude curate's numpy and torch, so it is unpacked and never installed. Get the wheel with
`pip download --no-deps facenet-pytorch`.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.records import Detection, Pixels
from curate.stages.backend import overlaps


@contextmanager
def unpacked(wheel: Path, min_size: float) -> Iterator[Any]:
    """A function: a frame -> its faces, at the package's own thresholds; on one thread of the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        sys.modules |= _torchvision()
        sys.path.insert(0, folder)
        from facenet_pytorch import MTCNN

        torch.set_num_threads(1)
        network = MTCNN(keep_all=True, min_face_size=int(min_size), post_process=False, device="cpu")

        def find(frame: Pixels) -> list[Detection]:
            boxes, scores, points = network.detect(frame, landmarks=True)
            if boxes is None:
                return []
            height, width = frame.shape[:2]
            boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
            found = zip(boxes, points.astype(np.float32), scores, strict=True)
            return [Detection(box, five, float(score)) for box, five, score in found]

        yield find


def _torchvision() -> dict[str, ModuleType]:
    """The one function of torchvision, which curate does without, that the package calls."""
    names = ("torchvision", "torchvision.transforms", "torchvision.ops", "torchvision.ops.boxes")
    modules = {name: ModuleType(name) for name in names}
    modules["torchvision.transforms"].functional = None  # type: ignore[attr-defined]  # imported, not called
    modules["torchvision.ops.boxes"].batched_nms = _suppressed  # type: ignore[attr-defined]
    return modules


def _suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, max_overlap: float) -> Tensor:
    """Non-maximum suppression inside each group; the rows that are kept, the surest first."""
    order, kept = scores.argsort(descending=True, stable=True).numpy(), []
    apart = boxes.numpy() + groups.numpy()[:, None] * (float(boxes.max()) + 1 if len(boxes) else 0)
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[overlaps(apart[best][None], apart[order])[0] <= max_overlap]
    return torch.tensor(kept, dtype=torch.int64)
