"""DINOv2: DINO on whole pictures, iBOT on hidden patches, and KoLeo, which spreads features.

Oquab et al. 2024, "DINOv2: Learning Robust Visual Features without Supervision"; Zhou et al. 2022, "iBOT: Image BERT
Pre-Training with Online Tokenizer"; Sablayrolles et al. 2019, "Spreading vectors for similarity search".

What differs from the authors' code: of the two large crops exactly one has hidden patches, always the same share of
them in one rectangle (there: each with a chance of one half, 10 to 50 % in several), so that no step waits for the
device to count them; KoLeo looks for neighbours in the batch of all processes; there is no layer-wise decay of rates.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone, VisionTransformer
from curate.pretrain.methods.base import (
    Method,
    Outputs,
    Setup,
    StepInfo,
    ema_update,
    follower,
    momentum_schedule,
    per_crop,
)
from curate.pretrain.methods.dino import TEACHER_CROPS, DinoHead
from curate.pretrain.methods.swav import sinkhorn
from curate.recipe_files import Section

EPSILON = 1e-8
SHAPE = 0.3
"""The narrowest rectangle of hidden patches, width by height."""


class Dinov2Settings(Section):
    """Oquab et al. 2024."""

    hidden: int = Field(2048, ge=1, description="width of the heads' hidden layers")
    bottleneck: int = Field(256, ge=1, description="width before the last layer")
    prototypes: int = Field(65536, ge=2, description="outputs of each head")
    student_temperature: float = Field(0.1, gt=0, description="of the student")
    teacher_temperature: float = Field(0.07, gt=0, description="of the teacher after its warm-up")
    teacher_warmup_temperature: float = Field(0.04, gt=0, description="of the teacher at the start")
    teacher_warmup_epochs: float = Field(30, ge=0, description="passes over which it rises in a line")
    momentum: float = Field(0.992, ge=0, lt=1, description="of the teacher at the start; rises to 1 by a cosine")
    freeze_last_epochs: float = Field(1, ge=0, description="passes for which the last layers stay as they are")
    mask_ratio: float = Field(0.3, gt=0, lt=1, description="share of a crop's patches that are hidden")
    patches: float = Field(1.0, ge=0, description="weight of the loss on hidden patches (iBOT)")
    spread: float = Field(0.1, ge=0, description="weight of KoLeo")
    drop_path: float = Field(0.3, ge=0, lt=1, description="stochastic depth of the student")


def assigned_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of logits float [..., K] with soft assignments float [..., K]."""
    return -(teacher * F.log_softmax(student / temperature, -1)).sum(-1).mean()


