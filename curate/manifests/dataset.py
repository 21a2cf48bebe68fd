"""A manifest as a torch data set: `curate.FaceDataset("F.parquet")`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from curate.errors import UsageError
from curate.storage.manifest import open_manifest
from curate.storage.parquet import open_parquet
from curate.storage.pictures import decode

GROUPS_KEPT = 64
"""Row groups kept at hand by each process: 64 groups of 64 crops of 15 kB are 60 MB."""

Sample = dict[str, Any]


class FaceDataset(Dataset[Sample]):
    """The faces of a manifest, in its order.

    A sample is `{"image": uint8 [3, H, W] tensor, "face_id": str, "video_id": str, "cluster": int}`; `transform` is one
    of pictures, as torchvision's are: what it makes of the tensor takes its place. Pictures are read a row group at a
    time and decoded when asked for. The object can be pickled and used by any number of `DataLoader` workers.

    Args:
        manifest: a Parquet file that curate wrote.
        transform: applied to each picture.
        build: folder of the build; by default the one that the manifest was cut from, found from where it lies.

    Raises:
        UsageError: the file is no manifest, or its build is not where it should be.
    """

    def __init__(
        self,
        manifest: str | Path,
        transform: Callable[[torch.Tensor], Any] | None = None,
        build: str | Path | None = None,
    ) -> None:
        self.manifest = Path(manifest)
        self.transform = transform
        found = open_manifest(manifest)
        self.build = Path(found.build if build is None else build)
        self._face_id = found.column("face_id")
        self._video_id = found.column("video_id")
        self._cluster = found.column("cluster").to_numpy()
        self._row, self._names, self._file = found.row, found.files, found.file
        for name in self._names:
            if not (self.build / name).is_file():
                raise UsageError(f"{self.manifest}: its build is not at {self.build} (no {name}); give build=FOLDER")
        self._starts = [_group_starts(self.build / name) for name in self._names]
        self._open: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> Sample:
        image = torch.from_numpy(decode(self.jpeg(index)).transpose(2, 0, 1).copy())
        return {
            "image": self.transform(image) if self.transform else image,
            "face_id": self._face_id[index].as_py(),
            "video_id": self._video_id[index].as_py(),
            "cluster": int(self._cluster[index]),
        }

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}, "_groups": OrderedDict()}  # open files stay in their process

    def jpeg(self, index: int) -> bytes:
        """The stored picture of a face."""
        file, row = int(self._file[index]), int(self._row[index])
        group = int(np.searchsorted(self._starts[file], row, side="right")) - 1
        return bytes(self._pictures(file, group)[row - int(self._starts[file][group])].as_py())

    def _pictures(self, file: int, group: int) -> Any:
        key = (file, group)
        if key not in self._groups:
            if file not in self._open:
                self._open[file] = pq.ParquetFile(self.build / self._names[file], memory_map=True)
            column = self._open[file].read_row_group(group, columns=["image"])["image"].combine_chunks()
            self._groups[key] = column.field("bytes")
            if len(self._groups) > GROUPS_KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]


def _group_starts(path: Path) -> NDArray[np.int64]:
    layout = open_parquet(path).metadata
    return np.cumsum([0] + [layout.row_group(i).num_rows for i in range(layout.num_row_groups)])[:-1]
