"""torch, where it is worth its two seconds of loading; no answer depends on it."""

from __future__ import annotations

import sys
from typing import Any

FEW = 16_384
"""Rows up to which numpy is done before torch is loaded."""


def torch_for(count: int) -> Any | None:
    """torch, for work on so many rows; None where they are few and nobody has loaded it yet."""
    if count > FEW:
        import torch

        return torch
    return torch_here()


def torch_here() -> Any | None:
    """torch, where it is loaded."""
    return sys.modules.get("torch")
