"""The ways to pre-train, one file each; this is their catalogue."""

from __future__ import annotations

from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Recipe
from curate.pretrain.methods.base import Method, Moment, Outputs
from curate.pretrain.methods.byol import Byol
from curate.pretrain.methods.dino import Dino
from curate.pretrain.methods.mae import Mae
from curate.pretrain.methods.moco import Moco
from curate.pretrain.methods.simclr import Simclr
from curate.pretrain.methods.simsiam import Simsiam
from curate.pretrain.methods.supervised import Supervised
from curate.pretrain.methods.swav import Swav

__all__ = ["SELF_SUPERVISED", "Method", "Moment", "Outputs", "build"]

SELF_SUPERVISED: dict[str, type[Swav | Simclr | Moco | Byol | Simsiam | Dino | Mae]] = {
    "swav": Swav,
    "simclr": Simclr,
    "moco": Moco,
    "byol": Byol,
    "simsiam": Simsiam,
    "dino": Dino,
    "mae": Mae,
}


def build(backbone: Backbone, recipe: Recipe, classes: int = 0) -> Method:
    """The recipe's method around `backbone`; fresh heads come from torch's global generator.

    Args:
        backbone: with the weights to begin with.
        recipe: of the run.
        classes: distinct labels; needed by `supervised` alone.
    """
    if recipe.method == "supervised":
        return Supervised(backbone, recipe, classes)
    return SELF_SUPERVISED[recipe.method](backbone, recipe)
