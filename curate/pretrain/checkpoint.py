"""`checkpoints/last.pt`: everything that is needed to resume a run, and the proof that it is the same run."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from curate.errors import UsageError
from curate.pretrain.config import BUDGETS
from curate.pretrain.weights import write

FORMAT = 2
LAST = "checkpoints/last.pt"
"""Where it lies in the folder of a run."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps.

    Attributes:
        step: updates done.
        total: updates of the whole run.
        lengthened: totals at which a finished run was lengthened.
        identity: what decides the weights: recipe, manifest, initial weights (plain values).
        method: state dict of all networks, queues and centres.
        optimiser: its state dict.
        scaler: that of the loss scaling, empty without.
    """

    step: int
    total: int
    lengthened: list[int]
    identity: dict[str, Any]
    method: dict[str, Any]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]

    def save(self, path: Path) -> None:
        """Writes it whole or not at all: on a full disk the checkpoint before it stays.

        Raises:
            StorageError: it cannot be written.
        """
        write(vars(self) | {"format": FORMAT, "identity": json.dumps(self.identity)}, path)


def load(path: Path, identity: dict[str, Any], total: int) -> Checkpoint | None:
    """The checkpoint at `path`, if there is one; of a finished run that is to be longer, with its old length noted.

    Args:
        path: of the file.
        identity: what the run is now asked to be.
        total: updates that it is to have.

    Raises:
        UsageError: it is damaged, or belongs to another recipe or manifest; says what differs.
    """
    if not path.exists():
        return None
    checkpoint = _read(path)
    longer = {key: identity[key] for key in BUDGETS}
    if checkpoint.step == checkpoint.total < total and not _differences(checkpoint.identity | longer, identity):
        return replace(checkpoint, total=total, lengthened=[*checkpoint.lengthened, checkpoint.total])
    _refuse_differences(path, checkpoint.identity, identity)
    return checkpoint


def refuse_another(path: Path, then: dict[str, Any] | None, identity: dict[str, Any]) -> None:
    """What `load` refuses whatever the budget is: to be asked before pictures are packed, which may take hours.

    Args:
        path: of the file.
        then: what lies there, by `identity_at`.
        identity: as for `load`.

    Raises:
        UsageError: they differ; says in what.
    """
    if then is not None and _differences(then | {key: identity[key] for key in BUDGETS}, identity):
        _refuse_differences(path, then, identity)


def identity_at(path: Path) -> dict[str, Any] | None:
    """What decided the weights of the run whose checkpoint lies there; None: there is none.

    Raises:
        UsageError: it is damaged.
    """
    return _read(path, mmap=True).identity if path.exists() else None  # the tensors stay on the disk


def _read(path: Path, mmap: bool = False) -> Checkpoint:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if content.pop("format") != FORMAT:
            raise ValueError("of another version of curate")
        identity = json.loads(content["identity"])
        identity["data"].setdefault("decode", "cpu")  # of a run from before there was a choice
        return Checkpoint(**content | {"identity": identity})
    except Exception as error:  # torch raises many kinds at damaged files
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path}: cannot be resumed from ({first[:160]}); remove it or use another --out") from None


def _refuse_differences(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises UsageError where two runs' identities differ, with the first three differences."""
    differences = _differences(then, now)
    if differences:
        backbone = path.parents[1] / "backbone.pt"
        shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
        raise UsageError(
            f"{path}: another run lies here: {shown}. Use another --out, with --init {backbone} to "
            "begin from its weights, or what that run was made with; a finished run can only be lengthened"
        )


def _differences(then: Any, now: Any, name: str = "") -> list[str]:
    """Where two trees of plain values differ, as `key was A, now B`."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = list(then) + [key for key in now if key not in then]
        return [
            line
            for key in keys
            for line in _differences(then.get(key), now.get(key), f"{name}.{key}" if name else str(key))
        ]
    return [] if then == now else [f"{name} was {_short(then)}, now {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"
