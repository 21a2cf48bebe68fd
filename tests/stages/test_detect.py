"""Face backends: which one is chosen, what they find, and that frames do not depend on each other."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from insightface.app import FaceAnalysis
from skimage.data import astronaut

from curate.errors import UsageError
from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection
from curate.stages import align
from curate.stages.backend import ScaledFrame, logit, select
from curate.stages.detect import find_pack, load_backend

CROP = CropSettings()


@pytest.fixture(scope="module")
def dlib():
    return load_backend(FaceSettings(backend="dlib"), CROP)


@pytest.fixture(scope="module")
def centerface():
    return load_backend(FaceSettings(), CROP)


@pytest.fixture(scope="module")
def scrfd(pack):
    return load_backend(FaceSettings(models=pack), CROP)


@pytest.fixture(scope="module")
def frames(shared):
    """Real pictures of several shapes: people near and far, and none."""
    folder = shared / "data" / "images"
    paths = [*sorted(folder.glob("group/*.jpg")), folder / "obama" / "obama.jpg", folder / "biden" / "biden.jpg"]
    pictures = [np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]) for path in paths]
    return [*pictures, astronaut(), np.zeros((360, 640, 3), np.uint8), pictures[0][:, ::-1].copy()]


def same(one: Detection, other: Detection) -> bool:
    return (
        np.array_equal(one.bbox, other.bbox)
        and np.array_equal(one.landmarks, other.landmarks)
        and one.score == other.score
    )


@pytest.mark.parametrize("name", ["dlib", "centerface", "scrfd"])
def test_faces_are_sound_and_in_order(name, frames, request):
    backend = request.getfixturevalue(name)
    found = [one.faces for one in backend.detect(frames)]
    assert len(found) == len(frames)
    assert [len(faces) >= 1 for faces in found] == [True] * (len(frames) - 2) + [False, True]
    for faces, frame in zip(found, frames, strict=True):
        for face in faces:
            x0, y0, x1, y1 = face.bbox
            assert 0 <= x0 < x1 <= frame.shape[1] and 0 <= y0 < y1 <= frame.shape[0]
            left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
            assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
            assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
            assert face.bbox.dtype == face.landmarks.dtype == np.float32 and 0.5 <= face.score <= 1
        areas = [float(np.prod(face.bbox[2:] - face.bbox[:2])) for face in faces]
        assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize("name", ["dlib", "centerface", "scrfd"])
def test_a_frame_does_not_depend_on_its_neighbours(name, frames, request):
    backend = request.getfixturevalue(name)
    together = [one.faces for one in backend.detect(frames + frames[:3])]
    for i, frame in enumerate(frames):
        alone = backend.detect([frame])[0].faces
        assert len(alone) == len(together[i])
        assert all(same(a, b) for a, b in zip(alone, together[i], strict=True))
    assert backend.detect([]) == []


@pytest.mark.parametrize("name", ["dlib", "centerface", "scrfd"])
def test_a_face_that_fills_the_frame_is_found(name, request):
    backend = request.getfixturevalue(name)
    frame = astronaut()[56:176, 172:276]
    for size in (104, 300, 1200):
        picture = cv2.resize(frame, (size, round(size * 120 / 104)), interpolation=cv2.INTER_CUBIC)
        faces = backend.detect([picture])[0].faces
        assert len(faces) == 1
        expected = (np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]]) - [172, 56]) * size / 104
        assert np.abs(faces[0].landmarks - expected).mean() < 0.08 * size


def test_what_a_frame_without_faces_left_out_is_counted_once(pack):
    picky = load_backend(FaceSettings(models=pack, min_size=1000), CROP)
    for _ in range(2):  # a second call starts from nothing
        (found,) = picky.detect([astronaut()])
        assert found.faces == [] and found.dropped == {"smaller than faces.min_size = 1000 px": 1}


def test_scrfd_finds_what_insightface_finds(pack, frames):
    scrfd = load_backend(FaceSettings(models=pack, min_size=64), CROP)  # large enough to be searched for at 640
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    reference = FaceAnalysis(
        "small", str(pack), ["detection"], providers=["CPUExecutionProvider"], sess_options=options
    )
    reference.prepare(-1, det_thresh=0.5, det_size=(640, 640))
    for frame in frames:
        height, width = frame.shape[:2]
        expected = [np.clip(face.bbox, 0, [width, height] * 2) for face in reference.get(frame[..., ::-1].copy())]
        expected = [box for box in expected if min(box[2:] - box[:2]) >= 64]
        found = scrfd.detect([frame])[0].faces
        # a picture is padded to a multiple of 32, not to a square: only what the padding touches may move a little
        scale = max(640 / max(frame.shape), 1e-9)
        assert len(found) == len(expected)
        for face in found:
            assert min(np.abs(face.bbox - box).max() for box in expected) * scale < 1.0


@pytest.mark.parametrize("name", ["dlib", "centerface", "scrfd"])
def test_identity_tells_people_apart(name, shared, request):
    backend = request.getfixturevalue(name)
    crops, people = [], []
    for folder in ("obama", "biden", "rose_leslie", "kit_harington"):
        for path in sorted((shared / "data" / "images" / folder).glob("*.jp*g")):
            frame = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
            faces = backend.detect([frame])[0].faces
            if faces and "partial" not in path.name:
                crops.append(align.decode(align.encode(align.align(frame, faces[0].landmarks, 224, 0.5), 95)))
                people.append(folder)
    vectors = backend.identity(np.stack(crops))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T >= backend.identity_threshold
    same_person = np.equal.outer(people, people)
    assert not (alike & ~same_person).any()
    assert (alike & same_person).sum() >= 0.8 * same_person.sum()
    for i in range(2):
        np.testing.assert_array_equal(backend.identity(crops[i][None])[0], vectors[i])
    assert backend.identity(np.stack(crops)[:0]).shape == (0, vectors.shape[1])


def test_models_are_named_with_hash_and_licence(dlib, scrfd):
    assert {model.task for model in scrfd.models} == {"detection", "identity"}
    assert {model.task for model in dlib.models} == {"landmarks", "identity"}
    for model in (*dlib.models, *scrfd.models):
        assert len(model.sha256) == 64 and model.licence and model.url.startswith("https://")
        assert Path(model.file).name == model.file


def face(x0, y0, x1, y1, score=0.9):
    box = np.array([x0, y0, x1, y1], np.float32)
    points = box[:2] + align.ARCFACE / 112 * (box[2:] - box[:2])
    return Detection(box, points, score)


def test_filters():
    frame = np.zeros((200, 300, 3), np.uint8)
    faces = [face(-20, 10, 60, 90), face(100, 20, 140, 60), face(150, 20, 250, 120), face(280, 20, 330, 90)]
    weak, tiny, broken = face(10, 10, 90, 90, 0.4), face(5, 5, 20, 20), face(0, 0, 100, 100)
    broken.landmarks[:] = np.nan
    found = select([*faces, weak, tiny, broken], frame, FaceSettings(max_per_frame=2))
    assert [one.bbox.tolist() for one in found.faces] == [[150, 20, 250, 120], [0, 10, 60, 90]]
    assert sorted(found.dropped.values()) == [1, 1, 1, 2]
    assert len(select(faces, frame, FaceSettings(min_size=8)).faces) == 4


@pytest.mark.parametrize("shape", [(360, 640), (640, 360), (1, 500), (700, 3), (333, 333)])
def test_a_picture_tells_where_the_frame_lies_in_it(shape):
    frame = np.full((*shape, 3), 255, np.uint8)
    plain, centred = ScaledFrame.of(frame, 320, None), ScaledFrame.of(frame, 128, 224, centred=True)
    assert all(edge % 32 == 0 for edge in plain.pixels.shape[:2]) and max(plain.pixels.shape) <= 320
    assert centred.pixels.shape == (224, 224, 3)
    for picture, side in ((plain, 320), (centred, 128)):
        rows, columns = np.nonzero(picture.pixels[..., 0])
        np.testing.assert_array_equal([columns.min(), rows.min()], picture.offset)
        assert max(np.ptp(columns), np.ptp(rows)) + 1 == side


def test_scores_of_dlib_are_a_share(dlib):
    assert logit(0.5) == 0
    strict = load_backend(FaceSettings(backend="dlib", min_score=0.95), CROP)
    few, more = (one.detect([astronaut()])[0].faces for one in (strict, dlib))
    assert len(few) <= len(more) == 1
    assert same(few[0], more[0]) if few else more[0].score < 0.95


def test_auto_takes_insightface_where_models_are_and_centerface_elsewhere(scrfd, centerface, dlib):
    assert (scrfd.name, centerface.name, dlib.name) == ("insightface", "centerface", "dlib")


def refused(**settings):
    with pytest.raises(UsageError) as caught:
        load_backend(FaceSettings(**settings), CROP)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_no_model_folder_is_refused_in_one_line(tmp_path):
    assert "--models" in refused(backend="insightface")
    for backend in ("auto", "insightface"):
        gone = refused(backend=backend, models=tmp_path / "gone")
        assert str(tmp_path / "gone") in gone and "--faces centerface" in gone
        empty = refused(backend=backend, models=tmp_path)
        assert str(tmp_path) in empty and "--faces centerface" in empty


def test_packs_are_found_and_named(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "det.onnx").touch()
    (tmp_path / "models" / "none").mkdir()
    assert "one, two" in refused(models=tmp_path)
    assert "one, two" in refused(models=tmp_path, pack="three")
    assert find_pack(tmp_path, "two") == tmp_path / "models" / "two"
    for inner in (tmp_path / "models", tmp_path / "models" / "one"):
        assert f"did you mean --models {tmp_path}" in refused(models=inner)


def test_damaged_and_foreign_models_are_refused_by_name(tmp_path, pack):
    folder = tmp_path / "models" / "broken"
    folder.mkdir(parents=True)
    source = pack / "models" / "small"
    whole = (source / "det_2.5g.onnx").read_bytes()
    for data in (b"", b"no model", whole[: len(whole) // 2]):
        (folder / "det.onnx").write_bytes(data)
        assert str(folder / "det.onnx") in refused(models=tmp_path)
    (folder / "det.onnx").unlink()
    shutil.copy(source / "mobilefacenet.onnx", folder)
    assert str(folder) in refused(models=tmp_path)
    shutil.copy(source / "det_2.5g.onnx", folder)
    assert load_backend(FaceSettings(models=tmp_path), CROP).identity_threshold is not None
