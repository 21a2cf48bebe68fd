"""IJB-B and IJB-C: templates of pictures and frames, 1:1 and 1:N.

Two layouts are read: the owners' (`images/` with `protocol*/ijbX_*.csv`, boxes in the CSV files) and insightface's
(`loose_crop/` with `meta/ijbX_*.txt`, five landmarks in a file).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from curate.errors import UsageError, one_line
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, counts, integer, number, table
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, Dataset, Sample, TaskName, TemplateTrials

ASK = "ask for it at nigos.nist.gov/datasets/ijbc/request"
ALIGNED = CropRule("five_points", size=112, origin="insightface's ijbX_name_5pts_score.txt")
IDS = ("TEMPLATE_ID", "SUBJECT_ID")
BOXED = CropRule("box", margin=0.3, size=112, origin="FACE_X, FACE_Y, FACE_WIDTH, FACE_HEIGHT of the protocol")


def read_ijb(root: Path, name: str, task: TaskName, galleries: tuple[str, str]) -> Dataset:
    """Reads IJB-B (`ijbb`) or IJB-C (`ijbc`) in either layout.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, name, ASK)
    if folder.find("meta"):
        return _insightface(folder, name, task, galleries)
    return _owners(folder, name, task, galleries)


def _insightface(folder: Folder, name: str, task: TaskName, galleries: tuple[str, str]) -> Dataset:
    pictures = folder.need("loose_crop")
    listed = folder.need(f"meta/{name}_face_tid_mid.txt")
    names, templates, media = _columns(listed, 3)
    points, scores = _landmarks(folder.need(f"meta/{name}_name_5pts_score.txt"))
    samples = []
    for file in names:
        path = pictures / Path(str(file)).name
        samples.append(Sample(f"loose_crop/{path.name}", File(path), TEST, points=points.get(str(file))))
    samples, sample = _distinct(samples)
    pairs = folder.need(f"meta/{name}_template_pair_label.txt")
    first, second, same = (_ints(column, pairs) for column in _columns(pairs, 3))
    weights = np.array([scores.get(str(file), np.nan) for file in names]) if scores else None
    notes = []
    if weights is None:
        notes.append("the file of landmarks has no detector scores: templates are not weighed by them")
    elif np.isnan(weights).any():
        raise UsageError(
            f"{listed}: {int(np.isnan(weights).sum())} pictures have no line in meta/{name}_name_5pts_score.txt"
        )
    found = TemplateTrials(
        sample, _ints(templates, listed), _ints(media, listed), first, second, same.astype(bool), weights
    )
    shown = set(found.template.tolist())
    for column in (first, second):
        lost = np.flatnonzero(~np.isin(column, found.template))
        if lost.size:
            raise _unknown(pairs, int(lost[0]) + 1, int(column[lost[0]]), listed)
    lists = {g: folder.find(f"meta/{name}_1N_gallery_{g}.csv") for g in galleries}
    probe = folder.find(f"meta/{name}_1N_probe_mixed.csv")
    if probe and all(lists.values()):
        for path in [*filter(None, lists.values()), probe]:
            for line, row in table(path, IDS):
                template, _ = _ids(row, path, line)
                if template not in shown:
                    raise _unknown(path, line, template, listed)
        people = {g: _people(path) for g, path in lists.items() if path}
        found = replace(found, galleries=_by_name(people), probes=_people(probe))
    else:
        wanted = [f"meta/{name}_1N_gallery_{g}.csv" for g in galleries] + [f"meta/{name}_1N_probe_mixed.csv"]
        absent = ", ".join(file for file in wanted if not folder.find(file))
        notes.append(f"without {absent}: no 1:N identification")
    notes += _sizes(name, found)
    return Dataset(name, task, samples, ALIGNED, trials=found, notes=tuple(notes))


SIZES = {"ijbb": (12115, 8010270), "ijbc": (23124, 15658489)}
"""Templates, and pairs of them, that the owners' protocols have."""


def _sizes(name: str, trials: TemplateTrials) -> tuple[str, ...]:
    templates, pairs = SIZES[name]
    found = {"templates": len(np.unique(trials.template)), "pairs of templates": len(trials.same)}
    return counts(found, {"templates": templates, "pairs of templates": pairs})


def _unknown(path: Path, line: int, template: int, listed: Path) -> UsageError:
    return UsageError(f"{path}:{line}: template {template} has no picture in {listed.name}; do both belong together?")


