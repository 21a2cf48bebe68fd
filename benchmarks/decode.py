"""Reading sampled frames of a long 1080p video: speed, exactness, memory, and what comes through of damage.

ours   `curate.stages.decode`, demuxing and looking for damage included
peers  decord: `VideoReader` and `get_batch` of the same frames; PyAV: a loop that converts the same frames
floor  PyAV decodes every frame on one thread and converts none

Ten seconds of moving texture are encoded, and repeated without encoding again. Speed is measured on two minutes
(`--quick`: 20 seconds), memory in a fresh process on two hours (`--quick`: two minutes), which no other work disturbs:
`--memory FILE` measures it by itself. One more file has holes:
blocks of 4 KiB zeroed, as an interrupted download leaves them.

`--against DIR` reads the same video with the curate of another checkout, too, in turns, each time in a process of its
own whose start is not counted, by the processor's clock: what it costs that frames are accounted for and shown as a
player shows them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import decord
import numpy as np
from numpy.typing import NDArray
from skimage import data

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate.hardware import limit_threads
from curate.sampling import sample
from curate.stages import decode
from curate.stages.decode_index import read_index

FPS = 5.0
WIDTH, HEIGHT, RATE = 1920, 1080, 25
SECONDS = 10
BATCH = 32
HOLE = 4096
VISIBLE = 20.0
"""Mean squared error, grey levels, above which a frame shows its damage: 35 dB."""

Digests = dict[int, bytes]


def encode(path: Path) -> None:
    """Ten seconds of a camera that wanders over a photograph, H.264 as web sites serve it."""
    texture = cv2.resize(data.astronaut(), (WIDTH + 120, HEIGHT + 120), interpolation=cv2.INTER_CUBIC)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "superfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 2 * RATE
        for index in range(SECONDS * RATE):
            x, y = int(60 + 59 * np.sin(index / 20)), int(60 + 59 * np.cos(index / 31))
            view = np.ascontiguousarray(texture[y : y + HEIGHT, x : x + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())


def repeat(clip: Path, path: Path, times: int) -> Path:
    """Joins `times` copies of a clip, packet by packet."""
    with av.open(path, "w") as target:
        with av.open(clip) as first:
            out = target.add_stream_from_template(first.streams.video[0])
            length = int(SECONDS / first.streams.video[0].time_base)
        for turn in range(times):
            with av.open(clip) as source:
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                        packet.stream = out
                        target.mux(packet)
    return path


def pierce(path: Path, hurt: Path, every: int) -> Path:
    """A copy with a hole after each `every` bytes of its packets; the index of the container stays whole."""
    content = bytearray(path.read_bytes())
    with av.open(path) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    for start in range(every, max(ends) - HOLE, every):
        content[start : start + HOLE] = bytes(HOLE)
    hurt.write_bytes(content)
    return hurt


def ours(path: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Index and picture of each sampled frame."""
    with decode.open_video(path) as video:
        for frame in video.frames(FPS):
            yield frame.index, frame.pixels


def wanted(path: Path) -> list[int]:
    """The frames that the sampling rule takes."""
    index = read_index(path)
    return sample(index.times, FPS, index.tick_s / 2).frames.tolist()


