"""Frames are decoded in a thread of their own, a few before they are asked for, while networks run on those before.

The frames, their order and their errors are the same. The thread's beats are signs of life, but the stage is that of
the thread that searches faces (`curate.heartbeat`): a decoder that hangs shows once its frames are used up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from curate.heartbeat import DECODE, beat
from curate.records import Frame

MOST, MOST_BYTES = 8, 20 << 20
"""Frames that wait at most, and bytes of them beyond which none is added: faces are searched for in such groups."""


class _Shelf:
    """What has been decoded and not been taken yet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._error: BaseException | None = None
        self._ended = self._closed = False

    def put(self, frame: Frame) -> bool:
        """Adds a frame once there is room; whether more are wanted."""
        with self._changed:
            self._frames.append(frame)
            self._bytes += frame.pixels.nbytes
            self._changed.notify_all()
            self._changed.wait_for(self._wanted)
            return not self._closed

    def _wanted(self) -> bool:
        return self._closed or (len(self._frames) < MOST and self._bytes < MOST_BYTES)

    def end(self, error: BaseException | None) -> None:
        """There are no more frames, because of an error where there is one."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def taken(self) -> Iterator[Frame]:
        """The frames, and at their end what went wrong."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._ended)
                if not self._frames:
                    break
                frame = self._frames.popleft()
                self._bytes -= frame.pixels.nbytes
                self._changed.notify_all()
            yield frame
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Nothing is wanted any more."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()


@contextmanager
def decoded_ahead(frames: Callable[[], Iterator[Frame]]) -> Iterator[Iterator[Frame]]:
    """Yields the frames of a video while a thread decodes those that come next; it has ended when the block has.

    Args:
        frames: begins to decode; called, and run to its end, in the thread.
    """
    shelf = _Shelf()

    def decode() -> None:
        error: BaseException | None = None
        try:
            for frame in frames():
                if not shelf.put(frame):
                    break
        except BaseException as raised:  # it belongs to whoever takes the frames
            error = raised
        shelf.end(error)

    thread = threading.Thread(target=decode, name="decode", daemon=True)
    thread.start()
    try:
        yield shelf.taken()
    finally:
        shelf.close()
        beat(DECODE)  # what the thread is at now is waited for
        thread.join()
