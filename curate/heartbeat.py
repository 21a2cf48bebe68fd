"""Signs of life of long work: the stages call `beat`, and whoever supervises their process hears it.

Without a listener a beat costs a comparison and does nothing. Beats may come from several threads; the stage is that of
the one that began to listen, which waits for the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

FETCH, TURN, DECODE, FACES, PACK = "fetch", "turn", "decode", "faces", "packing"
"""Stages that beat: each block of bytes, each look for a free core, each frame, each batch of searched frames, each
group of rows that is copied."""


@dataclass
class Pulse:
    """What has happened since the source was begun.

    Attributes:
        stage: what is being done; empty before anything is.
        bytes: received, or copied; frames: decoded.
        duration_s: of the video, once it is known.
    """

    stage: str = ""
    bytes: int = 0
    frames: int = 0
    duration_s: float = 0.0


Listener = Callable[[Pulse], None]
_pulse = Pulse()
_listener: Listener | None = None
_thread = 0
_lock = threading.Lock()


def listen(listener: Listener | None) -> None:
    """Begins a new pulse, heard by `listener`; None: by nobody."""
    global _pulse, _listener, _thread  # one process works on one source at a time
    _pulse, _listener, _thread = Pulse(), listener, threading.get_ident()


def beat(stage: str, *, bytes: int = 0, frames: int = 0, duration_s: float | None = None) -> None:  # noqa: A002
    """Says that work goes on.

    Args:
        stage: `FETCH`, `TURN`, `DECODE`, `FACES` or `PACK`.
        bytes, frames: received (copied) or decoded since the last beat.
        duration_s: of the video, where it has become known.
    """
    if _listener is None:
        return
    with _lock:
        if threading.get_ident() == _thread:
            _pulse.stage = stage
        _pulse.bytes += bytes
        _pulse.frames += frames
        if duration_s is not None:
            _pulse.duration_s = duration_s
        _listener(_pulse)
