from __future__ import annotations

import numpy as np
import pytest
import torch

from curate.pretrain import backbones


@pytest.mark.parametrize(
    ("arch", "dim", "millions"),
    # Numbers published with torchvision's and timm's models, less their classifiers.
    [("resnet18", 512, 11.177), ("resnet34", 512, 21.285), ("resnet50", 2048, 23.508), ("vit_s", 384, 21.666)],
)
def test_size_is_the_published_one(arch: str, dim: int, millions: float) -> None:
    model = backbones.build(arch)
    assert model.feature_dim == dim
    assert backbones.parameter_count(model) / 1e6 == pytest.approx(millions, abs=0.001)


def test_vit_b_size() -> None:
    with torch.device("meta"):
        model = backbones.build("vit_b")
    assert backbones.parameter_count(model) == 85_798_656


def test_parameter_names() -> None:
    names = set(backbones.build("resnet50").state_dict())
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.num_batches_tracked",
        "layer4.2.conv3.weight",
        "layer3.5.bn2.bias",
    } <= names
    assert len(names) == 318  # torchvision's 320 less fc.weight and fc.bias
    names = set(backbones.build("vit_s").state_dict())
    assert {
        "cls_token",
        "pos_embed",
        "patch_embed.proj.weight",
        "blocks.11.norm1.weight",
        "blocks.0.attn.qkv.bias",
        "blocks.3.attn.proj.weight",
        "blocks.3.mlp.fc1.weight",
        "blocks.3.mlp.fc2.bias",
        "norm.bias",
    } <= names
    assert len(names) == 150  # timm's 152 less head.weight and head.bias


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "vit_s"])
def test_shapes_of_features_and_maps(arch: str) -> None:
    model = backbones.build(arch).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert model(images).shape == (2, model.feature_dim)
        maps = model.maps(images)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(model.map_channels, model.map_strides, strict=True)
    ]


def test_resnet_begins_as_torchvision_does() -> None:
    torch.manual_seed(0)
    model = backbones.build("resnet50")
    conv = model.get_submodule("layer2.0.conv2").weight
    assert float(conv.detach().std()) == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.02)  # He, fan-out
    norm = model.get_submodule("bn1")
    assert norm.momentum == 0.1
    assert norm.eps == 1e-5
    assert bool((norm.weight == 1).all())


def test_transformer_interpolates_positions_only_where_it_must() -> None:
    model = backbones.VisionTransformer(width=16, depth=1, heads=2, grid=4)
    assert torch.equal(model.positions(4, 4), model.pos_embed[:, 1:])
    assert model.positions(2, 6).shape == (1, 12, 16)
    with torch.no_grad():
        model.pos_embed.fill_(3.0)  # a constant stays one, whatever the size
    assert torch.allclose(model.positions(7, 3), torch.tensor(3.0))
    with pytest.raises(ValueError, match="patches of 16 pixels"):
        model(torch.zeros(1, 3, 50, 64))


def test_attention_equals_its_definition() -> None:
    torch.manual_seed(0)
    layer = backbones.Attention(8, 2).double()
    x = torch.randn(1, 5, 8, dtype=torch.double)
    q, k, v = (part.reshape(5, 2, 4).transpose(0, 1) for part in layer.qkv(x)[0].chunk(3, 1))
    weights = (q @ k.transpose(1, 2) / 2.0).softmax(-1)
    expected = layer.proj((weights @ v).transpose(0, 1).reshape(5, 8))
    assert torch.allclose(layer(x)[0], expected)


def test_drop_path_keeps_the_mean() -> None:
    torch.manual_seed(0)
    block = backbones.Block(8, 2, drop_path=0.3)
    kept = block._drop(torch.ones(20000, 1, 8))[:, 0, 0]
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.02)
    block.eval()
    assert bool((block._drop(torch.ones(100, 1, 8)) == 1).all())


def test_sincos_positions_equal_their_definition() -> None:
    table = backbones.sincos_positions(3, 8).numpy()[0]
    assert not table[0].any()
    row, column = 2, 1
    omega = 1 / 10000 ** (np.arange(2) / 2)
    expected = np.concatenate([f(p * omega) for p in (column, row) for f in (np.sin, np.cos)])
    np.testing.assert_allclose(table[1 + row * 3 + column], expected, atol=1e-6)
