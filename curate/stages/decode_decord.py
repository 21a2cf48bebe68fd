"""Reads frames with decord: regular streams that are short, as long as libav sees no damage.

decord returns a concealed or a repeated frame where a packet is damaged and says nothing. But the libav inside it does
say so, in its log, while it decodes and therefore before decord hands the frame over. `frames` listens to that log; at
the first complaint it raises `Suspicious`, and PyAV takes over from that frame. Listening costs nothing that can be
measured, so sound videos are decoded once.

What keeps decord from longer videos is memory: it pushes packets until the first frame comes back, and decodes all of
them ahead of its caller, so that a slow caller or a busy machine lets it hold a large part of the video as pictures
(7 GB within four minutes of a 1080p film, by a caller that takes 30 ms a frame). A video of at most `MOST_BYTES` of
pictures cannot grow beyond that.

Where decord fails by itself (an error of its own, or narrow frames, whose rows it returns with their padding), PyAV
takes over as well.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.heartbeat import DECODE, beat
from curate.records import Pixels
from curate.stages.decode_index import Index, Suspicious
from curate.stages.decode_units import harms_pictures
from curate.stages.hidden import hidden

# decord opens every library of NVIDIA's packages, which come with torch for CUDA, for the whole process, libnvblas
# among them: from then on that answers for every matrix product of every library, and crashes without a GPU. Frames
# are decoded on the CPU here, which needs none of them.
try:
    with hidden("nvidia"):
        import decord
except OSError:  # a build of decord that cannot be loaded without them
    import decord
from decord import logging as decord_logging
from decord.base import DECORDError

CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
CODECS = frozenset({"h264", "mpeg4", "vp8"})
"""Streams whose n-th frame from decord is their n-th, and whose damage its libav hears. MPEG program streams lose their
first frames, HEVC stops, of VP9 libvpx hears more (see `decode_pyav`), and AV1 hides where sizes change."""

MOST_BYTES = 256 << 20
"""Bytes of all frames of a video as pictures, up to which decord reads it."""

_ERROR = 16
_GAP = "Frame num gap"
"""H.264: a packet that others refer to is not there. libav calls it a debugging message, and conceals the frame."""


class _Listener:
    """Counts the complaints of decord's libav in this process."""

    def __init__(self) -> None:
        self.complaints = 0
        self.users = 0
        # Kept alive with the listener: libav calls it from decord's thread.
        self._callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            self._hear
        )
        library = ctypes.CDLL(str(Path(decord.__file__).with_name("libdecord.so")))
        self._set = library.av_log_set_callback
        self._set.argtypes, self._set.restype = [ctypes.c_void_p], None
        self._default = ctypes.cast(library.av_log_default_callback, ctypes.c_void_p)
        decord_logging.set_level(decord_logging.QUIET)

    def _hear(self, _part: int | None, level: int, text: bytes | None, _values: int | None) -> None:
        said = (text or b"").decode("ascii", "replace")
        if (level <= _ERROR and harms_pictures(said)) or said.startswith(_GAP):
            self.complaints += 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        self.users += 1
        self._set(ctypes.cast(self._callback, ctypes.c_void_p))
        try:
            yield
        finally:
            self.users -= 1
            if not self.users:
                self._set(self._default)


_listener: _Listener | None = None


def suits(index: Index) -> bool:
    """Whether decord can be trusted with a stream, and with the memory."""
    info = index.info
    fits = len(index.times) * info.width * info.height * 3 <= MOST_BYTES
    return info.container in CONTAINERS and info.codec in CODECS and fits and index.plain and not index.flawed


def frames(path: Path, index: Index, wanted: list[int]) -> Iterator[Pixels]:
    """Reads the frames at `wanted`, ascending places, one after the other.

    Nothing is sought and frames are taken one by one, so memory stays bounded.

    Raises:
        Suspicious: the next frame cannot be vouched for; the frames before it can.
    """
    global _listener
    if _listener is None:
        try:
            _listener = _Listener()
        except (OSError, AttributeError):  # a decord that hides its libav cannot be listened to
            raise Suspicious from None
    shape = (index.info.height, index.info.width, 3)
    with _listener.listening():
        heard = _listener.complaints
        try:
            reader = decord.VideoReader(str(path), num_threads=1)
            if len(reader) != len(index.times):
                raise Suspicious
            keys = reader.get_key_indices()
            place = 0
            for target in wanted:
                _skip(reader, keys, place, target)
                pixels = reader.next().asnumpy()
                beat(DECODE, frames=target + 1 - place)
                place = target + 1
                if _listener.complaints != heard or pixels.shape != shape:
                    raise Suspicious
                yield pixels
        except (DECORDError, StopIteration, AssertionError):
            raise Suspicious from None


def _skip(reader: decord.VideoReader, keys: list[int], place: int, target: int) -> None:
    """Moves from the frame at `place` to the one at `target`.

    `skip_frames` seeks where its end lies at or behind a key frame, and lands on other frames where times vary. So it
    is used between key frames only, and these are read and let go.
    """
    while place < target:
        following = bisect_right(keys, place)
        stop = min(target, keys[following] - 1) if following < len(keys) else target
        if stop > place:
            reader.skip_frames(stop - place)
            place = stop
        else:
            reader.next()
            place += 1
