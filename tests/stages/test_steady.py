"""Landmarks hardly depend on where a look for them began, and do not jump while a head turns."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection
from curate.stages import align, decode, pose
from curate.stages.backend_centerface import TURNED, _turned
from curate.stages.detect import load_backend
from curate.stages.refine import SIDE
from curate.stages.search import Detector

CLIPS = ["d10.mp4", "d18.mp4", "again.mkv", "carphone_pristine.mp4", "grid-brbk7n.mpg", "short_hamilton_clip.mp4"]
CLIPS += ["face-demographics-walking-and-pause.gif", "mmaction_spatiotemporal.mp4", "s29.mp4"]


def apart(face, other):
    """Mean distance of landmarks, pixels of ArcFace's 112."""
    scale = align.similarity(face.landmarks, align.ARCFACE)[:, :2]
    return float(np.linalg.norm((other.landmarks - face.landmarks) @ scale.T, axis=1).mean())


@pytest.mark.parametrize(("name", "half", "most"), [("centerface", 0.35, 1.0), ("insightface", 0.13, 0.7)])
def test_landmarks_hardly_depend_on_where_a_look_began(name, half, most, videos, request):
    models = {"models": request.getfixturevalue("pack")} if name == "insightface" else {}
    backend = load_backend(FaceSettings(backend=name, **models), CropSettings())
    rng, distances = np.random.default_rng(0), []
    for clip in CLIPS:
        with decode.open_video(videos / clip) as video:
            frames = [frame.pixels for frame in islice(video.frames(1), 1, 4, 2)]
        for pixels in frames:
            for face in backend.detect([pixels])[0].faces:
                shifts = rng.normal(0, 0.015, (4, 5, 2)) * (face.bbox[2] - face.bbox[0])
                starts = [Detection(face.bbox, face.landmarks + np.float32(shift), face.score) for shift in shifts]
                ends = backend._search.steady(starts, [pixels] * len(starts))
                distances += [apart(one, other) for one, other in zip(ends[::2], ends[1::2], strict=True)]
    assert len(distances) > 30
    assert np.quantile(distances, 0.5) < half and np.quantile(distances, 0.9) < most


def test_landmarks_are_what_all_answers_for_a_face_say():
    """Two answers for one face, and one for another: a search takes the surest, a look in a crop weighs them."""
    corner = np.array([[20, 20, 60, 70], [21, 20, 61, 70], [90, 90, 120, 120]], np.float32)
    points = corner[:, None, :2] + align.ARCFACE / 4
    network = SimpleNamespace(run=lambda crops: [np.zeros((len(crops), 1))])
    answers = corner, points, np.array([0.9, 0.6, 0.8], np.float32)
    detector = Detector(network, lambda *_: answers, max_overlap=0.3, smallest=14, close_up=(192, 288))
    (first, other), *_ = detector.in_crops([np.zeros((SIDE, SIDE, 3), np.uint8)])
    assert np.allclose(first.landmarks, (0.9 * points[0] + 0.6 * points[1]) / 1.5, atol=1e-4)
    assert np.allclose(first.bbox, corner[0]) and first.score == pytest.approx(0.9)
    assert np.allclose(other.landmarks, points[2], atol=1e-4)


def test_a_turning_head_passes_from_one_kind_of_landmarks_to_the_other():
    yaws = np.arange(0, 80)
    faces = []
    for yaw in np.radians(yaws):
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0]])
        faces.append(Detection(np.zeros(4, np.float32), np.float32(pose.HEAD @ turn.T + 100), 0.9))
    share = _turned(faces)
    assert (np.diff(share) >= 0).all() and np.diff(share).max() < 0.11
    assert (share[yaws <= TURNED[0] - 1] == 0).all() and (share[yaws >= TURNED[1] + 1] == 1).all()
