"""What the steps over all faces cost: time and memory of the driver, by faces and by sources.

The steps are those of `curate build`; what the workers leave is generated (`scale_work`): videos of 128 faces in two
tracks, vectors of 128 + 512 numbers, one person in four videos. Each size runs in a process of its own.

faces     for each size: seconds, processor time and peak memory (above that of a process that has loaded the libraries)
          of each step, and of all
growth    over the sizes: exponents of seconds and of processor time, and bytes that each further face takes
names     what is done with the names of so many faces
sources   a list of so many sources that show no face, from reading the list to the report

Where other processes want the cores, seconds by the clock say little: `load` is the mean number that wanted them in the
minute before a size began, and in the minute before it ended.

`--prepare FOLDER` only generates faces there, which takes longest; `--prepared FOLDER` measures the steps over them,
once. `--faces 50000 200000` names sizes, `--picture BYTES` the size of a picture, `--sources 10000` counts of sources,
`--names 45000000` counts of names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))
import measure
import scale_work as work

from curate.dedupe.order import numbered, priority
from curate.hardware import cores, limit_threads
from curate.recipe import BuildRecipe
from curate.run import build as building
from curate.run import collect, page, videos  # noqa: F401 - loaded before memory counts
from curate.run.cluster import LOCAL
from curate.run.context import BuildContext
from curate.run.early import early_packing
from curate.run.spaces import backbone  # noqa: F401
from curate.run.steps import Steps
from curate.run.video import VideoTask
from curate.stages.sources import read_list
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.info import BackendInfo
from curate.storage.ledger import Ledger, LedgerRows
from curate.storage.parquet import named_in, read_table, take_rows, write_table

QUICK = (6_400, 25_600)


class Meter:
    """Seconds and peak memory of named parts."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}
        self.base = self._reset()

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        """Calls and takes note."""
        self._reset()
        started, used = time.perf_counter(), time.process_time()
        value = call()
        part = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - used}
        self.parts[name] = part | {"peak_mb": measure.peak_mb() - self.base}
        return value

    @staticmethod
    def _reset() -> float:
        Path("/proc/self/clear_refs").write_text("5")
        return measure.peak_mb()


class MeteredSteps(Steps):
    """Steps that are measured."""

    meter: Meter

    def run(self, name: str, depends: Any, outputs: list[Path], work: Callable[[], Any]) -> Any:
        """As of `Steps`."""
        return super().run(name, depends, outputs, lambda: self.meter.run(name, work))


def one(faces: int, picture: int, prepared: Path | None) -> dict[str, Any]:
    """All steps over so many faces, in this process; `prepared`: the build, if its faces are generated already."""
    recipe = BuildRecipe()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        out = prepared or Path(folder) / "build"
        spaces = work.spaces(recipe.dedupe.threshold)
        collection = work.Collection(out, faces, picture, spaces)
        if not prepared:
            work.generate(collection)
        task = VideoTask(
            recipe, work.KEY, {s.name: s.key for s in spaces}, "cpu", out / "work/media", collection.pieces
        )
        limit_threads(cores())
        meter = Meter()
        with building.held(out) as steps:
            steps = MeteredSteps(steps.path)
            steps.meter = meter
            started, used = time.perf_counter(), time.process_time()
            ids = [f"v{number:08d}" for number in range(collection.videos)]
            done = LedgerRows(out / "work" / "ledger.sqlite", ids)
            meter.run("pack", lambda: building._pack(out, done, task, list(spaces), LOCAL))
            listed = pa.table({"source": [one.record.source for one in done]})
            built = Build(out)
            context = BuildContext(built, done, recipe, BackendInfo("generated", []), list(spaces), steps, "", listed)
            building.concluded(context)
            seconds = time.perf_counter() - started
        info = Build(out).info
        return {
            "faces": faces,
            "seconds": seconds,
            "faces_per_s": faces / seconds,
            "cpu_s": time.process_time() - used,
            "cpu_us_per_face": 1e6 * (time.process_time() - used) / faces,
            "peak_mb": max(part["peak_mb"] for part in meter.parts.values()),
            "bytes_per_face": max(part["peak_mb"] for part in meter.parts.values()) * 2**20 / faces,
            "kept": info.counts.clusters,
            "content_hash": info.content_hash,
            "parts": meter.parts,
        }


