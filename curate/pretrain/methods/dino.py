"""DINO: agree with a slowly following teacher on soft classes (Caron et al. 2021, "Emerging Properties in
Self-Supervised Vision Transformers")."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone, Block, init_linear
from curate.pretrain.config import Recipe
from curate.pretrain.methods.base import Method, Moment, Outputs, features, follow, freeze, per_crop, rising_momentum

TEACHER_CROPS = 2
"""The teacher sees so many of the first crops."""


def dino_loss(
    student: Tensor, teacher: Tensor, center: Tensor, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Cross-entropy of the student on every crop with the teacher on every other crop (eq. 3 and alg. 1).

    Args:
        student: float [n, crops, K], logits.
        teacher: float [n, teacher crops, K], logits of the first crops; no gradient flows to it.
        center: float [K], taken off the teacher's logits.
        student_temperature, teacher_temperature: sharper is smaller.
    """
    q = F.softmax((teacher.detach() - center) / teacher_temperature, 2)
    log_p = F.log_softmax(student / student_temperature, 2)
    crossed = -torch.einsum("ntk,nsk->ts", q, log_p) / len(student)
    different = ~torch.eye(*crossed.shape, dtype=torch.bool, device=crossed.device)
    return crossed[different].mean()


class DinoHead(nn.Module):
    """Three layers with GELU, unit length, then cosines with directions that are learned."""

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.last = nn.Linear(bottleneck, outputs, bias=False)
        self.mlp.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        """float [n, width] -> float [n, outputs]."""
        x = F.normalize(self.mlp(x).float(), dim=1)
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, F.normalize(self.last.weight, dim=1))


class Dino(Method):
    """DINO with multi-crop; the teacher's backbone is what is saved."""

    center: Tensor

    def __init__(self, backbone: Backbone, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe.dino
        self.backbone = backbone
        self.head = DinoHead(backbone.feature_dim, self.recipe.hidden, self.recipe.bottleneck, self.recipe.prototypes)
        self.teacher_backbone = copy.deepcopy(backbone)
        self.teacher_head = copy.deepcopy(self.head)
        for block in self.teacher_backbone.modules():
            if isinstance(block, Block):
                block.drop_path = 0.0
        freeze(self.teacher_backbone)
        freeze(self.teacher_head)
        self.register_buffer("center", torch.zeros(self.recipe.prototypes))

    def forward(self, crops: list[Tensor], labels: Tensor | None = None) -> Outputs:
        """`student` [n, crops, K] and `teacher` [n, 2, K], logits."""
        student = per_crop(self.head, features(self.backbone, crops))
        with torch.no_grad():
            teacher = per_crop(self.teacher_head, features(self.teacher_backbone, crops[:TEACHER_CROPS]))
        return {"student": student, "teacher": teacher}

    def teacher_temperature(self, moment: Moment) -> float:
        """Rises in a line, pass by pass; the last pass of the warm-up has the final one, as in the authors' code."""
        low, high = self.recipe.teacher_warmup_temperature, self.recipe.teacher_temperature
        if moment.epoch >= self.recipe.teacher_warmup_epochs:
            return high
        return low + (high - low) * min(1.0, int(moment.epoch) / max(self.recipe.teacher_warmup_epochs - 1, 1))

    def loss(self, outputs: Outputs, moment: Moment) -> Tensor:
        """See `dino_loss`."""
        return dino_loss(
            outputs["student"],
            outputs["teacher"],
            self.center.clone(),
            self.recipe.student_temperature,
            self.teacher_temperature(moment),
        )

    @torch.no_grad()
    def remember(self, outputs: Outputs, moment: Moment) -> None:
        """Moves the centre towards the mean of the teacher's outputs over all processes (eq. 4)."""
        mean = distributed.total(outputs["teacher"].detach().mean((0, 1))) / distributed.size()
        self.center.lerp_(mean, 1 - self.recipe.center_momentum)

    def before_update(self, moment: Moment) -> None:
        """Keeps the last layer as it is for the first passes."""
        if moment.epoch < self.recipe.freeze_last_epochs:
            self.head.last.weight.grad = None

    def after_update(self, moment: Moment) -> None:
        """The teacher follows."""
        momentum = rising_momentum(self.recipe.momentum, moment.step, moment.steps)
        follow(self.teacher_backbone, self.backbone, momentum)
        follow(self.teacher_head, self.head, momentum)

    def exported(self) -> Backbone:
        """The teacher's."""
        return self.teacher_backbone
