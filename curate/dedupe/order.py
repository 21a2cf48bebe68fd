"""The order in which faces are met: better quality first, equal ones by `face_id`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def priority(faces: pa.Table) -> NDArray[np.int64]:
    """int64 [faces], higher for faces that come first; what `curate.cover` takes.

    Args:
        faces: columns `face_id` and `quality`.
    """
    order = pc.sort_indices(faces, sort_keys=[("quality", "descending"), ("face_id", "ascending")])
    rank = np.empty(faces.num_rows, dtype=np.int64)
    rank[order.to_numpy()] = -np.arange(faces.num_rows, dtype=np.int64)
    return rank
