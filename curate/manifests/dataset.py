"""A manifest as a torch data set: `curate.FaceDataset("F.parquet")`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from curate.errors import UsageError
from curate.storage.manifest import open_manifest
from curate.storage.pictures import StoredPictures, decode

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
        self._pictures = StoredPictures([self.build / name for name in self._names])

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

    def jpeg(self, index: int) -> bytes:
        """The stored picture of a face."""
        return self._pictures.jpeg(int(self._file[index]), int(self._row[index]))
