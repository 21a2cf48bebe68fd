"""FiftyOne and lightly-train read what is exported, where they are installed.

Neither is needed by anything here, and each brings packages that do not go with those of the suite, so a test asks for
them in this Python, and in those that `CURATE_READERS` names (paths, with `:` between them). lightly-train needs
torchvision, which nothing of curate imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from curate.manifests.export import export
from curate.run.build import BuildOutcome

FIFTYONE = """
import json, sys
from pathlib import Path
import fiftyone
from fiftyone.utils.data import importers

folder = sys.argv[1]
with importers.ImageDirectoryImporter(folder) as read:
    plain = [path for path, _ in read]
with importers.ImageClassificationDirectoryTreeImporter(folder) as read:
    labelled = {path: label.label for path, _, label in read}
code = Path(sys.argv[2]).read_text().split("```python\\nimport json")[1].split("```")[0]
code = code.split("dataset =")[0].replace('"FOLDER"', "folder")  # from there on it needs the database
exec("import json" + code)
print(json.dumps({"plain": plain, "labelled": labelled, "samples": [[s.filepath, s.face_id, s.yaw] for s in samples]}))
"""
LIGHTLY_TRAIN = """
import sys, types
# torchvision registers operators for the torch that it was built for; a mere reader needs none of them
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
import lightly_train

if __name__ == "__main__":
    lightly_train.pretrain(out=sys.argv[2], data=sys.argv[1], model="dinov2/_vittest14", method="simclr", epochs=1,
                           batch_size=4, num_workers=0, accelerator="cpu", devices=1)
"""
APART = {
    "FIFTYONE_DATABASE_URI": "mongodb://127.0.0.1:9",  # nothing is asked of it
    "FIFTYONE_DATABASE_VALIDATION": "false",
    "FIFTYONE_DO_NOT_TRACK": "true",
    "LIGHTLY_TRAIN_EVENTS_DISABLED": "1",
}


@pytest.fixture
def folder(whole: BuildOutcome, tmp_path: Path) -> Path:
    """Faces as `imagefolder`."""
    export(whole.build.path / "manifests" / "natural.parquet", "imagefolder", tmp_path / "faces")
    return tmp_path / "faces"


def read_by(package: str, script: str, *words: str) -> str:
    """What a script says that runs where a package is installed."""
    for python in (sys.executable, *filter(None, os.environ.get("CURATE_READERS", "").split(":"))):
        asked = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
        if subprocess.run([python, "-c", asked], check=False).returncode == 0:
            command = [python, "-c", script, *words]
            return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | APART).stdout
    pytest.skip(f"{package} is not installed here, nor where CURATE_READERS says")


def test_fiftyone_reads_a_folder_of_pictures(folder: Path) -> None:
    docs = Path(__file__).parents[2] / "docs" / "share.md"
    found = json.loads(read_by("fiftyone", FIFTYONE, str(folder), str(docs)).splitlines()[-1])
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    paths = {str(folder / line["file_name"]): line for line in lines}
    assert set(found["plain"]) == set(paths)
    assert found["labelled"] == {path: line["video_id"] for path, line in paths.items()}
    assert found["samples"] == [[path, line["face_id"], line["yaw"]] for path, line in paths.items()]


def test_lightly_train_trains_on_a_folder_of_pictures(folder: Path, tmp_path: Path) -> None:
    read_by("lightly_train", LIGHTLY_TRAIN, str(folder), str(tmp_path / "out"))
    assert (tmp_path / "out" / "exported_models" / "exported_last.pt").is_file()


def test_the_folder_is_laid_out_as_readers_of_folders_ask(folder: Path) -> None:
    """One folder a class with pictures alone, as FiftyOne's ImageClassificationDirectoryTree, torchvision's ImageFolder
    and lightly-train have it; anything else lies at the top."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    pictures = [path for path in files if path.suffix == ".jpg"]
    assert {path.name for path in files} - {path.name for path in pictures} == {"metadata.jsonl"}
    assert all(len(path.relative_to(folder).parts) == 2 for path in pictures)
    assert all(path.read_bytes()[:3] == b"\xff\xd8\xff" for path in pictures)