def by_decord(path: Path, indices: list[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The same frames by decord's own batches."""
    reader = decord.VideoReader(str(path), num_threads=1)
    for start in range(0, len(indices), BATCH):
        some = indices[start : start + BATCH]
        yield from zip(some, reader.get_batch(some).asnumpy(), strict=True)


def by_pyav(path: Path, indices: list[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The same frames by a plain loop over all frames; errors of damaged packets are passed over."""
    taken = set(indices)
    place = 0
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for packet in container.demux(video=0):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if place in taken:
                    yield place, frame.to_ndarray(format="rgb24")
                place += 1


def floor(path: Path) -> int:
    """Decodes every frame and looks at none."""
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def digests(frames: Iterable[tuple[int, NDArray[np.uint8]]]) -> Digests:
    """What each frame was, at the cost of a thousandth of its pixels."""
    return {index: hashlib.sha1(pixels[::32, ::32].tobytes()).digest() for index, pixels in frames}


def exactness(found: Digests, reference: Digests) -> str:
    """How many sampled frames are the right ones."""
    right = sum(found.get(index) == digest for index, digest in reference.items())
    return f"{right} of {len(reference)} frames right"


def seen_damage(frames: Iterable[tuple[int, NDArray[np.uint8]]], sound: dict[int, NDArray[np.uint8]]) -> dict[str, int]:
    """How many frames came, and how many of them show damage."""
    decoded, shown = 0, 0
    for index, pixels in frames:
        decoded += 1
        error = np.square(pixels[::4, ::4].astype(np.float32) - sound[index]).mean() if index in sound else np.inf
        shown += bool(error > VISIBLE)
    return {"frames": decoded, "visibly_damaged": shown}


def _peak(path: Path, answer: multiprocessing.queues.Queue[tuple[int, float]]) -> None:
    limit_threads(1)
    count = sum(1 for _ in ours(path))
    # Not `ru_maxrss`: a child that is restarted begins with that of its parent.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    answer.put((count, int(status["VmHWM"].split()[0]) / 1024))


def peak_mb(path: Path) -> tuple[int, float]:
    """Frames and peak memory of a fresh process that reads a video."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    worker = context.Process(target=_peak, args=(path, answer))
    worker.start()
    result = answer.get()
    worker.join()
    return result


def speed(folder: Path, clip: Path, length_s: int) -> dict[str, Any]:
    """Seconds and exactness of all readers, and what each makes of damage."""
    path = repeat(clip, folder / "minutes.mp4", length_s // SECONDS)
    indices = wanted(path)
    seconds, found = measure.alternate(
        {
            "ours": lambda: digests(ours(path)),
            "decord": lambda: digests(by_decord(path, indices)),
            "pyav": lambda: digests(by_pyav(path, indices)),
            "index": lambda: read_index(path).info.frames_total,
            "floor": lambda: floor(path),
        }
    )
    one = repeat(clip, folder / "sound.mp4", 2)
    few = wanted(one)
    sound = {index: pixels[::4, ::4].astype(np.float32) for index, pixels in by_pyav(one, few)}
    hurt = pierce(one, folder / "hurt.mp4", 400_000)
    damage = {
        "ours": seen_damage(ours(hurt), sound),
        "decord": _or_error(lambda: seen_damage(by_decord(hurt, few), sound)),
        "pyav": seen_damage(by_pyav(hurt, few), sound),
    }
    path.unlink()
    reference = found["pyav"]
    return {
        "work": {
            "video": f"{length_s} s of {WIDTH} x {HEIGHT} H.264 at {RATE} fps, one thread",
            "sampled_fps": FPS,
            "frames": len(indices),
            "index_s": round(seconds["index"], 3),
            "damaged": damage,
        },
        "ours_s": seconds["ours"],
        "quality": exactness(found["ours"], reference),
        "peers": {
            "decord get_batch": {"seconds": seconds["decord"], "quality": exactness(found["decord"], reference)},
            "PyAV loop": {"seconds": seconds["pyav"], "quality": exactness(reference, reference)},
        },
        "floor_s": seconds["floor"],
        "floor": "decode all",
    }


_ONE_READ = """
import sys, time
from pathlib import Path
from curate.hardware import limit_threads
from curate.stages import decode
limit_threads(1)
with decode.open_video(Path(sys.argv[1])) as warm:
    next(iter(warm.frames(1)))
started = time.process_time()
with decode.open_video(Path(sys.argv[1])) as video:
    read = sum(1 for _ in video.frames(float(sys.argv[2])))
print(time.process_time() - started, read)
"""


def against(folder: Path, clip: Path, length_s: int, other: Path) -> dict[str, Any]:
    """Processor seconds of this checkout and of another, on a long video and on a short one that decord reads."""
    here = Path(__file__).parents[1]
    result = {}
    for name, path in (("long", repeat(clip, folder / "ours.mp4", length_s // SECONDS)), ("short", small(folder))):

        def read(tree: Path, path: Path = path) -> tuple[float, int]:
            command = [sys.executable, "-c", _ONE_READ, str(path), str(FPS)]
            environment = os.environ | {"PYTHONPATH": str(tree)}
            out = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=True).stdout
            seconds, frames = out.split()
            return float(seconds), int(frames)

        runs = [(read(here), read(other)) for _ in range(5)]
        ours_s, other_s = (statistics.median(run[k][0] for run in runs) for k in range(2))
        result[name] = {"ours_s": ours_s, "other_s": other_s, "ratio": ours_s / other_s, "frames": runs[0][0][1]}
        print(f"{name}: {ours_s:.3f} s here, {other_s:.3f} s there, ratio {ours_s / other_s:.2f}")
    return result


def small(folder: Path) -> Path:
    """Three seconds of 320 x 240, as people share them."""
    path = folder / "short.mp4"
    texture = cv2.resize(data.astronaut(), (440, 360), interpolation=cv2.INTER_AREA)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(3 * RATE):
            view = np.ascontiguousarray(texture[index : index + 240, index : index + 320])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return path


def memory(folder: Path, clip: Path, length_s: int) -> tuple[str, int]:
    """What was read in a fresh process, and the most memory that it held, MB."""
    long = repeat(clip, folder / "long.mp4", length_s // SECONDS)
    frames, peak = peak_mb(long)
    return f"{length_s} s of the same, {frames} frames, a fresh process", round(peak)


def main() -> None:
    """Measures all of it, in turns; `--memory FILE` takes speeds from a result of another run."""
    wish = argparse.ArgumentParser(description=__doc__)
    wish.add_argument("--quick", action="store_true", help="end within 60 seconds on 2 cores")
    wish.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    wish.add_argument("--memory", type=Path, help="measure memory alone, and keep the speeds of this result")
    wish.add_argument("--against", type=Path, help="another checkout of curate, whose speed is compared")
    asked = wish.parse_args()
    limit_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encode(folder / "clip.mp4")
        if asked.against:
            print(json.dumps(against(folder, folder / "clip.mp4", 20 if asked.quick else 120, asked.against)))
            return
        if asked.memory:
            result = json.loads(asked.memory.read_text())
        else:
            result = {"name": "decode", **speed(folder, folder / "clip.mp4", 20 if asked.quick else 120)}
        read, peak = memory(folder, folder / "clip.mp4", 120 if asked.quick else 7200)
    result["work"]["memory_video"], result["peak_mb"] = read, peak
    measure.report(result, asked.json)


def _or_error(run: object) -> object:
    try:
        return run()  # type: ignore[operator]  # a benchmark's lambda
    except Exception as error:  # decord raises its own, undocumented errors
        return str(error).splitlines()[0][:120]


if __name__ == "__main__":
    main()
