from __future__ import annotations

import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.records import Pixels
from curate.stages.decode_tone import HLG, PQ, sdr

from .streams import read
from .test_decode_display import PHOTO

TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(nits: np.ndarray) -> np.ndarray:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = np.clip(nits / 10_000, 0, 1) ** m1
    return np.asarray(((c1 + c2 * power) / (1 + c3 * power)) ** m2)


def hlg(scene: np.ndarray) -> np.ndarray:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def signal(picture: Pixels, transfer: int) -> np.ndarray:
    """An SDR picture as a colourist would put it into HDR: its white at reference white."""
    value = picture / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) @ TO_BT2020.T
    if transfer == PQ:
        return pq(203 * linear)
    light = 203 * linear / 1000  # the scene whose display is that light
    luma = light @ (0.2627, 0.6780, 0.0593)
    return hlg(np.clip(light * np.maximum(luma, 1e-9)[..., None] ** (1 / 1.2 - 1), 0, 1))


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_sdr_in_hdr_looks_like_itself(transfer: int) -> None:
    shown = sdr(signal(PHOTO, transfer), transfer) * 255
    assert np.abs(shown - PHOTO).mean() < 4
    dark = PHOTO.max(-1) < 200
    assert np.abs(shown - PHOTO)[dark].mean() < 1, "below the knee nothing changes"


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.sampled_from([PQ, HLG]))
def test_more_signal_is_never_darker(levels: list[float], transfer: int) -> None:
    grey = np.repeat(np.sort(levels)[:, None], 3, 1)
    shown = sdr(grey, transfer)
    assert np.all(np.diff(shown, axis=0) >= -1e-9) and shown.min() >= 0 and shown.max() <= 1
    assert np.abs(shown - shown.mean(-1, keepdims=True)).max() < 1e-3, "grey stays grey"


@pytest.mark.parametrize(("name", "transfer"), [("smpte2084", PQ), ("arib-std-b67", HLG)])
def test_hdr_videos_look_like_sdr(tmp_path: Path, name: str, transfer: int) -> None:
    raw = (np.clip(signal(PHOTO, transfer), 0, 1) * 65_535).round().astype("<u2").tobytes()
    tags = f"-color_primaries bt2020 -color_trc {name} -colorspace bt2020nc -color_range tv"
    form = "-f rawvideo -pix_fmt rgb48le -s 160x120 -r 5 -i - -vf scale=out_color_matrix=bt2020:out_range=tv"
    coder = "-pix_fmt yuv420p10le -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -crf 10 -b:v 0"
    path = tmp_path / "a.mkv"
    command = ["ffmpeg", "-v", "error", *form.split(), *coder.split(), *tags.split(), str(path)]
    subprocess.run(command, input=raw * 3, check=True)
    frames, info = read(path, 5)
    assert info.color_transfer == name
    shown, wanted = (cv2.cvtColor(one, cv2.COLOR_RGB2HSV).astype(float) for one in (frames[0].pixels, PHOTO))
    for channel in (1, 2):
        assert shown[..., channel].mean() == pytest.approx(wanted[..., channel].mean(), rel=0.1)
        assert shown[..., channel].std() == pytest.approx(wanted[..., channel].std(), rel=0.1)
