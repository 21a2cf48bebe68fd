"""Pictures: frames of videos, in whatever order they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from curate.evaluate import finetune, pictures
from curate.evaluate.config import Finetune
from curate.evaluate.crops import CropRule
from curate.evaluate.pictures import DamagedPictureError, VideoFrame
from curate.evaluate.samples import ClassTarget, Sample
from curate.evaluate.tasks.emotion import ExpressionTask
from curate.stages.decode_index import Index
from curate.stages.decode_pyav import Decoded

COUNT = 60
OPTIONS = {"g": "12", "sc_threshold": "1000000000"}
"""A key frame every twelve, not wherever the picture changes."""


def video(path: Path, codec: str = "mpeg4", seed: int = 0, **options: str) -> Path:
    """COUNT frames of noise, no two alike."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20, options=OPTIONS | options)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(COUNT):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (32, 48, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    """What one pass through the video gives."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def shown(path: Path, indices: Sequence[int]) -> list[int]:
    """Which frames are given."""
    frames = frames_of(path)
    found = [VideoFrame(path, i).read() for i in indices]
    return [next((i for i, frame in enumerate(frames) if np.array_equal(frame, picture)), -1) for picture in found]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("plain.avi", "mpeg4", {}),
        ("reordered.avi", "mpeg4", {"bf": "2"}),
        ("reordered.mp4", "libx264", {"bf": "3", "x264-params": "open-gop=1"}),
        ("untimed.avi", "libx264", {}),  # a container that does not tell when frames are shown
    ],
)
def test_frames_are_found_in_any_order(name: str, codec: str, options: dict[str, str], tmp_path: Path) -> None:
    path = video(tmp_path / name, codec, **options)
    order = np.random.default_rng(0).permutation(COUNT).tolist()
    assert shown(path, order) == order
    assert shown(path, range(COUNT)) == list(range(COUNT))
    for absent in (COUNT, 5 * COUNT):
        with pytest.raises(DamagedPictureError, match=f"no frame {absent}"):
            VideoFrame(path, absent).read()


def test_a_step_back_decodes_from_the_key_frame_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, frames, counts = video(tmp_path / "a.avi"), pictures.decode_pyav.frames, Counter[int]()

    def counted(path: Path, index: Index, wanted: None, start: int) -> Iterator[Decoded]:
        for decoded in frames(path, index, wanted, start):
            counts[start] += 1
            yield decoded

    monkeypatch.setattr(pictures.decode_pyav, "frames", counted)
    assert shown(path, [57, 58, 50]) == [57, 58, 50]
    assert counts == {57: 11, 50: 3}


def test_shuffled_frames_of_several_videos_train_in_their_places(tmp_path: Path) -> None:
    """The crops of a batch are those of its rows, whatever the machine's number of cores."""
    paths = [video(tmp_path / f"{k}.avi", seed=k) for k in range(3)]
    samples = [Sample(f"{p.stem}/{i}", VideoFrame(p, i), "train") for p in paths for i in range(COUNT)]
    task = ExpressionTask(ClassTarget(("a",), np.zeros(len(samples), dtype=np.int64)))
    plan = finetune.TrainingPlan(samples, CropRule("whole", size=32), task, Finetune())
    rows = np.random.default_rng(1).permutation(len(samples))[:64]
    found = finetune._read(plan, rows, [None] * len(rows))
    frames = [frame[:, 8:40] for path in paths for frame in frames_of(path)]
    assert all(item is not None and np.array_equal(item[0], frames[row]) for item, row in zip(found, rows, strict=True))
