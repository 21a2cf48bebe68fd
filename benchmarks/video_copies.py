"""Copies of videos: how many are found, by kind of copy, and whether any that is none is called one.

ours   the search that `curate build` makes: faces, vectors, motion along a line of times
peer   imagehash.phash of whole frames at the same rate; a video is called a copy of an earlier one if at one offset at
       least half of its frames differ by at most 10 of 64 bits (what scripts of this kind do)
floor  reading all vectors once

Copies are made of clips by ffmpeg: re-encoded, cropped, mirrored, letterboxed, trimmed, at another rate, faster and
slower, three cut together, set into the corner of another picture. Growth is measured on generated paths.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
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
from curate.dedupe.copies import SampledVideo, find_copies
from curate.demo import clips
from curate.hardware import cores
from curate.run.build import build
from curate.run.cluster import Executor
from curate.stages import appearance
from curate.storage.parquet import read_table

FPS = 5.0
LONGEST_S = 4.0
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
}
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
    coder = ["-an", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-nostdin", *words, *coder, str(out)], check=True)


def score(pairs: list[tuple[str, str]], expected: Expected) -> dict[str, Any]:
    """Recall by kind, and pairs of names that are called copies and are none."""
    shows: dict[str, set[str]] = defaultdict(set)
    for copy, original in pairs:
        shows[copy].add(original)
    recall: dict[str, list[float]] = defaultdict(list)
    false = 0
    for name, others in shows.items():
        real = expected[name][1] if name in expected else set()
        also = {copy for copy, (_, parts) in expected.items() if parts & real}  # a copy of a copy of the same
        false += len(others - real - also)
    for name, (kind, parts) in expected.items():
        recall[kind].append(len(shows[name] & parts) / len(parts))
    return {"recall": {kind: round(float(np.mean(own)), 3) for kind, own in recall.items()}, "false_pairs": false}


def hashes(path: Path) -> np.ndarray:
    """bool [frames at FPS, 64]: perceptual hashes of whole frames."""
    found, due = [], 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if (
                frame.time is not None
                and frame.time
                - (container.streams.video[0].start_time or 0) * float(container.streams.video[0].time_base)
                >= due - 1e-3
            ):
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


def paths(count: int, seed: int) -> Iterator[SampledVideo]:
    """Generated videos of 20 faces; every tenth is a noisy copy of the one nine before."""
    rng = np.random.default_rng(seed)
    kept: list[np.ndarray] = []
    for number in range(count):
        if number % 10 == 9:
            walk = kept[-9] + rng.normal(size=kept[-9].shape) * 0.004
        else:
            walk = np.cumsum(rng.normal(size=(20, 128)) * 0.05, axis=0) + rng.normal(size=128)
        kept = [*kept[-9:], walk / np.linalg.norm(walk, axis=1, keepdims=True)]
        yield SampledVideo(f"v{number}", f"v{number}", np.arange(20) / FPS, kept[-1].astype(np.float16))


def growth(sizes: list[int]) -> dict[str, Any]:
    """Seconds and recall for lists of so many videos, and the exponent between the first and the last."""
    rows = []
    for count in sizes:
        videos = list(paths(count, 0))
        started = time.perf_counter()
        found = find_copies(videos, Search(1 / FPS, appearance.COPIED), appearance.mirrored)
        seconds = time.perf_counter() - started
        copies = {copy.video_id: copy.duplicate_of for copy in found}
        right = sum(copies.get(f"v{number}") == f"v{number - 9}" for number in range(9, count, 10))
        rows.append({"videos": count, "seconds": round(seconds, 2), "recall": round(right / (count // 10), 4),
                     "false": len(found) - right, "peak_mb": round(measure.peak_mb())})  # fmt: skip
        print(rows[-1], file=sys.stderr)
    steps = np.log(rows[-1]["seconds"] / rows[0]["seconds"]) / np.log(sizes[-1] / sizes[0])
    return {"rows": rows, "exponent": round(float(steps), 3)}


def main() -> None:
    arguments = measure.arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = arguments.source or clips.render(folder / "demo", print).parent
        listed = sorted(path for path in source.iterdir() if path.suffix in (".mp4", ".mkv", ".mpg", ".mov", ".gif"))
        listed = listed[: 12 if arguments.quick else None]
        chosen = recipe.load(None, {"fps": FPS, "faces.models": str(arguments.models) if arguments.models else None,
                                    "faces.backend": "insightface" if arguments.models else "auto"})  # fmt: skip
        (folder / "clips").mkdir()
        originals = [path for path in listed if _length(path) >= FEWEST_FACES / FPS][: 3 if arguments.quick else 9]
        expected = render(originals, folder / "clips")
        everything = [*listed, *(folder / "clips" / name for name in expected)]
        (folder / "list.txt").write_text("".join(f"{path}\n" for path in everything))
        built = build(str(folder / "list.txt"), folder / "build", chosen, Executor(cores())).build
        names = {row["video_id"]: Path(row["source"]).name for row in built.videos.to_pylist()}
        rows = read_table(built.path / "duplicates.parquet").to_pylist()
        ours = score([(names[row["video_id"]], names[row["duplicate_of"]]) for row in rows], expected)
        started = time.perf_counter()
        peer = score(by_hashes(everything), expected)
        peer_s = time.perf_counter() - started
        started = time.perf_counter()
        built.vectors("appearance").astype(np.float32).sum()
        floor_s = time.perf_counter() - started
        faceless = sum(row["status"] == "no_faces" for row in built.videos.to_pylist())
        measure.report(
            {
                "name": "video_copies",
                "work": f"{len(listed)} clips, {len(expected)} copies of {len(originals)} of them; "
                f"{built.info.counts.faces} faces, {faceless} videos without one",
                "ours_s": built.info.seconds["copies"],
                "quality": ours,
                "peers": {"imagehash.phash of frames": {"seconds": peer_s, "quality": peer}},
                "floor_s": floor_s,
                "floor": "reading all vectors once",
                "growth": growth([250, 500, 1000] if arguments.quick else [1000, 2000, 4000]),
            },
            arguments.json,
        )


def _length(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


if __name__ == "__main__":
    main()
