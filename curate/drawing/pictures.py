"""Small pictures for a page: a few crops out of many."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import simplejpeg

from curate.records import Pixels
from curate.storage.build import Build
from curate.storage.pictures import decode

SIDE = 96
"""Side of a picture in a page, pixels: about 3 kB each."""


def thumbnails(build: Build, rows: Iterable[int]) -> dict[int, str]:
    """Row of a face in the build -> its picture as a data URI."""
    wanted = np.unique(np.fromiter(rows, np.int64))
    return {row: _uri(jpeg) for row, jpeg in zip(wanted.tolist(), build.pictures(wanted), strict=True)}


def contact_sheet(build: Build, rows: Sequence[int], across: int = 16, most: int = 400) -> bytes:
    """Some faces of a build, side by side in the order given, as one JPEG; of more than `most` evenly many."""
    chosen = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    order = np.argsort(chosen, kind="stable")
    sheet = np.full((-(-len(chosen) // across) * SIDE, min(across, len(chosen)) * SIDE, 3), 255, np.uint8)
    for place, stored in zip(order.tolist(), build.pictures(np.array(chosen)[order]), strict=True):
        y, x = divmod(place, across)
        small = cv2.resize(decode(stored), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        sheet[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE] = small
    return bytes(simplejpeg.encode_jpeg(sheet, quality=85))


def _uri(jpeg: bytes) -> str:
    return data_uri(cv2.resize(decode(jpeg), (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def data_uri(pixels: Pixels) -> str:
    """A picture, uint8 [height, width, 3], as it stands in a page."""
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
