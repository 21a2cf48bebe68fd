"""`decontamination.html`: faces of a build beside the evaluation pictures that they match."""

from __future__ import annotations

from pathlib import Path

import cv2
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


def write(built: Build, record: Decontamination, table: pa.Table, crops: dict[str, Pixels]) -> Path:
    """Writes the page and returns its path.

    Args:
        crops: name of an evaluation picture -> its face.
    """
    place = {face: row for row, face in enumerate(built.faces(["face_id"])["face_id"].to_pylist())}
    kinds = []
    for by in ("picture", "identity"):
        own = table.filter(pc.equal(table["by"], by))
        direct = own.filter(own["direct"]).sort_by([("similarity", "descending")]).to_pylist()
        shown = direct if len(direct) <= SHOWN else direct[: SHOWN // 2] + direct[-SHOWN // 2 :]
        kinds.append({"by": by, "faces": own.num_rows, "direct": len(direct), "pairs": shown})
    rows = [place[pair["face_id"]] for kind in kinds for pair in kind["pairs"]]
    pictures = thumbnails(built, rows) if rows else {}
    names = {pair["match"] for kind in kinds for pair in kind["pairs"]}
    theirs = {name: data_uri(cv2.resize(crops[name], (SIDE, SIDE), interpolation=cv2.INTER_AREA)) for name in names}
    page = built.path / "decontamination.html"
    values = {"name": built.path.name, "record": record, "kinds": kinds, "place": place, "ours": pictures}
    write_bytes(page, render(TEMPLATE, **values, theirs=theirs).encode())
    return page
