from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from curate.errors import UsageError
from curate.pretrain import backbones
from curate.pretrain.backbones import vit


@pytest.mark.parametrize(
    ("arch", "dim", "millions"),
    # Numbers published with torchvision's and timm's models, less their classifiers.
    [
        ("resnet18", 512, 11.177),
        ("resnet18_half", 256, 2.799),
        ("resnet34", 512, 21.285),
        ("resnet50", 2048, 23.508),
        ("vit_s", 384, 21.666),
    ],
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
    layer = vit.Attention(8, 2).double()
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


def test_names_of_transformers_carry_their_patch() -> None:
    with torch.device("meta"):
        small, large = backbones.build("vit_s/8"), backbones.build("vit_l")
    assert (small.patch, small.grid) == (8, 28)
    assert (large.patch, large.feature_dim, len(large.blocks)) == (16, 1024, 24)
    assert [backbones.patch_of(arch) for arch in ("vit_b/14", "vit_b", "resnet18", "m:f")] == [14, 16, None, None]


def test_positions_are_interpolated_as_dinos_authors_do() -> None:
    model = backbones.VisionTransformer(width=8, depth=1, heads=2, grid=4)
    table = model.pos_embed[:, 1:].reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(table, scale_factor=((6 + 0.1) / 4, (3 + 0.1) / 4), mode="bicubic")
    got = model.positions(6, 3)
    torch.testing.assert_close(got, expected.permute(0, 2, 3, 1).reshape(1, 18, 8))


def test_convnext_is_its_definition() -> None:
    torch.manual_seed(0)
    model = backbones.ConvNeXt((1, 1, 2, 1), (4, 8, 12, 16))
    for block in (block for stage in model.stages for block in stage.blocks):
        torch.nn.init.normal_(block.gamma)
    x = torch.randn(2, 3, 64, 64)
    F = torch.nn.functional

    def norm(x: torch.Tensor, layer: torch.nn.LayerNorm) -> torch.Tensor:
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        shape = (1, -1, 1, 1)
        return (x - mean) / (variance + 1e-6).sqrt() * layer.weight.view(shape) + layer.bias.view(shape)

    y = norm(F.conv2d(x, model.stem[0].weight, model.stem[0].bias, stride=4), model.stem[1])
    for stage in model.stages:
        if not isinstance(stage.downsample, torch.nn.Identity):
            y = F.conv2d(norm(y, stage.downsample[0]), stage.downsample[1].weight, stage.downsample[1].bias, stride=2)
        for block in stage.blocks:
            z = norm(F.conv2d(y, block.conv_dw.weight, block.conv_dw.bias, padding=3, groups=y.shape[1]), block.norm)
            z = F.gelu(torch.einsum("nchw,dc->ndhw", z, block.mlp.fc1.weight) + block.mlp.fc1.bias.view(1, -1, 1, 1))
            z = torch.einsum("nchw,dc->ndhw", z, block.mlp.fc2.weight) + block.mlp.fc2.bias.view(1, -1, 1, 1)
            y = y + block.gamma.view(1, -1, 1, 1) * z
    torch.testing.assert_close(model.maps(x)[-1], y, atol=1e-4, rtol=1e-4)
    pooled = norm(y.mean((2, 3), keepdim=True), model.head["norm"])[:, :, 0, 0]
    torch.testing.assert_close(model(x), pooled, atol=1e-4, rtol=1e-4)
    with torch.device("meta"):
        tiny = backbones.build("convnext_t")
    assert backbones.parameter_count(tiny) == 27_820_128  # the paper's 28.6 M without the classifier's 0.77 M


TIMM = """
import sys, types
sys.modules["torchvision._meta_registrations"] = types.ModuleType("_meta_registrations")  # registers its operators
import torch
from curate.pretrain import backbones, config
for arch in ("resnet10t", "vit_tiny_patch16_224"):
    config.load(None, {"method": "simclr", "arch": arch})
    network = backbones.build(arch)
    print(tuple(network(torch.randn(2, 3, 224, 224)).shape), next(iter(network.plain().state_dict())))
"""


class TestNetworksOfOthers:
    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("def build(): return 3", "gives a int; a torch.nn.Module is wanted"),
            ("def build(): raise ValueError('no')", r"build\(\) failed \(ValueError: no\)"),
            ("import nothing_of_that_name", "cannot import"),
            ("x = 1", "has no function build"),
            ("from torch import nn\ndef build(): return nn.Linear(3, 2)", "cannot be run on pictures of 3 x 224 x 224"),
        ],
    )
    def test_mistakes_are_one_line(
        self, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> None:
        name = f"net{abs(hash(request.node.name))}"
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match=message):
            backbones.build(f"{name}:build")

    def test_unknown_names_list_what_there_is(self) -> None:
        with pytest.raises(UsageError, match=r"arch = resnet99: none of resnet18, .*MODULE:FUNCTION"):
            backbones.build("resnet99")

    def test_a_timm_that_cannot_be_imported_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "timm.py").write_text("import torchvision_that_is_not_there")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "timm", raising=False)
        with pytest.raises(UsageError, match=r"timm, .* cannot be imported \(ModuleNotFoundError: .*torchvision_that"):
            backbones.build("resnet26d")

    def test_names_of_timm(self) -> None:
        """In a process of its own, where torchvision registers no operators, as those need its build for our torch."""
        for package in ("timm", "torchvision"):
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
        done = subprocess.run([sys.executable, "-c", TIMM], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["(2,", "512)", "conv1.0.weight", "(2,", "192)", "cls_token"]

    def test_tokens_and_maps_are_averaged_and_names_stay(self) -> None:
        class Tokens(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.one = torch.nn.Conv2d(3, 5, 16, 16)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.one(x).flatten(2).transpose(1, 2)

        network = Tokens()
        found = backbones.Foreign(network, "x")
        x = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(found(x), network.one(x).mean((2, 3)))
        assert (found.feature_dim, list(found.plain().state_dict())) == (5, ["one.weight", "one.bias"])
        maps = backbones.Foreign(network.one, "x")
        torch.testing.assert_close(maps(x), found(x))
        assert maps.map_channels == (5,)
        assert found.maps(x) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: backbones.VisionTransformer(width=16, depth=2, heads=2, grid=2, drop_path=0.5),
        lambda: backbones.ConvNeXt((1, 1, 1, 1), (4, 8, 12, 16)),
    ],
)
def test_recomputing_changes_no_gradient(make: Callable[[], backbones.Backbone]) -> None:
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = make().train()
        model.recompute = recompute
        torch.manual_seed(1)
        model(torch.ones(2, 3, 32, 32)).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
