"""Damage is what harms pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.stages.decode_units import units

from .streams import CODECS, read, render

SLICE, SETS, MESSAGES = (1, 5), (7, 8), (6, 9, 12, 14, 20, 24, 30, 31)
HOLE = b"\1" + bytes(8) + b"\1"


def packet(kinds_and_bodies: list[tuple[int, bytes]], length_size: int) -> bytes:
    whole = [bytes([kind]) + body for kind, body in kinds_and_bodies]
    return b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in whole)


UNIT = st.tuples(
    st.sampled_from(SLICE + SETS + MESSAGES),
    st.binary(max_size=60).map(lambda rest: (b"\1" + rest).replace(b"\0\0\0\0", b"\0\0\0\1")),
)


@given(st.lists(UNIT, max_size=6), st.sampled_from([1, 2, 4]), st.sampled_from(MESSAGES), st.sampled_from(SLICE + SETS))
def test_units_that_fill_their_packet_are_believed(
    found: list[tuple[int, bytes]], length_size: int, message: int, unit: int
) -> None:
    data = packet(found, length_size)
    seen = units(data, length_size, hevc=False)
    assert seen.sound and seen.picture == any(kind in SLICE for kind, _ in found)
    assert not units(data + b"\x09" * length_size + b"\1", length_size, hevc=False).sound
    assert units(data + packet([(message, HOLE)], length_size), length_size, hevc=False).sound
    assert not units(data + packet([(unit, HOLE)], length_size), length_size, hevc=False).sound


UUID = bytes(range(16, 32))


def message(payload: bytes, size: int | None = None) -> bytes:
    return bytes([6, 5, len(payload) if size is None else size]) + payload + b"\x80"


PRIVATE = {
    "sound": message(UUID + b"telemetry"),
    "size": message(UUID + b"telemetry", 200),
    "raw": message(UUID + b"GPS" + bytes(8) + b"speed" + bytes(4) + b"x"),
    "unit30": bytes([30]) + UUID + bytes(8) + b"x",
    "unit14": bytes([14]) + UUID,
    "timing": bytes([6, 1, 1, 0, 0x80]),
    "cut": bytes([6, 4, 255]),
}
HEVC_PRIVATE = {
    "size": bytes([39 << 1, 1, 5, 200]) + UUID + b"\x80",
    "raw": bytes([39 << 1, 1, 5, 30]) + UUID + bytes(14) + b"\x80",
    "unit50": bytes([50 << 1, 1]) + UUID + bytes(8) + b"x",
}


def insert(source: Path, target: Path, unit: bytes, before: Callable[[av.Packet], bool]) -> Path:
    """A copy with a unit before the first of some packets."""
    with av.open(source) as one, av.open(target, "w") as other:
        stream = one.streams.video[0]
        out = other.add_stream_from_template(stream)
        for found in one.demux(stream):
            if found.size:
                more = len(unit).to_bytes(4, "big") + unit if before(found) else b""
                copy = av.Packet(more + bytes(found))
                copy.pts, copy.dts, copy.duration = found.pts, found.dts, found.duration
                copy.time_base, copy.is_keyframe, copy.stream = found.time_base, found.is_keyframe, out
                other.mux(copy)
    return target


@pytest.mark.parametrize(
    ("codec", "name"), [*(("libx264", name) for name in PRIVATE), *(("libx265", name) for name in HEVC_PRIVATE)]
)
def test_what_stands_beside_pictures_harms_none(tmp_path: Path, codec: str, name: str) -> None:
    options = CODECS[0][2] if codec == "libx264" else CODECS[5][2]
    plain = render(tmp_path / "plain.mp4", codec, options, range(24), gop=8)
    unit = (PRIVATE if codec == "libx264" else HEVC_PRIVATE)[name]
    wanted, _ = read(plain, 1000)
    for keys_only in (False, True):
        path = insert(plain, tmp_path / "a.mp4", unit, lambda p, k=keys_only: p.is_keyframe or not k)  # type: ignore[misc]
        frames, info = read(path, 1000)
        assert (info.frames_total, info.frames_sampled, info.frames_damaged) == (24, 24, 0)
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(frames, wanted, strict=True))
