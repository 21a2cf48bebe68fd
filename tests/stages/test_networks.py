"""ONNX networks give each picture what it gets alone, and as fast as they can be run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

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