def by_sources(count: int) -> dict[str, Any]:
    """A list of so many sources, of which four have faces, from reading it to the report, in this process.

    The workers are real ones that answer at once: what a source costs the driver, and the way to a worker and back.
    """
    recipe = BuildRecipe()
    spaces = work.spaces(recipe.dedupe.threshold)
    collect.work = work.answer
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        out = Path(folder) / "build"
        path = Path(folder) / "list.csv"
        names = [f"{'faces' if number < 4 else 'none'}/{number:08d}.mp4" for number in range(count)]
        path.write_text("source,title\n" + "\n".join(f"{name},A video" for name in names) + "\n")
        media, pieces = collect.folders(out)
        task = VideoTask(recipe, work.KEY, {s.name: s.key for s in spaces}, "cpu", media, pieces)
        limit_threads(cores())
        meter = Meter()
        started = time.perf_counter()
        listed = meter.run("list", lambda: read_list(str(path)))
        ids = [source.video_id for source in listed.sources]
        work.write_pieces(work.Collection(out, 4 * work.A_VIDEO, 2000, spaces, tuple(ids[:4])))
        with building.held(out) as steps:
            steps = MeteredSteps(steps.path)
            steps.meter = meter
            with Ledger(out / "work" / "ledger.sqlite") as ledger:
                todo = meter.run("pending", lambda: collect.pending(listed.sources, ledger, task, set(), None))
                with early_packing(task, spaces, ids, ids, ledger) as packing:
                    meter.run("collect", lambda: collect.collect(todo, ledger, task, LOCAL, count, packing))
            done = LedgerRows(out / "work" / "ledger.sqlite", ids)
            meter.run("pack", lambda: building._pack(out, done, task, list(spaces), LOCAL))
            table, backend = listed.table(), BackendInfo("generated", [])
            building.concluded(BuildContext(Build(out), done, recipe, backend, list(spaces), steps, "", table))
        seconds = time.perf_counter() - started
        peak = max(part["peak_mb"] for part in meter.parts.values())
        cpu_s = sum(part["cpu_s"] for part in meter.parts.values())
        each = {"ms_each": 1000 * seconds / count, "cpu_ms_each": 1000 * cpu_s / count}
        return {"sources": count, **each, "peak_mb": peak, "parts": meter.parts}


def by_names(count: int) -> dict[str, Any]:
    """What is done with the names of so many faces, in this process; all together they are more than 2 GB of text."""
    parts = [work.named(start, min(1 << 20, count - start)) for start in range(0, count, 1 << 20)]
    faces = pa.concat_tables(parts)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = Path(folder) / "clusters.parquet"
        meter = Meter()
        meter.run("order of the faces", lambda: priority(faces))
        meter.run("numbers of their videos", lambda: numbered(faces["video_id"]))
        some = np.arange(0, count, 50)
        taken = meter.run("names of every 50th", lambda: take_rows(faces["face_id"], some))
        found = meter.run("and where they are", lambda: named_in(faces["face_id"], pa.chunked_array([taken])))
        assert (np.flatnonzero(found) == some).all()
        every = [np.arange(count), np.ones(count, np.bool_), np.ones(count, np.float32)]
        clusters = pa.table([faces["face_id"], *map(pa.array, every)], schema=schemas.CLUSTERS)
        meter.run("a table of clusters", lambda: write_table(path, clusters))
        read = meter.run("which is read again", lambda: read_table(path))
        assert read.num_rows == count and read["face_id"][count - 1] == faces["face_id"][count - 1]
    peak = max(part["peak_mb"] for part in meter.parts.values())
    return {"names": count, "text_bytes": faces["face_id"].nbytes, "peak_mb": peak, "parts": meter.parts}


