"""Copies of videos: how many are found, by kind of copy, and whether any that is none is called one.

ours   the search that `curate build` makes: faces, heads and whole frames along a line of times
peer   imagehash.phash of whole frames at the same rate; a video is called a copy of an earlier one if at one offset at
       least half of its frames differ by at most 10 of 64 bits (what scripts of this kind do)
floor  reading all vectors once

Copies are made of clips by ffmpeg: re-encoded, cropped, mirrored, letterboxed, trimmed, at another rate, faster and
slower, with a logo and a banner, three cut together, set into the corner of another picture. What is no copy: the clips
themselves (list no two that are), and other seconds of one shot, as if each `PIECE_S` had been uploaded by itself.
Growth is measured on generated paths.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import imagehash
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate import recipe
from curate.dedupe.copied_spans import Search
from curate.dedupe.copies import find_copies
from curate.dedupe.sampled_video import SampledVideo
from curate.demo import clips
from curate.hardware import cores
from curate.run.build import build
from curate.run.cluster import Executor
from curate.stages import appearance
from curate.storage.build import Build
from curate.storage.parquet import read_table

FPS = 5.0
LONGEST_S = 4.0
FACES = 20
"""Of a generated video."""
MOST_ORIGINALS = 16
FEWEST_FACES = 10
"""Sampled faces of a clip without which no copies are made of it."""
EVEN = "scale=trunc(iw/2)*2:trunc(ih/2)*2"
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "re-encoded": ("scale=iw/2:-2,eq=brightness=0.05", ("-crf", "30")),
    "half size, CRF 34": ("scale=iw/2:-2", ("-crf", "34")),
    "cropped": ("crop=iw*0.85:ih*0.85", ()),
    "mirrored": ("hflip", ()),
    "letterboxed": ("scale=iw*0.75:ih*0.75,pad=iw/0.75:ih/0.75:(ow-iw)/2:(oh-ih)/2", ()),
    "trimmed": ("trim=start={start:.2f}:duration={length:.2f},setpts=PTS-STARTPTS", ()),
    "rate": ("fps=14", ()),
    "slower": ("setpts=PTS/0.8", ()),
    "faster": ("setpts=PTS/1.25", ()),
    "much slower": ("setpts=PTS/0.65", ()),
    "much faster": ("setpts=PTS/1.6", ()),
    "mirrored, cropped, faster": ("hflip,crop=iw*0.9:ih*0.9,setpts=PTS/1.1", ()),
    "logo and banner": (
        "drawbox=iw*0.8:ih*0.03:iw*0.15:ih*0.12:red:fill,drawbox=iw*0.05:ih*0.9:iw*0.6:ih*0.08:white@0.8:fill",
        ("-crf", "26"),
    ),
}
PIECE_S = 3.0
Expected = dict[str, tuple[str, set[str]]]
"""Name of a copy -> its kind, and the names of what it shows."""


def render(originals: list[Path], folder: Path) -> Expected:
    """Writes the copies."""
    expected: Expected = {}
    for path in originals:
        for kind, (filters, options) in KINDS.items():
            out = folder / f"{path.stem}__{kind}.mp4"
            chain = filters.format(start=0.27 * LONGEST_S, length=0.6 * LONGEST_S) + "," + EVEN
            _ffmpeg(["-t", f"{LONGEST_S}", "-i", str(path), "-vf", chain, *options], out)
            expected[out.name] = kind, {path.name}
        out = folder / f"{path.stem}__inset.mp4"
        back = ["-f", "lavfi", "-t", f"{LONGEST_S}", "-i", "testsrc2=s=960x720:r=25", "-t", f"{LONGEST_S}"]
        overlay = "[1:v]scale=400:-2[f];[0:v][f]overlay=W-w-20:H-h-20:shortest=1[o]"
        _ffmpeg([*back, "-i", str(path), "-filter_complex", overlay, "-map", "[o]"], out)
        expected[out.name] = "inset", {path.name}
    for first in range(0, len(originals) - 2, 3):
        parts = originals[first : first + 3]
        out = folder / f"compilation{first}.mp4"
        inputs = [word for path in parts for word in ("-t", "3", "-i", str(path))]
        fit = "fps=25,scale=480:360:force_original_aspect_ratio=decrease,pad=480:360:(ow-iw)/2:(oh-ih)/2,setsar=1"
        joined = ";".join(f"[{k}:v]{fit}[v{k}]" for k in range(3)) + ";[v0][v1][v2]concat=n=3:v=1:a=0[o]"
        _ffmpeg([*inputs, "-filter_complex", joined, "-map", "[o]"], out)
        expected[out.name] = "compilation", {path.name for path in parts}
    return expected


def _ffmpeg(words: list[str], out: Path) -> None:
    if out.is_file():
        return
    part = out.with_name("part.mp4")
    coder = ["-an", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-nostdin", *words, *coder, str(part)], check=True)
    part.rename(out)


def score(pairs: list[tuple[str, str]], expected: Expected, faceless: set[str]) -> dict[str, Any]:
    """Recall by kind, and pairs of names that are called copies and are none.

    Args:
        faceless: copies without a face, which are missed and counted by themselves, too.
    """
    shows: dict[str, set[str]] = defaultdict(set)
    for copy, original in pairs:
        shows[copy].add(original)
    recall: dict[str, list[float]] = defaultdict(list)
    joined: dict[str, list[float]] = defaultdict(list)
    false, missed = [], []
    for name, others in shows.items():
        real = expected[name][1] if name in expected else set()
        also = {copy for copy, (_, parts) in expected.items() if parts & real}  # a copy of a copy of the same
        false += [f"{name} of {other}" for other in sorted(others - real - also)]
    for name, (kind, parts) in expected.items():
        recall[kind].append(len(shows[name] & parts) / len(parts))
        ways = {part: {part} | {copy for copy, (_, own) in expected.items() if own == {part}} for part in parts}
        joined[kind].append(float(np.mean([bool(shows[name] & way) for way in ways.values()])))
        if recall[kind][-1] < 1:
            missed.append(f"{name}{' (no face)' if name in faceless else ''}")
    return {
        "recall": {kind: round(float(np.mean(own)), 3) for kind, own in recall.items()},
        "joined_to_any_copy": {kind: round(float(np.mean(own)), 3) for kind, own in joined.items()},
        "recall_of_those_with_faces": round(
            float(np.mean([own for name, (kind, parts) in expected.items() if name not in faceless
                           for own in [len(shows[name] & parts) / len(parts)]])), 3),
        "missed": missed,
        "false_pairs": len(false),
        "false": false,
    }  # fmt: skip


def pieces(videos: list[SampledVideo]) -> dict[str, Any]:
    """Whether any other seconds of one shot are called copies."""
    cut = []
    for video in videos:
        for first in np.arange(0.0, float(video.times[-1]) if len(video.times) else 0.0, PIECE_S).tolist():
            here = (video.times >= first) & (video.times < first + PIECE_S)
            if here.any():
                name = f"{video.video_id} {first:g}"
                tracks, places = (None if of is None else of[here] for of in (video.tracks, video.places))
                views = None if video.views is None else partial(lambda read, rows: read()[rows], video.views, here)
                cut.append(
                    SampledVideo(name, name, video.times[here], video.vectors[here], tracks, places=places, views=views)
                )
    found = find_copies(cut, Search(1 / FPS, appearance.COPIED), appearance.mirrored)
    called = [f"{copy.video_id} of {copy.duplicate_of}" for copy in found]
    return {"seconds_each": PIECE_S, "pieces": len(cut), "called_copies": called}


def hashes(path: Path) -> np.ndarray:
    """bool [frames at FPS, 64]: perceptual hashes of whole frames; of a damaged file those before the damage."""
    found, due = [], 0.0
    with suppress(av.error.FFmpegError), av.open(str(path)) as container:
        stream = container.streams.video[0]
        first = (stream.start_time or 0) * float(stream.time_base)
        for frame in container.decode(stream):
            if frame.time is not None and frame.time - first >= due - 1e-3:
                found.append(imagehash.phash(Image.fromarray(frame.to_ndarray(format="gray"))).hash.ravel())
                due += 1 / FPS
    return np.array(found, bool).reshape(-1, 64)


def by_hashes(listed: list[Path]) -> list[tuple[str, str]]:
    """What a script of whole-frame hashes calls copies."""
    seen: list[tuple[str, np.ndarray]] = []
    pairs = []
    for path in listed:
        own = hashes(path)
        for name, other in seen:
            near = (own[:, None] != other[None]).sum(axis=2) <= 10
            diagonals = [near.diagonal(k).sum() for k in range(-len(own) + 1, len(other))]
            if len(own) and max(diagonals, default=0) >= 0.5 * len(own):
                pairs.append((path.name, name))
        seen.append((path.name, own))
    return pairs


def paths(count: int, seed: int, folder: Path) -> list[SampledVideo]:
    """Generated videos of 20 faces in a file on the disk, as a build has them; every tenth is a noisy copy of the one
    nine before. Neighbours have a cosine of about 0.96, as those of people who talk."""
    rng = np.random.default_rng(seed)
    stored = np.memmap(folder / "vectors", np.float16, "w+", shape=(count * FACES, 128))
    heads = np.empty((count * FACES, 4), np.float32)
    for first in range(0, count, 10):
        walks = np.cumsum(rng.normal(size=(10, FACES, 128)) * 0.3, axis=1) + 2 * rng.normal(size=(10, 1, 128))
        ways = np.cumsum(rng.normal(size=(10, FACES, 2)), axis=1)[..., [0, 1, 0, 1]] + [300, 200, 300, 260]
        walks[9] = walks[0] + rng.normal(size=(FACES, 128)) * 0.1
        ways[9] = ways[0] * 0.7
        walks /= np.linalg.norm(walks, axis=2, keepdims=True)
        stored[first * FACES : (first + 10) * FACES] = walks.reshape(-1, 128)
        heads[first * FACES : (first + 10) * FACES] = ways.reshape(-1, 4)
    stored.flush()
    read = np.memmap(folder / "vectors", np.float16, "r", shape=(count * FACES, 128))
    rows = [slice(k * FACES, (k + 1) * FACES) for k in range(count)]
    times = np.arange(FACES) / FPS
    return [SampledVideo(f"v{k}", f"v{k}", times, read[row], places=heads[row]) for k, row in enumerate(rows)]


def growth(sizes: list[int]) -> dict[str, Any]:
    """Seconds and recall for lists of so many videos, each in a process of its own, and the exponents between them."""
    rows = []
    for count in sizes:
        asked = [sys.executable, __file__, "--grown", str(count)]
        rows.append(json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout))
        print(rows[-1], file=sys.stderr)
    steps = [
        round(float(np.log(b["processor_s"] / a["processor_s"]) / np.log(b["videos"] / a["videos"])), 3)
        for a, b in pairwise(rows)
    ]
    return {"rows": rows, "exponents": steps}


def grown(count: int) -> dict[str, Any]:
    """What a list of so many generated videos takes."""
    with tempfile.TemporaryDirectory() as scratch:
        videos = paths(count, 0, Path(scratch))
        before, started = resident_mb(), time.process_time()
        found = find_copies(videos, Search(1 / FPS, appearance.COPIED), appearance.mirrored)
        seconds = time.process_time() - started
        copies = {copy.video_id: copy.duplicate_of for copy in found}
        right = sum(copies.get(f"v{number}") == f"v{number - 9}" for number in range(9, count, 10))
        return {"videos": count, "faces": count * FACES, "processor_s": round(seconds, 2),
                "recall": round(right / (count // 10), 4), "false": len(found) - right,
                "before_mb": round(before), "peak_mb": round(measure.peak_mb())}  # fmt: skip


def resident_mb() -> float:
    """Memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = measure.parser(__doc__ or "")
    parser.add_argument("--most", type=int, default=MOST_ORIGINALS, help="clips that copies are made of")
    parser.add_argument("--growth", type=int, nargs="*", help="generated videos; default: 1,000 to 100,000")
    parser.add_argument("--keep", type=Path, help="folder for copies and build, which a later run goes on with")
    parser.add_argument("--grown", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grown:
        print(json.dumps(grown(arguments.grown)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        source = arguments.source or clips.render(folder / "demo", print).parent
        listed = sorted(path for path in source.iterdir() if path.suffix in (".mp4", ".mkv", ".mpg", ".mov", ".gif"))
        listed = listed[: 12 if arguments.quick else None]
        chosen = recipe.load(None, {"fps": FPS, "faces.models": str(arguments.models) if arguments.models else None,
                                    "faces.backend": "insightface" if arguments.models else "auto"})  # fmt: skip
        (folder / "clips").mkdir(exist_ok=True)

        def made(paths: list[Path]) -> Build:
            (folder / "list.txt").write_text("".join(f"{path}\n" for path in paths))
            return build(str(folder / "list.txt"), folder / "build", chosen, Executor(cores())).build

        there = [folder / "clips" / path.name for path in sorted((folder / "clips").iterdir())]  # of an earlier run
        first = made([*listed, *there]).videos.to_pylist()
        enough = {row["source"] for row in first if row["faces"] >= FEWEST_FACES}
        long = [path for path in listed if str(path) in enough and _length(path) >= FEWEST_FACES / FPS]
        count = 3 if arguments.quick else arguments.most
        originals = long[:: max(1, len(long) // count)][:count]
        expected = render(originals, folder / "clips")
        everything = [*listed, *(folder / "clips" / name for name in expected)]
        built = made(everything)
        names = {row["video_id"]: Path(row["source"]).name for row in built.videos.to_pylist()}
        rows = read_table(built.path / "duplicates.parquet").to_pylist()
        faceless = {names[row["video_id"]] for row in built.videos.to_pylist() if row["status"] == "no_faces"}
        ours = score([(names[row["video_id"]], names[row["duplicate_of"]]) for row in rows], expected, faceless)
        ours["other_seconds_of_one_shot"] = pieces(sampled(built, {path.name for path in listed}))
        started = time.perf_counter()
        peer = score(by_hashes(everything), expected, faceless)
        peer_s = time.perf_counter() - started
        started = time.perf_counter()
        built.vectors("appearance").astype(np.float32).sum()
        floor_s = time.perf_counter() - started
        measure.report(
            {
                "name": "video_copies",
                "work": f"{len(listed)} clips, {len(expected)} copies of {len(originals)} of them; "
                f"{built.info.counts.faces} faces, {len(faceless)} videos without one",
                "ours_s": built.info.seconds["copies"],
                "quality": ours,
                "peers": {"imagehash.phash of frames": {"seconds": peer_s, "quality": peer}},
                "floor_s": floor_s,
                "floor": "reading all vectors once",
                "growth": growth(
                    ([250, 500] if arguments.quick else [1_000, 10_000, 100_000])
                    if arguments.growth is None
                    else arguments.growth
                ),
            },
            arguments.json,
        )


def sampled(built: Build, names: set[str]) -> list[SampledVideo]:
    """The sampled faces of some videos of a build."""
    chosen = {row["video_id"] for row in built.videos.to_pylist() if Path(row["source"]).name in names}
    faces = built.faces(["video_id", "time_s", "track", "landmarks", "scene"])
    views = np.frombuffer(b"".join(faces["scene"].to_pylist()), np.uint8).reshape(len(faces), -1)
    points = np.array(faces["landmarks"].to_pylist(), np.float32).reshape(-1, 5, 2)
    places = np.concatenate([points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)], axis=1)
    times, tracks = faces["time_s"].to_numpy(), faces["track"].to_numpy().astype(np.int64)
    ids, vectors = np.array(faces["video_id"].to_pylist()), built.vectors("appearance")
    found = []
    for name in sorted(chosen):
        here = np.flatnonzero(ids == name)
        found.append(SampledVideo(name, name, times[here], vectors[here], tracks[here], places=places[here],
                                  views=partial(views.__getitem__, here)))  # fmt: skip
    return found


def _length(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


if __name__ == "__main__":
    main()
