"""Miniature data sets in the layouts of their owners, with pictures from a seeded generator."""

from __future__ import annotations

from PIL import Image

from tests.evaluate.layouts.base import RNG, face, jpeg, picture, pts, save, shape, table, write
from tests.evaluate.layouts.expressions import (
    make_afew_va,
    make_affectnet,
    make_affectnet_arrays,
    make_bp4d,
    make_disfa,
    make_fer2013,
    make_raf_db,
)
from tests.evaluate.layouts.landmarks import make_300w, make_aflw19, make_cofw, make_wflw
from tests.evaluate.layouts.own import make_csv, make_mat, make_pairs, make_pts
from tests.evaluate.layouts.recognition import (
    FIVE,
    make_agedb,
    make_bin,
    make_cfp,
    make_ijb_insightface,
    make_ijb_owners,
    make_lfw,
    make_vggface2,
)
from tests.evaluate.layouts.shapes import make_300w_lp, make_aflw2000, make_florence, make_model

__all__ = [
    "FIVE",
    "RNG",
    "Image",
    "face",
    "jpeg",
    "make_300w",
    "make_300w_lp",
    "make_afew_va",
    "make_affectnet",
    "make_affectnet_arrays",
    "make_aflw19",
    "make_aflw2000",
    "make_agedb",
    "make_bin",
    "make_bp4d",
    "make_cfp",
    "make_cofw",
    "make_csv",
    "make_disfa",
    "make_fer2013",
    "make_florence",
    "make_ijb_insightface",
    "make_ijb_owners",
    "make_lfw",
    "make_mat",
    "make_model",
    "make_pairs",
    "make_pts",
    "make_raf_db",
    "make_vggface2",
    "make_wflw",
    "picture",
    "pts",
    "save",
    "shape",
    "table",
    "write",
]
