"""Small pictures for a page: a few crops out of many, read row group by row group."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import simplejpeg

from curate.manifests.dataset import decode
from curate.records import Pixels
from curate.storage.build import Build

SIDE = 96
"""Side of a picture in a page, pixels: about 3 kB each."""


def thumbnails(build: Build, rows: Iterable[int]) -> dict[int, str]:
    """Row of a face in the build -> its picture as a data URI."""
    wanted = np.unique(np.fromiter(rows, np.int64))
    found: dict[int, str] = {}
    first = 0
    for path in build.face_files():
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            here = wanted[(wanted >= first) & (wanted < first + count)]
            if len(here):
                pictures = file.read_row_group(group, columns=["image"])["image"].combine_chunks().field("bytes")
                found |= {int(row): _uri(pictures[int(row) - first]) for row in here}
            first += count
    return found


def _uri(jpeg: Any) -> str:
    return data_uri(cv2.resize(decode(jpeg.as_py()), (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def data_uri(pixels: Pixels) -> str:
    """A picture, uint8 [height, width, 3], as it stands in a page."""
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
