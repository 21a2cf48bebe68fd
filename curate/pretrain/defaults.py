"""What is usual for each method, where a recipe says nothing: the settings of its paper or its authors' code.

Learning rates are for a batch of `lr_batch` and are scaled to the batch that is used.
"""

from __future__ import annotations

from typing import Any

_MOCO_JITTER = {"jitter": [0.4, 0.4, 0.4, 0.1]}
_BYOL_JITTER = {"jitter": [0.4, 0.4, 0.2, 0.1]}

DEFAULTS: dict[str, dict[str, Any]] = {
    # The authors' recipe for a small batch of 256.
    "swav": {
        "epochs": 400,
        "crops": [{"count": 2, "size": 224, "scale": [0.14, 1.0]}, {"count": 6, "size": 96, "scale": [0.05, 0.14]}],
        "optimiser": {"name": "sgd", "larc": True, "lr": 0.6, "final_lr": 0.0006, "weight_decay": 1e-6},
        "swav": {"queue": 3840, "freeze_prototypes_steps": 5005},
    },
    "simclr": {
        "epochs": 100,
        "crops": [{"count": 2, "scale": [0.08, 1.0]}],
        "optimiser": {
            "name": "lars",
            "lr": 0.3,
            "weight_decay": 1e-6,
            "warmup_epochs": 10,
            "exclude_1d": True,
        },
    },
    "moco": {
        "epochs": 200,
        "crops": [{"count": 2, "scale": [0.2, 1.0]}],
        "augment": _MOCO_JITTER,
        "optimiser": {"name": "sgd", "lr": 0.03, "weight_decay": 1e-4},
    },
    "byol": {
        "epochs": 300,
        "crops": [
            {"count": 1, "scale": [0.08, 1.0], "blur_p": 1.0},
            {"count": 1, "scale": [0.08, 1.0], "blur_p": 0.1, "solarize_p": 0.2},
        ],
        "augment": _BYOL_JITTER,
        "optimiser": {"name": "lars", "lr": 0.3, "weight_decay": 1e-6, "warmup_epochs": 10, "exclude_1d": True},
        "byol": {"momentum": 0.99},
    },
    "simsiam": {
        "epochs": 100,
        "crops": [{"count": 2, "scale": [0.2, 1.0]}],
        "augment": _MOCO_JITTER,
        "optimiser": {"name": "sgd", "lr": 0.05, "weight_decay": 1e-4},
    },
    "dino": {
        "arch": "vit_s",
        "epochs": 100,
        "crops": [
            {"count": 1, "scale": [0.4, 1.0], "blur_p": 1.0},
            {"count": 1, "scale": [0.4, 1.0], "blur_p": 0.1, "solarize_p": 0.2},
            {"count": 8, "size": 96, "scale": [0.05, 0.4], "blur_p": 0.5},
        ],
        "augment": _BYOL_JITTER | {"interpolation": "bicubic", "std": [0.229, 0.224, 0.225]},
        "optimiser": {
            "name": "adamw",
            "lr": 0.0005,
            "final_lr": 1e-6,
            "warmup_epochs": 10,
            "weight_decay": 0.04,
            "final_weight_decay": 0.4,
            "exclude_1d": True,
            "clip_grad": 3.0,
        },
    },
    "mae": {
        "arch": "vit_b",
        "epochs": 800,
        "crops": [{"count": 1, "scale": [0.2, 1.0], "blur_p": 0.0}],
        "augment": {"interpolation": "bicubic", "jitter_p": 0.0, "grey_p": 0.0, "std": [0.229, 0.224, 0.225]},
        "optimiser": {
            "name": "adamw",
            "lr": 1.5e-4,
            "betas": [0.9, 0.95],
            "weight_decay": 0.05,
            "warmup_epochs": 40,
            "exclude_1d": True,
        },
    },
    "supervised": {
        "epochs": 24,
        "crops": [{"count": 1, "scale": [0.5, 1.0], "blur_p": 0.0}],
        "augment": {"jitter_p": 0.0, "grey_p": 0.2},
        "optimiser": {"name": "sgd", "lr": 0.1, "weight_decay": 5e-4},
    },
}