def crossed_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of every crop's logits with the assignments of every other large crop.

    Args:
        student: float [n, crops, K], logits.
        teacher: float [n, large crops, K], assignments of the first crops.
        temperature: of the student.
    """
    crossed = -torch.einsum("ntk,nsk->ts", teacher, F.log_softmax(student / temperature, 2)) / len(student)
    same = crossed.diagonal()
    return (crossed.sum() - same.sum()) / (crossed.numel() - len(same))


def koleo_loss(x: Tensor) -> Tensor:
    """Mean of -log of the distance to the nearest other row of all processes (Sablayrolles et al., eq. 4).

    Args:
        x: float [n, d]; made unit length.
    """
    x = F.normalize(x, dim=1, eps=EPSILON)
    everyone = distributed.gather(x)
    with torch.no_grad():
        near = x @ everyone.T
        own = torch.arange(len(x), device=x.device) + len(x) * distributed.rank()
        nearest = near.scatter(1, own[:, None], -1.0).argmax(1)
    distance = F.pairwise_distance(x, everyone.index_select(0, nearest), eps=EPSILON)
    return -(distance + EPSILON).log().mean()


def rectangle(noise: Tensor, rows: int, columns: int, count: int) -> Tensor:
    """The patches of a random rectangle, exactly so many: int64 [n, count], places row by row.

    Args:
        noise: float [n, 3], uniform: where its middle is, down and across, and its shape.
        rows, columns: of the grid of patches.
        count: patches.
    """
    shape = torch.exp((2 * noise[:, 2] - 1) * math.log(1 / SHAPE)).sqrt()
    down = (torch.arange(rows, device=noise.device) + 0.5) / rows
    across = (torch.arange(columns, device=noise.device) + 0.5) / columns
    height = (down - noise[:, :1]).abs() * shape[:, None]
    width = (across - noise[:, 1:2]).abs() / shape[:, None]
    distance = torch.maximum(height[:, :, None], width[:, None, :]).flatten(1)
    places: Tensor = distance.argsort(dim=1, stable=True)
    return places[:, :count]


class Dinov2(Method):
    """DINOv2 with heads of their own for pictures and patches, and Sinkhorn assignments; the teacher is saved."""

    section = Dinov2Settings
    defaults: ClassVar[dict[str, Any]] = {
        "arch": "vit_s",
        "epochs": 100,
        "crops": [
            {"count": 1, "scale": [0.32, 1.0], "blur_p": 1.0},
            {"count": 1, "scale": [0.32, 1.0], "blur_p": 0.1, "solarize_p": 0.2},
            {"count": 8, "size": 96, "scale": [0.05, 0.32], "blur_p": 0.5},
        ],
        "augment": {"interpolation": "bicubic", "jitter": [0.4, 0.4, 0.2, 0.1], "std": [0.229, 0.224, 0.225]},
        "optimiser": {
            "name": "adamw",
            "lr": 0.004,
            "lr_batch": 1024,
            "lr_scaling": "sqrt",
            "final_lr": 1e-6,
            "scale_final_lr": False,
            "warmup_epochs": 10,
            "weight_decay": 0.04,
            "final_weight_decay": 0.4,
            "exclude_1d": True,
            "clip_grad": 3.0,
        },
    }
    least_crops, most_crops = 2, None
    needs_transformer = True
    cost = 1.6
    remedy = "lower dinov2.teacher_temperature or lengthen dinov2.teacher_warmup_epochs, or lower optimiser.lr"
    noise = 4

    settings: Dinov2Settings
    backbone: VisionTransformer

    def __init__(self, backbone: Backbone, settings: Dinov2Settings, setup: Setup) -> None:
        if not isinstance(backbone, VisionTransformer):
            raise ValueError("dinov2 hides patches: it needs a transformer")
        super().__init__(backbone, settings, setup)
        self.grid = setup.crop_size // backbone.patch
        self.count = max(1, round(settings.mask_ratio * self.grid**2))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.feature_dim))
        sizes = backbone.feature_dim, settings.hidden, settings.bottleneck, settings.prototypes
        self.head, self.patch_head = DinoHead(*sizes), DinoHead(*sizes)
        self.teacher_backbone = follower(backbone)
        self.teacher_head, self.teacher_patch_head = follower(self.head), follower(self.patch_head)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """Logits of pictures, `student` [n, crops, K] and `teacher` [n, 2, K]; of hidden patches, `patches` and
        `teacher_patches` [n, hidden, K]; and the student's `features` [n, 2, d] of the large crops.
        """
        if noise is None:
            raise ValueError("dinov2 needs random numbers for its masks")
        large, second = crops[:TEACHER_CROPS], noise[:, 3:] >= 0.5
        hidden = rectangle(noise[:, :3], self.grid, self.grid, self.count)
        mask = torch.zeros(len(noise), self.grid**2, dtype=torch.bool, device=noise.device).scatter(1, hidden, True)
        tokens = [self._encode(crop, mask & (second == bool(index))) for index, crop in enumerate(large)]
        shown = torch.where(second[:, :, None], tokens[1], tokens[0])
        found = torch.stack([x[:, 0] for x in tokens] + [self.backbone(crop) for crop in crops[TEACHER_CROPS:]], 1)
        with torch.no_grad():
            encoded = [self.teacher_backbone.encode(self.teacher_backbone.patches(crop)) for crop in large]
            whole = torch.where(second[:, :, None], encoded[1], encoded[0])
            teacher = per_crop(self.teacher_head, torch.stack([x[:, 0] for x in encoded], 1))
            teacher_patches = per_crop(self.teacher_patch_head, _at(whole, hidden))
        return {
            "student": per_crop(self.head, found),
            "teacher": teacher,
            "patches": per_crop(self.patch_head, _at(shown, hidden)),
            "teacher_patches": teacher_patches,
            "features": found[:, :TEACHER_CROPS].float(),
        }

    def _encode(self, crop: Tensor, mask: Tensor) -> Tensor:
        """The student's tokens of a crop whose masked patches are hidden: [n, 1 + patches, width]."""
        backbone = self.backbone
        patches = backbone.patch_embed(crop)
        patches = torch.where(mask[:, :, None], self.mask_token.to(patches.dtype), patches)
        return backbone.encode(patches + backbone.positions(self.grid, self.grid))

    def teacher_temperature(self, info: StepInfo) -> float:
        """Rises in a line over the passes of its warm-up."""
        low, high = self.settings.teacher_warmup_temperature, self.settings.teacher_temperature
        return low + (high - low) * min(1.0, info.epoch / max(self.settings.teacher_warmup_epochs, 1e-9))

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """The three terms; assignments are Sinkhorn's over the batch of all processes."""
        settings, temperature = self.settings, self.teacher_temperature(info)
        teacher, patches = outputs["teacher"], outputs["teacher_patches"]
        whole = sinkhorn(teacher.flatten(0, 1), temperature).reshape(teacher.shape)
        parts = sinkhorn(patches.flatten(0, 1), temperature).reshape(patches.shape)
        pictures = crossed_loss(outputs["student"], whole, settings.student_temperature)
        hidden = assigned_loss(outputs["patches"], parts, settings.student_temperature) / TEACHER_CROPS
        spread = sum(koleo_loss(x) for x in outputs["features"].unbind(1))
        return pictures + settings.patches * hidden + settings.spread * spread

    def before_update(self, info: StepInfo) -> None:
        """Keeps the last layers as they are for the first passes."""
        if info.epoch < self.settings.freeze_last_epochs:
            self.head.last.weight.grad = self.patch_head.last.weight.grad = None

    def after_update(self, info: StepInfo) -> None:
        """The teacher follows."""
        momentum = momentum_schedule(self.settings.momentum, info.step, info.steps)
        ema_update(self.teacher_backbone, self.backbone, momentum)
        ema_update(self.teacher_head, self.head, momentum)
        ema_update(self.teacher_patch_head, self.patch_head, momentum)

    def exported(self) -> Backbone:
        """The teacher's."""
        return self.teacher_backbone

    @classmethod
    def frozen_steps(cls, settings: Dinov2Settings, steps_per_epoch: int) -> tuple[int, str]:
        """Of the last layers."""
        return math.ceil(settings.freeze_last_epochs * steps_per_epoch), "dinov2.freeze_last_epochs"

    @classmethod
    def drop_path(cls, settings: Dinov2Settings) -> float:
        """The student's; the teacher has none."""
        return settings.drop_path


def _at(tokens: Tensor, places: Tensor) -> Tensor:
    """Some patch tokens of [n, 1 + patches, d]: [n, count, d]."""
    return tokens[:, 1:].gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))
