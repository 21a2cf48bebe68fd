"""AFEW-VA: valence and arousal (-10 to 10, here -1 to 1) of every frame of 600 clips; five folds, actors kept whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from curate.errors import UsageError, one_line
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, counts, in_range
from curate.evaluate.datasets.points import boxes_of
from curate.evaluate.pictures import File
from curate.evaluate.samples import TRAIN, Dataset, Sample, TaskName, ValueTarget
from curate.storage.files import files_below

ASK = "ask for AFEW-VA at ibug.doc.ic.ac.uk/resources/afew-va-database"
CROP = CropRule("box", margin=0.25, size=224, origin="tight box around the owners' 68 points")


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `NNN/NNN.json` with `frames: {name: {landmarks, valence, arousal}}` and the frames beside.

    The owners give no split; folds are made by the protocol, actors (`actor`) kept whole.

    Raises:
        UsageError: there are no clips, or an annotation is wrong.
    """
    folder = Folder(root, "afew_va", ASK)
    samples: list[Sample] = []
    values: list[list[float]] = []
    for path in sorted(p for p in files_below(root) if p.suffix == ".json" and p.stem == p.parent.name):
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            frames = sorted(content["frames"].items())
            actor = str(content.get("actor") or path.stem)
            rows = [(name, [float(f["valence"]), float(f["arousal"])], f["landmarks"]) for name, f in frames]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}: no annotation of AFEW-VA ({one_line(error, 100)})") from None
        for name, affect, points in rows:
            for value in affect:
                in_range(value, -10, 10, f"{path}: frame {one_line(name, 40)}", "leave the frame out")
            picture = path.parent / f"{name}.png"
            if "/" in name or not picture.is_file():
                raise UsageError(f"{path}: there is no picture {one_line(name, 40)}.png beside it; {ASK}")
            box = boxes_of(np.array(points, dtype=np.float64).reshape(1, -1, 2))[0]
            samples.append(Sample(folder.id_of(picture), File(picture), TRAIN, actor, box=box, clip=path.stem))
            values.append([v / 10 for v in affect])
    if not samples:
        raise UsageError(f"{root}: there is no clip like 001/001.json; {ASK}")
    notes = counts({"clips": len({sample.clip for sample in samples})}, {"clips": 600})
    target = ValueTarget(("valence", "arousal"), np.array(values), -1.0, 1.0)
    return Dataset("afew_va", task, samples, CROP, (target,), notes=notes)