def _owners(folder: Folder, name: str, task: TaskName, galleries: tuple[str, str]) -> Dataset:
    start = folder.need("protocol", "protocols", f"protocols/{name}", "meta")
    start = next((p for p in (start / name, start / "test1", start) if list(p.glob(f"{name}_1N_*.csv"))), start)

    def need(file: str) -> Path:
        return folder.need(str((start / file).relative_to(folder.root)))

    tables = {g: need(f"{name}_1N_gallery_{g}.csv") for g in galleries} | {"probe": need(f"{name}_1N_probe_mixed.csv")}
    rows = _Rows([], [], [], {}, {})
    for path in tables.values():
        rows.extend(folder, path)
    samples, sample = _distinct(rows.samples)
    matches = need(f"{name}_11_{galleries[0]}_{galleries[1]}_matches.csv")
    first, second = (_ints(column, matches) for column in _columns(matches, 2, ","))
    subject = np.vectorize(rows.subjects.get, otypes=[np.int64])
    unknown = [t for t in np.unique(np.concatenate([first, second])) if int(t) not in rows.subjects]
    if unknown:
        raise UsageError(f"{matches}: template {unknown[0]} is in no gallery and no probe list")
    same = subject(first) == subject(second)
    people = {g: _people(tables[g]) for g in galleries}
    found = TemplateTrials(
        sample, np.array(rows.templates), np.array(rows.media), first, second, same,
        galleries=_by_name(people), probes=_people(tables["probe"]),
    )  # fmt: skip
    notes = ("the owners' protocol has no detector scores: templates are not weighed by them", *_sizes(name, found))
    return Dataset(name, task, samples, BOXED, trials=found, notes=notes)


@dataclass(frozen=True, eq=False)
class _Rows:
    """What the owners' CSV files say, line by line."""

    samples: list[Sample]
    templates: list[int]
    media: list[int]
    medium_of: dict[str, int]
    subjects: dict[int, int]

    def extend(self, folder: Folder, path: Path) -> None:
        columns = (*IDS, "FILENAME", "FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")
        for line, row in table(path, columns, {"FILE": "FILENAME"}):  # the first release of IJB-B says FILE
            x, y, wide, high = (number(row[c], path, line, c) for c in columns[3:])
            picture = folder.picture(_below_images(folder, row["FILENAME"]), path, line)
            box = (x, y, x + wide, y + high)
            self.samples.append(
                Sample(f"{folder.id_of(picture)}:{x:g},{y:g},{wide:g},{high:g}", File(picture), TEST, box=box)
            )
            template, subject = _ids(row, path, line)
            self.templates.append(template)
            self.subjects[template] = subject
            sighting = row.get("SIGHTING_ID") or row["FILENAME"]
            self.media.append(self.medium_of.setdefault(sighting, len(self.medium_of)))


def _ids(row: dict[str, str], path: Path, line: int) -> tuple[int, int]:
    """A line's template and subject."""
    template, subject = (integer(row[column], path, line, column) for column in IDS)
    return template, subject


def _below_images(folder: Folder, name: str) -> str:
    """The name as it lies below the folder: the owners write `img/1.png` for `images/img/1.png`."""
    return f"images/{name}" if (folder.root / "images" / name).is_file() else name


def _distinct(samples: list[Sample]) -> tuple[list[Sample], np.ndarray]:
    """Every picture once, and where each of the given ones is among them."""
    place: dict[str, int] = {}
    kept: list[Sample] = []
    index = []
    for sample in samples:
        if sample.id not in place:
            place[sample.id] = len(kept)
            kept.append(sample)
        index.append(place[sample.id])
    return kept, np.array(index, dtype=np.int64)


def _columns(path: Path, count: int, delimiter: str = " ", optional: int = 0) -> list[np.ndarray]:
    """The first columns of a big text table without a header: `count`, and as many as there are of `optional` more.

    Raises:
        UsageError: it is no such table.
    """
    try:
        found = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(autogenerate_column_names=True),
            pyarrow.csv.ParseOptions(delimiter=delimiter),
        )
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path}: no table ({one_line(error, 120)})") from None
    if found.num_columns < count:
        raise UsageError(f"{path}:1: {found.num_columns} columns instead of {count}")
    return [found.column(i).to_numpy() for i in range(min(count + optional, found.num_columns))]


def _ints(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind not in "iu":
        values = np.array([integer(str(v), path, line, "template or medium") for line, v in enumerate(values, 1)])
    return np.asarray(values, dtype=np.int64)


def _floats(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind not in "iuf":
        values = np.array([number(str(v), path, line, "landmark") for line, v in enumerate(values, 1)])
    return np.asarray(values, dtype=np.float64)


def _landmarks(path: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """By picture, five landmarks and, where the file has a twelfth column, the detector's score."""
    name, *numbers = _columns(path, 11, optional=1)
    points = np.stack([_floats(c, path) for c in numbers[:10]], axis=1).reshape(-1, 5, 2)
    scores = _floats(numbers[10], path) if len(numbers) > 10 else np.zeros(0)
    by_name = {str(n): p for n, p in zip(name, points, strict=True)}
    return by_name, {str(n): float(s) for n, s in zip(name, scores, strict=len(scores) > 0)}


def _people(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Template ids, rising, and their subjects."""
    found = dict(_ids(row, path, line) for line, row in table(path, IDS))
    ids = np.array(sorted(found), dtype=np.int64)
    return ids, np.array([found[int(i)] for i in ids], dtype=np.int64)


def _by_name(people: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Galleries with one template a subject: the protocol has one, a repeated one keeps its first."""
    kept = {}
    for name, (ids, subjects) in people.items():
        _, first = np.unique(subjects, return_index=True)
        kept[name] = (ids[np.sort(first)], subjects[np.sort(first)])
    return kept