def child(*arguments: str) -> dict[str, Any]:
    """One measurement in a process of its own."""
    before = os.getloadavg()[0]
    found = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return result | {"load": [before, os.getloadavg()[0]]}


def growth(points: list[dict[str, Any]]) -> dict[str, float]:
    """How time and memory grow with faces; nothing where there is one size."""
    if len(points) < 2:
        return {}
    faces, seconds, cpu, memory = np.array([[p[k] for k in ("faces", "seconds", "cpu_s", "peak_mb")] for p in points]).T
    exponents = [float(np.polyfit(np.log(faces), np.log(values), 1)[0]) for values in (seconds, cpu)]
    more = float((memory[-1] - memory[-2]) * 2**20 / (faces[-1] - faces[-2]))
    return {"seconds_exponent": exponents[0], "cpu_exponent": exponents[1], "bytes_per_further_face": more}


def main() -> None:
    """Measures what is asked for."""
    parser = measure.parser(__doc__ or "")
    parser.add_argument("--faces", type=int, nargs="*", default=None)
    parser.add_argument("--picture", type=int, default=2000)
    parser.add_argument("--sources", type=int, nargs="*", default=[])
    parser.add_argument("--names", type=int, nargs="*", default=[])
    parser.add_argument("--one-name", type=int)
    parser.add_argument("--prepare", type=Path)
    parser.add_argument("--prepared", type=Path)
    parser.add_argument("--one", type=int)
    parser.add_argument("--one-list", type=int)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.picture, options.prepared)))
        return
    if options.one_name:
        print(json.dumps(by_names(options.one_name)))
        return
    if options.prepare:
        work.generate(work.Collection(options.prepare, options.faces[0], options.picture, work.spaces(0.5)))
        return
    if options.one_list:
        print(json.dumps(by_sources(options.one_list)))
        return
    sizes = options.faces if options.faces is not None else list(QUICK)
    result: dict[str, Any] = {"machine": measure.machine(), "name": "scale", "picture_bytes": options.picture}
    more = ["--picture", str(options.picture)] + (["--prepared", str(options.prepared)] if options.prepared else [])
    result["faces"] = [child("--one", str(size), *more) for size in sizes]
    result["growth"] = growth(result["faces"])
    for point in result["faces"]:
        print(
            f"{point['faces']:>10,} faces {point['faces_per_s']:>9,.0f}/s {point['bytes_per_face']:>7,.0f} bytes and "
            f"{point['cpu_us_per_face']:.1f} microseconds of processor a face"
        )
        for name, part in point["parts"].items():
            each = part["peak_mb"] * 2**20 / point["faces"]
            print(f"    {name:24}{part['seconds']:9.2f} s{part['cpu_s']:9.2f} s cpu{each:9.0f} bytes a face")
    result["sources"] = [child("--one-list", str(count)) for count in options.sources]
    for point in result["sources"]:
        print(f"{point['sources']:>10,} sources {point['ms_each']:.2f} ms each, {point['peak_mb']:,.0f} MB")
        for name, part in point["parts"].items():
            each = 1000 / point["sources"]
            print(
                f"    {name:24}{part['seconds'] * each:9.3f} ms{part['cpu_s'] * each:9.3f} ms cpu each"
                f"{part['peak_mb']:9.0f} MB"
            )
    result["names"] = [child("--one-name", str(count)) for count in options.names]
    for point in result["names"]:
        print(f"{point['names']:>10,} names, {point['text_bytes']:,} bytes of text, {point['peak_mb']:,.0f} MB more")
        for name, part in point["parts"].items():
            print(f"    {name:24}{part['seconds']:9.2f} s{part['cpu_s']:9.2f} s cpu{part['peak_mb']:9.0f} MB")
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
