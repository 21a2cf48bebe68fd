"""What a backbone's pictures are normalised with, as files beside its weights say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from curate.errors import UsageError

Channels = tuple[float, float, float]
"""Of red, green and blue."""
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)


def run_of(path: Path) -> dict[str, Any]:
    """`config.yaml` of the run that made a `backbone.pt`, as it stands beside it; empty where there is none."""
    try:
        values = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # whatever lies beside the weights of others
    return values if isinstance(values, dict) else {}


def normalisation_of(path: Path) -> tuple[Channels, Channels]:
    """What the pictures of a file's backbone are normalised with: as a file beside it says, else ImageNet's.

    Returns:
        Mean and standard deviation of red, green and blue, of pictures in [0, 1].

    Raises:
        UsageError: a file's are not three numbers each, the deviations above 0.
    """
    return declared_normalisation(path) or (IMAGENET_MEAN, IMAGENET_STD)


def declared_normalisation(path: Path) -> tuple[Channels, Channels] | None:
    """Mean and deviation that a file beside `path` declares; None without.

    Such a file is the `config.yaml` of a run (`augment.mean`, `augment.std`), a JSON or YAML file named like the
    backbone (`mean`, `std`), or the `preprocessor_config.json` of Hugging Face (`image_mean`, `image_std`).

    Raises:
        UsageError: they are not three numbers each, the deviations above 0.
    """
    run = run_of(path).get("augment")
    beside = [(f"{path.parent / 'config.yaml'}: augment.", run if isinstance(run, dict) else {})]
    names = [f"{path.stem}{suffix}" for suffix in (".json", ".yaml", ".yml")]
    beside += [(f"{path.parent / n}: ", _document(path.parent / n)) for n in (*names, "preprocessor_config.json")]
    for where, record in beside:
        keys = [key for key in ("mean", "std", "image_mean", "image_std") if key in record]
        if keys:
            mean = record.get("mean", record.get("image_mean", IMAGENET_MEAN))
            std = record.get("std", record.get("image_std", IMAGENET_STD))
            return channels(mean, f"{where}mean", False), channels(std, f"{where}std", True)
    return None


def _document(path: Path) -> dict[str, Any]:
    """A JSON or YAML file's mapping; empty where it is none, for others may keep anything there."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def channels(values: object, what: str, positive: bool) -> Channels:
    """Three numbers of pictures in [0, 1].

    Raises:
        UsageError: they are not three finite numbers, above 0 where they must be, or they are of pictures in [0, 255].
    """
    try:
        red, green, blue = (float(value) for value in values)  # type: ignore[attr-defined]  # else TypeError
    except (TypeError, ValueError):
        red = green = blue = math.nan
    if not all(math.isfinite(v) and (v > 0 or not positive) for v in (red, green, blue)):
        raise UsageError(f"{what} = {values!r}: three numbers are wanted" + (", above 0" if positive else ""))
    if max(red, green, blue) > _OF_BYTES:
        raise UsageError(f"{what} = {values!r}: of pictures in [0, 1] are wanted; divide by 255")
    return red, green, blue


_OF_BYTES = 4
"""A mean or deviation above this is of pictures in [0, 255]."""
