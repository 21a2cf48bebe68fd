"""SwAV: predict the prototypes of one crop from the others (Caron et al. 2020, "Unsupervised Learning of Visual
Features by Contrasting Cluster Assignments")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Recipe
from curate.pretrain.methods.base import Method, Moment, Outputs, features, mlp, per_crop


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
    logits = scores.float() / epsilon
    top = logits.max()
    if distributed.size() > 1:
        torch.distributed.all_reduce(top, torch.distributed.ReduceOp.MAX)
    q = torch.exp(logits - top)  # the shift cancels in the first normalisation; without it half precision overflows
    samples, prototypes = q.shape[0] * distributed.size(), q.shape[1]
    q /= distributed.total(q.sum())
    for _ in range(iterations):
        q /= distributed.total(q.sum(0, keepdim=True)) * prototypes
        q /= q.sum(1, keepdim=True) * samples
    return q * samples


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
        others = [crop for crop in range(crops) if crop != index]
        total = total - (code[:, None] * log_p[:, others]).sum(2).mean()
    return total / len(codes)


class Swav(Method):
    """SwAV with multi-crop, a queue and prototypes that are frozen at first.

    The queue is the same in every process: each adds its embeddings and takes its own part of it to the assignments.
    """

    queue: Tensor
    filled: Tensor

    def __init__(self, backbone: Backbone, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe.swav
        self.backbone = backbone
        self.projection = mlp(backbone.feature_dim, self.recipe.hidden, self.recipe.dim)
        self.prototypes = nn.Linear(self.recipe.dim, self.recipe.prototypes, bias=False)
        length = self.recipe.queue - self.recipe.queue % recipe.batch
        self.register_buffer("queue", torch.zeros(self.recipe.assign_views, length, self.recipe.dim))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self._normalize_prototypes()

    @torch.no_grad()
    def _normalize_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def forward(self, crops: list[Tensor], labels: Tensor | None = None) -> Outputs:
        """`embedding` [n, crops, dim], unit length, and `scores` [n, crops, K]."""
        embedding = F.normalize(per_crop(self.projection, features(self.backbone, crops)), dim=2)
        with torch.autocast(embedding.device.type, enabled=False):  # cosines in full precision
            scores = F.linear(embedding, self.prototypes.weight)
        return {"embedding": embedding, "scores": scores}

    def loss(self, outputs: Outputs, moment: Moment) -> Tensor:
        """The swapped prediction of codes that Sinkhorn finds for the batch and, once it is full, the queue."""
        return swapped_loss(outputs["scores"], self.codes(outputs["scores"].detach()), self.recipe.temperature)

    @torch.no_grad()
    def codes(self, scores: Tensor) -> list[Tensor]:
        """Assignments [n, K] for each of the crops that give them."""
        n, length = len(scores), self.queue.shape[1]
        codes = []
        for crop in range(self.recipe.assign_views):
            rows = scores[:, crop]
            if length and int(self.filled) >= length:
                mine = self.queue[crop, distributed.rank() :: distributed.size()]
                rows = torch.cat((F.linear(mine, self.prototypes.weight), rows))
            codes.append(sinkhorn(rows, self.recipe.epsilon, self.recipe.sinkhorn_iterations)[-n:])
        return codes

    @torch.no_grad()
    def remember(self, outputs: Outputs, moment: Moment) -> None:
        """Puts the newest embeddings at the head of the queue."""
        if not self.queue.shape[1] or moment.epoch < self.recipe.queue_from_epoch:
            return
        newest = distributed.gather(outputs["embedding"][:, : self.recipe.assign_views].detach()).transpose(0, 1)
        self.queue.copy_(torch.cat((newest, self.queue), 1)[:, : self.queue.shape[1]])
        self.filled += newest.shape[1]

    def before_update(self, moment: Moment) -> None:
        """Keeps the prototypes as they are for the first steps."""
        if moment.step < self.recipe.freeze_prototypes_steps:
            self.prototypes.weight.grad = None

    def after_update(self, moment: Moment) -> None:
        """Puts the prototypes back on the unit sphere."""
        self._normalize_prototypes()
