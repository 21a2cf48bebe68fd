"""Following faces between searches loses none and invents none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection, Frame
from curate.stages import align, follow
from curate.stages.backend import Detected, largest_first, overlaps
from curate.stages.detect import load_backend
from tests.run import clips

SIDE, FACE = 256, 40
SETTINGS = FaceSettings(min_size=32)


class Drawn:
    """Finds faces that are squares of one level each: exactly, and wherever they are."""

    name, device, models, identity_threshold, follows = "drawn", "cpu", (), None, True

    def __init__(self, weak: frozenset[int] = frozenset(), moves: bool = False) -> None:
        self.weak, self.moves, self.searched, self.glances = weak, moves, 0, 0

    def detect(self, frames):
        self.searched += len(frames)
        seen = [self._faces(frame) for frame in frames]
        return [Detected(faces, Counter(small=2), any(face.score < 0.6 for face in faces)) for faces in seen]

    def confirm(self, frame):
        return replace(self.detect([frame])[0], dropped=Counter())

    def between(self, before, after, frame):
        return self.follow(before, frame)[0] if self.moves else None

    def follow(self, before, frame):
        here = self._faces(frame.pixels)
        near = [[one for one in here if overlaps(face.bbox[None], one.bbox[None])[0, 0] > 0.5] for face in before.faces]
        return [found[0] if found else None for found in near]

    def glance(self, frame, window, known):
        self.glances += 1
        x0, y0, x1, y1 = window
        part = np.zeros_like(frame)
        part[y0:y1, x0:x1] = frame[y0:y1, x0:x1]
        seen = [face.bbox for face in self._faces(part)]
        return any(all(overlaps(box[None], face.bbox[None])[0, 0] < 0.1 for face in known) for box in seen)

    def identity(self, crops):
        return None

    def _faces(self, frame):
        found = []
        for level in np.unique(frame[..., 0][frame[..., 0] >= 100]).tolist():
            rows, columns = np.nonzero(frame[..., 0] == level)
            box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
            points = box[:2] + align.ARCFACE / 112 * (box[2:] - box[:2])
            found.append(Detection(box, points, 0.5 if level in self.weak else 0.9))
        return sorted(found, key=largest_first)


def film(people, count, shot_of=lambda _: 0):
    """Frames with each person [level, x, y, first frame, last frame, speed]."""
    for index in range(count):
        pixels = np.full((SIDE, SIDE, 3), 20, np.uint8)
        for level, x, y, first, last, speed in people:
            if first <= index <= last:
                left = int(np.clip(x + speed * (index - first), 0, SIDE - FACE))
                pixels[y : y + FACE, left : left + FACE] = level
        yield Frame(index, index / 10, pixels, shot_of(index))


person = st.tuples(st.integers(0, 215), st.integers(0, 30), st.integers(0, 30), st.integers(-6, 6))


@settings(max_examples=60)
@given(people=st.lists(person, max_size=4), cut=st.integers(1, 30), weak=st.booleans(), moves=st.booleans())
def test_people_who_come_and_go_are_all_found(people, cut, weak, moves):
    cast = [
        (110 + 40 * i, x, 8 + 62 * i, min(first, last), max(first, last), speed)
        for i, (x, first, last, speed) in enumerate(people)
    ]
    backend = Drawn(frozenset({110}) if weak else frozenset(), moves)

    def found(search):
        frames = film(cast, 31, lambda index: int(index >= cut))
        every = follow.find_faces(frames, backend, SETTINGS.model_copy(update={"search": search}), 10)
        return [(one.frame.index, sorted(face.bbox.round(2).tolist() for face in one.found.faces)) for one in every]

    assert found("follow") == found("every")


def test_a_still_video_is_searched_once_and_its_faces_are_inherited():
    backend = Drawn()
    found = list(follow.find_faces(film([(200, 50, 50, 0, 99, 0)], 40), backend, SETTINGS, 10))
    assert backend.searched == 1 and [one.inherited for one in found] == [False] + [True] * 39
    assert all(len(one.found.faces) == 1 for one in found)


def test_what_a_search_drops_counts_for_the_frames_until_the_next():
    cast = [(200, 50, 50, 0, 99, 2), (150, 90, 150, 0, 12, 0)]
    found = follow.find_faces(film(cast, 30), Drawn(), SETTINGS, 10)
    assert sum((one.found.dropped for one in found), Counter()) == Counter(small=60)


def test_steady_people_are_searched_for_now_and_then():
    backend = Drawn()
    list(follow.find_faces(film([(200, 50, 50, 0, 99, 2), (150, 90, 150, 0, 99, 1)], 41), backend, SETTINGS, 10))
    assert backend.searched == 6
    backend.searched = 0
    list(follow.find_faces(film([(200, 50, 50, 0, 99, 2)], 10), backend, SETTINGS, 1))
    assert backend.searched == 10, "at a frame a second nothing can be followed"


def test_nobody_glances_behind_a_frame_that_is_searched_anyway():
    backend = Drawn()
    list(follow.find_faces(film([(200, 50, 50, 0, 99, 2), (150, 90, 150, 2, 6, 0)], 9), backend, SETTINGS, 10))
    assert backend.glances == 2


@pytest.mark.parametrize("name", ["centerface", "insightface"])
def test_a_real_face_is_followed_to_where_a_search_finds_it(name, request):
    models = {"models": request.getfixturevalue("pack")} if name == "insightface" else {}
    chosen = FaceSettings(backend=name, **models)
    backend = load_backend(chosen, CropSettings())
    head = clips.astronaut()[40:210, 150:300]
    frames = []
    for i in range(9):
        pixels = np.full((360, 480, 3), 90, np.uint8)
        pixels[80:250, 100 + 3 * i : 250 + 3 * i] = head
        frames.append(Frame(i, i / 10, pixels))
    every = follow.find_faces(frames, backend, chosen.model_copy(update={"search": "every"}), 10)
    some = list(follow.find_faces(frames, backend, chosen, 10))
    assert sum(one.searched for one in some) <= 3
    for one, other in zip(every, some, strict=True):
        (face,), (followed,) = one.found.faces, other.found.faces
        assert overlaps(face.bbox[None], followed.bbox[None])[0, 0] > 0.75
        scale = align.similarity(face.landmarks, align.ARCFACE)[:, :2]
        apart = np.linalg.norm((face.landmarks - followed.landmarks) @ scale.T, axis=1).mean()
        assert apart < 1.0, "pixels of ArcFace's 112"


def test_faces_do_not_depend_on_how_frames_are_handed_in():
    cast = [(200, 50, 50, 0, 20, 3), (150, 90, 150, 5, 12, 0)]
    lazily = follow.find_faces(film(cast, 25), Drawn(), SETTINGS, 10)
    at_once = follow.find_faces(list(film(cast, 25)), Drawn(), SETTINGS, 10)
    assert [str(one.found) for one in lazily] == [str(one.found) for one in at_once]
