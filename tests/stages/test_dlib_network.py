"""dlib's recogniser in onnxruntime gives the vectors that dlib gives."""

from __future__ import annotations

import dlib
import numpy as np
import onnxruntime
import pytest
from skimage.data import astronaut

from curate.stages.backend_dlib import model_folder
from curate.stages.dlib_network import SIDE, converted

FILE = "dlib_face_recognition_resnet_model_v1.dat"


def test_vectors_are_those_of_dlib():
    path = model_folder() / FILE
    pictures = np.stack([astronaut()[y : y + SIDE, x : x + SIDE] for y, x in ((40, 150), (300, 20), (0, 0))])
    expected = np.array(dlib.face_recognition_model_v1(str(path)).compute_face_descriptor(list(pictures), 0))
    session = onnxruntime.InferenceSession(converted(path.read_bytes()), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"picture": pictures.transpose(0, 3, 1, 2).astype(np.float32)})
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("keep", [0, 100, 20_000, 1_000_000, -200_000])
def test_a_damaged_file_is_refused(keep):
    with pytest.raises(ValueError, match="no network that dlib recognises faces with"):
        converted((model_folder() / FILE).read_bytes()[:keep])
