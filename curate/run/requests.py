"""What a worker asks of its child process (see `curate.run.child`)."""

from __future__ import annotations

import pickle
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.errors import UsageError
from curate.hardware import limit_threads
from curate.run.pack import Packing
from curate.run.parts import Broken, PartOf
from curate.run.supervise import PACK, Packed
from curate.run.video import VideoTask, loaded_backend, look, process
from curate.stages import backend_dlib


def prepare(request: tuple[Any, ...]) -> None:
    """Loads what a request needs, before its clock runs."""
    limit_threads(1)
    if request[0] == PACK:
        return
    backend_dlib.predictor()
    task: VideoTask = pickle.loads(request[1])  # noqa: S301 - from the worker that owns this process
    try:
        models = tuple(sorted(model.sha256 for model in loaded_backend(task.recipe, task.device).models))
    except UsageError as error:
        raise UsageError(f"on {socket.gethostname()}: {error}") from None
    if models != task.models:
        raise UsageError(
            f"on {socket.gethostname()}: the models of the face backend are others than those of this machine; copy "
            "the same pack there, or give --models a folder that both see"
        )


def answer(request: tuple[Any, ...]) -> object:
    """Does what is asked."""
    kind, pickled, *rest = request
    if kind == PACK:
        started, packing = time.perf_counter(), pickle.loads(pickled)  # noqa: S301 - as below
        assert isinstance(packing, Packing)
        return Packed(packing.write(), time.perf_counter() - started)
    task: VideoTask = pickle.loads(pickled)  # noqa: S301 - from the worker that owns this process
    if kind == "process":
        item, folder = rest
        if item.step is not None and folder is not None:  # parts are joined by workers that see their pieces
            return Broken("a worker does not see the build's disk")
        if item.whole or folder is not None:
            task = replace(elsewhere(task, folder), part_s=None)
        if item.careful:
            task = replace(task, ahead=False)
        if isinstance(item.step, PartOf):
            return look(item.source, item.step.split, item.step.part, task)
        return process(item.source, task, item.stamp, item.known, item.step)
    raise ValueError(f"{kind}: no such request")


def elsewhere(task: VideoTask, folder: Path | None) -> VideoTask:
    """The task with its files below `folder`: for a worker that does not see the build's disk."""
    return task if folder is None else replace(task, media=folder / "media", pieces=folder / "pieces")
