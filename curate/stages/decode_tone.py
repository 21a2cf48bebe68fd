"""PQ and HLG pictures (ITU-R BT.2100) with the look of SDR, through one table of colours.

Light is put relative to HDR reference white, 203 cd/m2 (ITU-R BT.2408), which becomes the white of SDR. What is darker
than `KNEE` keeps its light; brighter light, up to that of a display of 1000 cd/m2, is pressed into the room above,
by the brightest of the three channels, so that hues stay. BT.2020 primaries become those of BT.709, what lies outside
of them is cut, and the curve of sRGB follows.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

PQ, HLG = 16, 18
"""Transfer functions by their numbers in ITU-T H.273, which libav uses."""

WHITE, PEAK = 203.0, 1000.0
"""Reference white and the brightest light that is distinguished, cd/m2."""

KNEE = 0.75
"""Light relative to white above which highlights are pressed."""

_GRID = 33
_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2087)."""
_LUMA = np.array([0.2627, 0.6780, 0.0593])

Floats = NDArray[np.float64]


def sdr(signal: Floats, transfer: int) -> Floats:
    """Float [..., 3] in 0 to 1: the sRGB values that show an HDR signal.

    Args:
        signal: float [..., 3] in 0 to 1, non-linear BT.2020 R, G and B.
        transfer: `PQ` or `HLG`.
    """
    light = (_pq_light(signal) if transfer == PQ else _hlg_light(signal)) / WHITE
    brightest = light.max(-1, keepdims=True)
    light = light * (_pressed(brightest) / np.maximum(brightest, 1e-9))
    linear = np.clip(light @ _TO_BT709.T, 0, 1)
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def _pq_light(signal: Floats) -> Floats:
    """cd/m2 (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    return np.asarray(1e4 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def _hlg_light(signal: Floats) -> Floats:
    """cd/m2 on a display of `PEAK` (ITU-R BT.2100: inverse OETF, then the OOTF of that display)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return np.asarray(PEAK * (scene @ _LUMA)[..., None] ** 0.2 * scene)


def _pressed(light: Floats) -> Floats:
    """Light relative to white, without a kink from `KNEE` on and 1 at `PEAK`."""
    over = np.clip(light - KNEE, 0, PEAK / WHITE - KNEE)
    steepness = 1 / (1 - KNEE) - 1 / (PEAK / WHITE - KNEE)
    return np.asarray(np.minimum(light, KNEE) + over / (1 + over * steepness))


@cache
def _table(transfer: int) -> str:
    """The mapping as text of an Adobe .cube table, red running fastest."""
    steps = np.linspace(0, 1, _GRID)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    rows = sdr(np.stack([red, green, blue], -1).reshape(-1, 3), transfer)
    return f"LUT_3D_SIZE {_GRID}\n" + "\n".join("{:.6f} {:.6f} {:.6f}".format(*row) for row in rows.tolist())


def graph(width: int, height: int, pixel_format: av.VideoFormat, transfer: int) -> Graph:
    """A filter from RGB pictures that carry an HDR signal to 8-bit RGB that looks like SDR."""
    chain = Graph()
    with tempfile.TemporaryDirectory(prefix="curate-tone-") as folder:
        table = Path(folder) / "table.cube"
        table.write_text(_table(transfer), encoding="ascii")
        source = chain.add_buffer(width=width, height=height, format=pixel_format, time_base=Fraction(1))
        mapped = chain.add("lut3d", file=str(table), interp="tetrahedral")
        source.link_to(mapped)
        mapped.link_to(chain.add("buffersink"))
        chain.configure()
    return chain
