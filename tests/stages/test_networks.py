"""ONNX networks give each picture what it gets alone, and as fast as they can be run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from curate.hardware import BatchSize
from curate.stages import networks


def old_export(rng: np.random.Generator) -> onnx.ModelProto:
    """A model of before 2019: its weights stand among its inputs, and it takes one picture of one size."""
    weights = numpy_helper.from_array(rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "weights")
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 32, 32])
    given = helper.make_tensor_value_info("weights", TensorProto.FLOAT, [4, 3, 3, 3])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, 4, 32, 32])
    node = helper.make_node("Conv", ["picture", "weights"], ["found"], pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "old", [picture, given], [found], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3)


def test_weights_of_old_exports_are_constants():
    rng = np.random.default_rng(0)
    model = old_export(rng)
    before = networks.session(model.SerializeToString(), "cpu", 1)
    network = networks.load(model.SerializeToString(), networks.Kind("detection", 0.0, 1.0, 4, (32, 64)), "cpu", 1)
    assert [one.name for one in network.session.get_inputs()] == ["picture"]
    picture = rng.integers(0, 256, (32, 32, 3), np.uint8)
    expected = before.run(None, {"picture": picture.transpose(2, 0, 1)[None].astype(np.float32)})[0]
    np.testing.assert_allclose(network.run([picture])[0], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_opened_networks_take_any_number_of_any_size(count):
    rng = np.random.default_rng(1)
    network = networks.load(
        old_export(rng).SerializeToString(), networks.Kind("detection", 0.0, 1.0, 2, (32, 64)), "cpu", 1
    )
    assert network.free
    pictures = list(rng.integers(0, 256, (count, 64, 96, 3), np.uint8))
    together = network.run(pictures)[0]
    assert together.shape == (count, 4, 64, 96)
    for row, picture in zip(together, pictures, strict=True):
        np.testing.assert_array_equal(row, network.run([picture])[0][0])


class Recorded:
    """In place of an onnxruntime session: notes what goes through at once, and gives each picture its mean."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="picture")]

    def run(self, _names: None, fed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.shapes.append(fed["picture"].shape)
        return [fed["picture"].mean((1, 2, 3))[:, None]]


@pytest.mark.parametrize(
    ("fill", "side", "batches"),
    [
        (False, (128, 128), [8, 2]),
        (False, (832, 1440), [1] * 10),
        (True, (832, 1440), [8, 8]),
        (True, (16, 16), [8, 8]),
    ],
)
def test_large_pictures_go_one_by_one_on_a_cpu_and_in_whole_batches_on_a_gpu(
    fill: bool, side: tuple[int, int], batches: list[int]
) -> None:
    session = Recorded()
    network = networks.Loaded(session, 0.0, 1.0, BatchSize(8), fill, free=True)
    pictures = [np.full((*side, 3), level, np.uint8) for level in range(10)]
    assert network.run(pictures)[0].tolist() == [[float(level)] for level in range(10)]
    assert [shape[0] for shape in session.shapes] == batches
