"""The demo's clips hold what `EXPECTED` says of them."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import av
import dlib
import numpy as np
import pytest

from curate.demo import clips as demo
from curate.demo import film
from curate.errors import UnavailableError


@pytest.fixture(scope="module")
def folder(demo_clips: tuple[Path, list[str]]) -> Path:
    listed, told = demo_clips
    assert listed.name == "list.csv"
    assert sorted(told) == sorted(demo.EXPECTED)
    return listed.parent


def pictures(path: Path) -> np.ndarray:
    return np.stack(list(film.decode(path))).astype(np.float32)


def test_the_list_names_every_clip_with_its_title_and_licence(folder: Path) -> None:
    with (folder / "list.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == list(demo.EXPECTED)
    assert all(row["title"] and row["license"] and row["note"] and row["uploader"] for row in rows)
    assert all((folder / row["source"]).is_file() for row in rows)
    assert not list(folder.glob(".part-*"))


def test_copies_come_after_what_they_repeat() -> None:
    names = list(demo.EXPECTED)
    for name, known in demo.EXPECTED.items():
        assert (known.status == "duplicate") == (known.copy_of is not None)
        if known.copy_of:
            assert names.index(known.copy_of) < names.index(name)


def test_the_reencoded_copy_is_smaller_and_shows_the_same(folder: Path) -> None:
    first, again = pictures(folder / "astronaut.mp4"), pictures(folder / "astronaut-again.mp4")
    assert again.shape[1:3] == (270, 480)
    assert len(again) == len(first)
    small = first[::20, :, :, 1].reshape(-1, 45, 8, 80, 8).mean((2, 4))
    other = again[::20, :, :, 1].reshape(-1, 45, 6, 80, 6).mean((2, 4))
    assert np.abs(small - other).mean() < 4


def test_the_mirrored_copy_is_mirrored(folder: Path) -> None:
    first, mirrored = pictures(folder / "table.mp4")[::20], pictures(folder / "table-mirrored.mp4")[::20]
    assert np.abs(first[:, :, ::-1] - mirrored).mean() < 8 < np.abs(first - mirrored).mean()


def test_the_trimmed_copy_is_the_middle(folder: Path) -> None:
    first, trimmed = pictures(folder / "panel.mp4"), pictures(folder / "panel-trimmed.mp4")
    assert len(trimmed) < len(first)
    start = round(1.5 * film.FPS)
    assert np.abs(first[start : start + len(trimmed)][::20] - trimmed[::20]).mean() < 8


def test_the_still_passage_differs_by_noise_alone(folder: Path) -> None:
    still = pictures(folder / "admiral.mp4")[: 6 * film.FPS : 12]
    assert np.abs(still - still[0]).mean() < 3
    moving = pictures(folder / "astronaut.mp4")[: 6 * film.FPS : 12]
    assert np.abs(moving - moving[0]).mean() > 10


def test_the_scratched_clip_is_damaged_and_reads_on(folder: Path) -> None:
    with av.open(str(folder / "actor.mkv")) as container:
        corrupt = [frame.is_corrupt for frame in container.decode(video=0)]
    assert any(corrupt) or len(corrupt) < 6 * film.FPS
    assert len(corrupt) > 4 * film.FPS


def test_the_cut_off_clip_cannot_be_opened(folder: Path) -> None:
    with pytest.raises(av.error.FFmpegError):
        av.open(str(folder / "cut-off.mp4"))


@pytest.mark.parametrize("name", ["astronaut.mp4", "table.mp4", "admiral.mp4", "panel.mp4", "astronaut-again.mp4"])
def test_faces_are_found_in_nearly_every_frame(folder: Path, name: str) -> None:
    detector = dlib.get_frontal_face_detector()
    found = [len(detector(frame, 0)) for frame in list(film.decode(folder / name))[::12]]
    assert np.mean(np.array(found) > 0) > 0.8


def test_nobody_is_in_the_clip_without_people(folder: Path) -> None:
    detector = dlib.get_frontal_face_detector()
    assert not any(len(detector(frame, 1)) for frame in list(film.decode(folder / "coffee.mp4"))[::24])


def test_filming_is_repeatable_and_depends_on_the_seed() -> None:
    shot = film.Shot(
        demo.picture(demo.ASTRONAUT), demo.ASTRONAUT.heads, (film.View(240, 170, 330), film.View(224, 130, 215)), 0.25
    )
    first, second, other = (np.stack(list(film.frames([shot], seed))) for seed in (3, 3, 4))
    assert first.shape == (6, film.HEIGHT, film.WIDTH, 3)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_turned_head_moves_the_face_over_its_outline() -> None:
    """The middle of the face slides; the far background stays."""
    pixels = demo.picture(demo.ASTRONAUT)
    views = (film.View(230, 200, 400), film.View(230, 200, 400, turn=1))
    straight, turned = (
        next(film.frames([film.Shot(pixels, demo.ASTRONAUT.heads, (view,), 1, hand_held=False)], 0)).astype(float)
        for view in views
    )
    face, corner = np.s_[30:80, 285:335], np.s_[260:, :200]
    assert np.abs(straight[face] - turned[face]).mean() > 4 * np.abs(straight[corner] - turned[corner]).mean()


@pytest.mark.parametrize("change", [{"package": "no_such_package"}, {"file": "data/none.png"}, {"width": 511}])
def test_a_missing_photograph_is_told_in_one_line(change: dict[str, object]) -> None:
    with pytest.raises(UnavailableError, match="the demo's picture") as caught:
        demo.picture(dataclasses.replace(demo.ASTRONAUT, **change))
    assert "\n" not in str(caught.value)
