"""`decontamination.html`: faces of a build beside the evaluation pictures that they match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.drawing.pictures import SIDE, data_uri, thumbnails
from curate.drawing.template import render
from curate.manifests.decontaminated import Decontamination
from curate.records import Pixels
from curate.storage.build import Build
from curate.storage.files import write_bytes

TEMPLATE = Path(__file__).with_name("page.html")
SHOWN = 120
"""Pairs of each kind on the page, the most similar and the least similar ones."""


def write(built: Build, record: Decontamination, table: pa.Table, crop: Callable[[int], Pixels]) -> Path:
    """Writes the page and returns its path.

    Args:
        table: as `decontamination.parquet` holds it.
        crop: gives the evaluation face of a row of the table.
    """
    kinds, every = [], []
    for by in ("picture", "identity"):
        own = np.flatnonzero(pc.equal(table["by"], by).to_numpy(zero_copy_only=False))
        direct = own[table["direct"].to_numpy(zero_copy_only=False)[own]]
        direct = direct[np.argsort(-table["similarity"].to_numpy()[direct], kind="stable")]
        shown = direct if len(direct) <= SHOWN else np.concatenate([direct[: SHOWN // 2], direct[-SHOWN // 2 :]])
        pairs = [{**pair, "row": row} for row, pair in zip(shown.tolist(), table.take(shown).to_pylist(), strict=True)]
        every += pairs
        kinds.append({"by": by, "faces": len(own), "direct": len(direct), "pairs": pairs})
    ids = built.faces(["face_id"])["face_id"]
    place = {pair["face_id"]: pc.index(ids, pair["face_id"]).as_py() for pair in every}
    ours = thumbnails(built, list(place.values())) if place else {}
    theirs = {
        pair["row"]: data_uri(cv2.resize(crop(pair["row"]), (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        for pair in every
    }
    page = built.path / "decontamination.html"
    values = {"name": built.path.name, "record": record, "kinds": kinds, "place": place, "ours": ours}
    write_bytes(page, render(TEMPLATE, **values, theirs=theirs).encode())
    return page
