"""`BUILD/README.md`: lets `datasets.load_dataset("BUILD")` show the faces, and says what lies in the folder."""

from __future__ import annotations

from pathlib import Path

import yaml

from curate.manifests.huggingface import plain
from curate.storage.build import open_build
from curate.storage.files import write_bytes

NAME = "README.md"


def write(path: Path) -> Path:
    """Writes the card of a finished build, and returns its path."""
    build = open_build(path)
    counts, name = build.info.counts, path.resolve().name
    files = {"faces": "faces/*.parquet", "videos": "videos.parquet"}
    files |= {f"clusters-{space}": f"clusters/{space}.parquet" for space in build.spaces}
    configs = [
        {"config_name": config, "data_files": [{"split": "train", "path": where}]}
        | ({"default": True} if config == "faces" else {})
        for config, where in files.items()
        if "*" in where or (path / where).is_file()
    ]
    head = yaml.safe_dump({"pretty_name": name, "configs": configs}, sort_keys=False, allow_unicode=True)
    text = f"""---
{head}---

# {plain(name)}

A build of curate {build.info.curate}: {counts.faces:,} faces of {counts.videos:,} videos, of which
{counts.clusters["appearance"]:,} differ. Open `report.html` for what was found, dropped and kept. Faces are personal
data: whether they may be kept and used is to be settled with the people and the owners; licences, as the sources state
them, are in `videos.parquet`.

```python
from datasets import load_dataset

faces = load_dataset("FOLDER", split="train")               # with pictures, in the order of the build
videos = load_dataset("FOLDER", "videos", split="train")

chosen = set(load_dataset("parquet", data_files="m.parquet", split="train")["face_id"])   # a manifest has no pictures
mine = faces.filter(chosen.__contains__, input_columns="face_id")                         # and takes them from here
```
"""
    target = path / NAME
    write_bytes(target, text.encode())
    return target
