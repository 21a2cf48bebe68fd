"""SwAV: predict the prototypes of one crop from the others (Caron et al. 2020, "Unsupervised Learning of Visual
Features by Contrasting Cluster Assignments")."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, features, full_precision, mlp, per_crop
from curate.recipe_files import Section


class SwavSettings(Section):
    """Caron et al. 2020."""

    hidden: int = Field(2048, ge=1, description="width of the projection's hidden layer")
    dim: int = Field(128, ge=1, description="length of embeddings")
    prototypes: int = Field(3000, ge=2, description="number of prototypes")
    temperature: float = Field(0.1, gt=0, description="of the prediction")
    epsilon: float = Field(0.05, gt=0, description="entropy of the assignments")
    sinkhorn_iterations: int = Field(3, ge=1, description="rounds of Sinkhorn-Knopp")
    assign_views: int = Field(2, ge=1, description="the first so many crops give assignments")
    freeze_prototypes_steps: int = Field(313, ge=0, description="steps for which prototypes stay as they are")
    queue: int = Field(
        0,
        ge=0,
        description="embeddings that are remembered for the assignments, all processes together; cut to whole batches",
    )
    queue_from_epoch: float = Field(15, ge=0, description="pass from which the queue is filled and used")


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft assignments that use every prototype equally (sec. 3.1 and eq. 5; alg. 1 of the appendix).

    Args:
        scores: float [n, K], this process's samples against all prototypes.
        epsilon: entropy of the assignments.
        iterations: rounds of normalising prototypes over all samples of all processes, then samples.

    Returns:
        float32 [n, K]; each row sums to 1. With enough rounds each column sums to (all samples) / K.
    """
    q = scores.float() / epsilon  # logarithms throughout: at small epsilon most of the assignments are below any float
    samples, prototypes = q.shape[0] * distributed.size(), q.shape[1]
    for _ in range(iterations):
        q = q - _log_total(q) - math.log(prototypes)
        q = q - q.logsumexp(1, keepdim=True) - math.log(samples)
    return q.exp() * samples


def _log_total(logits: Tensor) -> Tensor:
    """Logarithm of the sum of the exponentials over the samples of all processes, [1, K] of [n, K]."""
    own = logits.logsumexp(0, keepdim=True)
    if distributed.size() == 1:
        return own
    top = own.clone()
    torch.distributed.all_reduce(top, torch.distributed.ReduceOp.MAX)
    return distributed.total((own - top).exp()).log() + top


def swapped_loss(scores: Tensor, codes: list[Tensor], temperature: float = 0.1) -> Tensor:
    """Cross-entropy between the codes of some crops and the predictions from every other crop (eq. 2, multi-crop).

    Args:
        scores: float [n, crops, K].
        codes: float [n, K] for each of the first crops.
        temperature: of the prediction.
    """
    crops = scores.shape[1]
    log_p = F.log_softmax(scores / temperature, 2)
    total = scores.new_zeros(())
    for index, code in enumerate(codes):
        for others in (log_p[:, :index], log_p[:, index + 1 :]):
            total = total - (code[:, None] * others).sum()
    return total / (len(codes) * len(scores) * (crops - 1))


class Swav(Method):
    """SwAV with multi-crop, a queue and prototypes that are frozen at first.

    The queue is the same in every process: each adds its embeddings and takes its own part of it to the assignments.
    """

    section = SwavSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 400,
        "crops": [{"count": 2, "size": 224, "scale": [0.14, 1.0]}, {"count": 6, "size": 96, "scale": [0.05, 0.14]}],
        "optimiser": {"name": "sgd", "larc": True, "lr": 0.6, "final_lr": 0.0006, "weight_decay": 1e-06},
        "swav": {"queue": 3840, "freeze_prototypes_steps": 5005},
    }
    least_crops, most_crops = 2, None
    remedy = (
        "set swav.epsilon=0.03, raise swav.freeze_prototypes_steps, or use a smaller swav.queue or a later "
        "swav.queue_from_epoch"
    )

    settings: SwavSettings
    queue: Tensor

    def __init__(self, backbone: Backbone, settings: SwavSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        self.projection = mlp(backbone.feature_dim, settings.hidden, settings.dim)
        self.prototypes = nn.Linear(settings.dim, settings.prototypes, bias=False)
        length = settings.queue - settings.queue % setup.batch
        self.register_buffer("queue", torch.zeros(settings.assign_views, length, settings.dim))
        self._normalize_prototypes()

    @torch.no_grad()
    def _normalize_prototypes(self) -> None:
        rows = distributed.local(self.prototypes.weight)
        rows.copy_(F.normalize(rows, dim=1))

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`embedding` [n, crops, dim], unit length, and `scores` [n, crops, K]."""
        embedding = F.normalize(per_crop(self.projection, features(self.backbone, crops)), dim=2)
        with full_precision(embedding):  # cosines in full precision
            scores = F.linear(embedding, self.prototypes.weight)
        return {"embedding": embedding, "scores": scores}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """The swapped prediction of codes that Sinkhorn finds for the batch and, once it is full, the queue."""
        return swapped_loss(outputs["scores"], self.codes(outputs["scores"].detach(), info), self.settings.temperature)

    @torch.no_grad()
    def codes(self, scores: Tensor, info: StepInfo) -> list[Tensor]:
        """Assignments [n, K] for each of the crops that give them."""
        n, length = len(scores), self.queue.shape[1]
        remembered = info.step - math.ceil(self.settings.queue_from_epoch * info.steps_per_epoch)
        codes = []
        for crop in range(self.settings.assign_views):
            rows = scores[:, crop]
            if length and remembered * self.setup.batch >= length:
                mine = self.queue[crop, distributed.rank() :: distributed.size()]
                rows = torch.cat((F.linear(mine, self.prototypes.weight), rows))
            codes.append(sinkhorn(rows, self.settings.epsilon, self.settings.sinkhorn_iterations)[-n:])
        return codes

    @torch.no_grad()
    def update_memory(self, outputs: Outputs, info: StepInfo) -> None:
        """Puts the newest embeddings at the head of the queue."""
        if not self.queue.shape[1] or info.epoch < self.settings.queue_from_epoch:
            return
        newest = distributed.gather(outputs["embedding"][:, : self.settings.assign_views].detach()).transpose(0, 1)
        self.queue.copy_(torch.cat((newest, self.queue), 1)[:, : self.queue.shape[1]])

    def before_update(self, info: StepInfo) -> None:
        """Keeps the prototypes as they are for the first steps."""
        if info.step < self.settings.freeze_prototypes_steps:
            self.prototypes.weight.grad = None

    def after_update(self, info: StepInfo) -> None:
        """Puts the prototypes back on the unit sphere."""
        self._normalize_prototypes()

    @classmethod
    def mistake(cls, settings: SwavSettings, crops: int) -> str | None:
        """More crops must give assignments than there are."""
        if settings.assign_views > crops:
            return f"swav.assign_views = {settings.assign_views}: crops has {crops}"
        return None

    @classmethod
    def chance_loss(cls, settings: SwavSettings, setup: Setup) -> float | None:
        """All prototypes equally likely."""
        return math.log(settings.prototypes)

    @classmethod
    def frozen_steps(cls, settings: SwavSettings, steps_per_epoch: int) -> tuple[int, str]:
        """Of the prototypes."""
        return settings.freeze_prototypes_steps, "swav.freeze_prototypes_steps"
