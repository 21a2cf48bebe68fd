"""Small pictures for a page: a few crops out of many."""

from __future__ import annotations

import base64
from collections.abc import Iterable

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


def _uri(jpeg: bytes) -> str:
    return data_uri(cv2.resize(decode(jpeg), (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def data_uri(pixels: Pixels) -> str:
    """A picture, uint8 [height, width, 3], as it stands in a page."""
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
