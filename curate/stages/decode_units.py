"""What the bytes of a packet show before it is decoded: whether it holds a picture, and whether that can be sound.

* H.264 and HEVC in length-prefixed units: the lengths must fill the packet, and in the units that pictures are made of
  (slices and parameter sets) no four zero bytes may stand, because the encoder escapes them (ITU-T H.264 7.4.1, H.265
  7.4.2). Blocks of a file that were never written, or were overwritten, break one or the other. What stands in other
  units (messages, private data) harms no picture, whatever its form.
* VP8, VP9 and AV1: a run of `LONGEST_ZEROS` zero bytes, which an arithmetic coder does not write. Their decoders in
  libav check almost nothing, so this is the only sign of a hole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import av

LONGEST_ZEROS = 64
"""Zero bytes in a row from which a packet of an arithmetic-coded video is not believed."""

_ZEROS = bytes(LONGEST_ZEROS)
_MPEG4_SIZE = re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01)", re.DOTALL)
_MPEG4_PICTURE = b"\0\0\1\xb6"


_OF_MESSAGES = ("SEI", "buffering period")


def harms_pictures(complaint: str) -> bool:
    """Whether what libav complains of may harm pictures: messages beside them (SEI) do not."""
    return not any(word in complaint for word in _OF_MESSAGES)


class Seen(NamedTuple):
    """What a packet shows.

    Attributes:
        picture: it holds one that is to be shown.
        sound: nothing about its bytes says that the picture is damaged.
        header: bytes that decide the size of what follows, where it repeats them.
        held_back: its picture is one that is shown before others that were decoded earlier.
    """

    picture: bool = True
    sound: bool = True
    header: bytes = b""
    held_back: bool = False


def reader(stream: av.VideoStream) -> Callable[[bytes], Seen]:
    """What looks at the packets of this stream."""
    codec = stream.codec_context.codec.canonical_name
    extradata = stream.codec_context.extradata or b""
    if codec == "h264" and len(extradata) > 6 and extradata[0] == 1:
        return lambda data: units(data, (extradata[4] & 3) + 1, hevc=False)
    if codec == "hevc" and len(extradata) > 22 and extradata[0] == 1:
        return lambda data: units(data, (extradata[21] & 3) + 1, hevc=True)
    by_codec = {"vp8": _vp8, "vp9": _vp9, "av1": lambda data: Seen(sound=_ZEROS not in data), "mpeg4": _mpeg4}
    return by_codec.get(codec, lambda _: Seen())


def units(data: bytes, length_size: int, hevc: bool) -> Seen:
    """Looks through the units of an H.264 or HEVC packet."""
    start, end = 0, len(data)
    picture, header = False, b""
    while start + length_size <= end:
        body = start + length_size
        start = body + int.from_bytes(data[start:body], "big")
        if start > end or (start > body and data[body] & 0x80):  # forbidden_zero_bit
            return Seen(sound=False)
        if start == body:
            continue
        kind = data[body] >> 1 & 63 if hevc else data[body] & 31
        slices, sets = (kind < 32, 32 <= kind < 35) if hevc else (1 <= kind <= 5, kind in (7, 8, 13, 15))
        picture |= slices
        if kind == (33 if hevc else 7):  # the set that holds the size
            header += data[body:start]
        if slices or sets:
            hole = data.find(b"\0\0\0\0", body, start)
            if hole >= 0 and data[hole:start].strip(b"\0"):  # zeros at the very end are padding
                return Seen(sound=False)
    sound = not data[start:].strip(b"\0")
    return Seen(picture or not sound, sound, header)


def _vp8(data: bytes) -> Seen:
    key = not data[0] & 1
    return Seen(bool(data[0] >> 4 & 1), _ZEROS not in data, data[6:10] if key else b"")


def _vp9(data: bytes) -> Seen:
    """A packet is one frame, or several with an index behind them, of which at least one is shown."""
    several = data[-1] & 0xE0 == 0xC0
    bits = data[0] << 8 | data[min(1, len(data) - 1)]
    first = 3 if data[0] >> 4 & 3 == 3 else 4  # after marker and profile; profile 3 has a bit more
    again, shown = bits >> (11 if first == 4 else 10) & 1, bits >> (9 if first == 4 else 8) & 1
    return Seen(bool(several or again or shown), _ZEROS not in data)


def _mpeg4(data: bytes) -> Seen:
    size = _MPEG4_SIZE.search(data)
    picture = data.find(_MPEG4_PICTURE)
    kind = data[picture + 4] >> 6 if 0 <= picture < len(data) - 4 else 0
    return Seen(header=size.group() if size else b"", held_back=kind == 2)
