"""Any backbone: files of all kinds, and modules of all shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from curate.errors import UsageError
from curate.evaluate import encoders
from curate.evaluate.encoders import Encoder, Origin, read_output
from curate.pretrain.backbones import build
from curate.pretrain.normalisation import normalisation_of
from curate.pretrain.weights import load_backbone
from tests.evaluate.tiny import tiny

PICTURES = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet18").eval()


def same(a: Encoder, b: nn.Module) -> bool:
    state = b.state_dict()
    return all(torch.equal(v, state[k]) for k, v in a.network.state_dict().items())


def test_own_run_is_known_by_its_config(tmp_path: Path, resnet18: nn.Module) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "backbone.pt")
    config = (
        "method: swav\nprovenance: {manifest: faces.parquet}\naugment: {mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}\n"
    )
    (tmp_path / "config.yaml").write_text(config)
    encoder = encoders.load(tmp_path / "backbone.pt")
    assert same(encoder, resnet18)
    assert (encoder.origin.method, encoder.origin.manifest, encoder.origin.arch) == (
        "swav",
        "faces.parquet",
        "resnet18",
    )
    assert encoder.mean.flatten().tolist() == [0.5] * 3
    images = (PICTURES.float() / 255 - 0.5) / 0.2
    torch.testing.assert_close(encoder(PICTURES)[0], resnet18(images))


@pytest.mark.parametrize("text", ["method: {a: 1}\n", "method: 3\nprovenance: {manifest: [1]}\n", "provenance: x\n"])
def test_a_config_of_another_trainer_tells_no_method(text: str, tmp_path: Path, resnet18: nn.Module) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "backbone.pt")
    (tmp_path / "config.yaml").write_text(text)
    origin = encoders.load(tmp_path / "backbone.pt").origin
    assert (origin.method, origin.manifest, origin.arch) == (None, None, "resnet18")


def test_without_a_run_pictures_are_normalised_as_imagenet(tmp_path: Path, resnet18: nn.Module) -> None:
    """One rule for every file, which `curate embed` may ask for as well."""
    path, config = tmp_path / "backbone.pt", tmp_path / "config.yaml"
    torch.save(resnet18.state_dict(), path)
    usual = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for beside in (None, "- no recipe", "{broken", "augment: {mean: [0.485, 0.456, 0.406]}"):
        if beside:
            config.write_text(beside)
        assert normalisation_of(path) == usual
    encoder = encoders.load(path)
    np.testing.assert_allclose([encoder.mean.flatten(), encoder.std.flatten()], usual, rtol=1e-6)
    for wrong in ("{std: [0.2, 0.2]}", "{std: 0.2}", "{std: [0, 1, 1]}", "{mean: [a, 1, 1]}"):
        config.write_text(f"augment: {wrong}\n")
        with pytest.raises(UsageError, match=r"config\.yaml: augment\.(std|mean) = .*three numbers"):
            encoders.load(path)


@pytest.mark.parametrize(
    ("prefix", "container", "extra"),
    [
        ("module.base_net.", "state_dict", {"module.projection_net.net.0.weight": 1, "module.prototypes.weight": 1}),
        ("", None, {"fc.weight": 1, "fc.bias": 1}),
        ("module.", "model", {}),
        ("backbone.", "state_dict", {"head.weight": 1}),
    ],
)
def test_checkpoints_of_others(
    tmp_path: Path, resnet18: nn.Module, prefix: str, container: str | None, extra: dict[str, int]
) -> None:
    state = {prefix + k: v for k, v in resnet18.state_dict().items()} | {k: torch.zeros(2, 2) for k in extra}
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "x.pth")
    assert same(encoders.load(tmp_path / "x.pth"), resnet18)


def test_timm_transformer_with_a_head(tmp_path: Path) -> None:
    network = build("vit_s")
    torch.save(
        network.state_dict() | {"head.weight": torch.zeros(10, 384), "head.bias": torch.zeros(10)}, tmp_path / "v.pth"
    )
    encoder = encoders.load(tmp_path / "v.pth")
    assert same(encoder, network) and encoder.origin.arch == "vit_s"
    features, maps = encoder(PICTURES)
    assert features.shape == (2, 384) and maps[0].shape == (2, 384, 4, 4)


class Hostile:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("1 / 0",)


def test_wrong_files_are_named(tmp_path: Path, resnet18: nn.Module) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "r18.pt")
    with pytest.raises(UsageError, match="use --arch resnet18"):
        encoders.load(tmp_path / "r18.pt", arch="resnet50")
    short = dict(resnet18.state_dict())
    del short["layer3.0.conv1.weight"]
    torch.save(short, tmp_path / "short.pt")
    with pytest.raises(UsageError, match="no backbone known here"):
        encoders.load(tmp_path / "short.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match="no ResNet, vision transformer or ConvNeXt"):
        encoders.load(tmp_path / "other.pt")
    torch.save(resnet18, tmp_path / "pickled.pt")
    asked = r"pickled\.pt: .* it asks for code .* \(curate\..*\.ResNet\); save model\.state_dict\(\) instead$"
    with pytest.raises(UsageError, match=asked):
        encoders.load(tmp_path / "pickled.pt")
    torch.save({"state_dict": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(UsageError, match=r"it asks for code to be run \((builtins\.)?eval\)"):
        encoders.load(tmp_path / "hostile.pt")
    torch.save(resnet18.state_dict(), tmp_path / "backbone.pt")
    with pytest.raises(UsageError, match=r"is a folder; name .*backbone\.pt$"):
        encoders.load(tmp_path)
    with pytest.raises(UsageError, match=r"is a folder; name .*backbone\.pt$"):
        load_backbone(tmp_path)
    for empty in ("", " "):
        with pytest.raises(UsageError, match="--backbone: no file is named"):
            encoders.load(empty)
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "text.onnx").write_text("hello")
    for name, message in (("text.pt", "cannot be read"), ("text.onnx", "onnxruntime"), ("absent.pt", "no such file")):
        with pytest.raises(UsageError, match=message):
            encoders.load(tmp_path / name)
    with pytest.raises(UsageError, match="--arch resnet99"):
        encoders.load("random", "resnet99")


@pytest.mark.parametrize("vectors", [True, False])
def test_a_network_that_the_users_code_makes_is_loaded_where_the_user_names_it(
    vectors: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = "nn.Flatten()" if vectors else "nn.ReLU()"
    (tmp_path / f"own{vectors}.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        f"    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(2), {last})\n"
    )
    monkeypatch.chdir(tmp_path)
    arch, path = f"own{vectors}:build", tmp_path / "backbone.pt"
    torch.save(build(arch).plain().state_dict(), path)
    (tmp_path / "config.yaml").write_text(f"arch: {arch}\nmethod: simclr\nprovenance: {{manifest: m}}\n")
    with pytest.raises(UsageError, match=f"if you trust that code, .*--arch {arch}"):
        encoders.load(path)
    loaded = encoders.load(path, arch)
    assert loaded.origin.method == "simclr"
    assert loaded.shapes(32) == ((16, ()) if vectors else (4, ((4, 2),)))


@pytest.mark.parametrize("arch", ["resnet18_half", "vit_s", "convnext_t"])
def test_features_are_those_that_the_backbone_was_trained_with_of_one_pass(arch: str) -> None:
    encoder = encoders.load("random", arch)
    pictures = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    images = (pictures.float() / 255 - encoder.mean) / encoder.std
    passes: list[int] = []
    first = next(module for module in encoder.network.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda *_: passes.append(1))
    with torch.inference_mode():
        features, maps = encoder(pictures)
        assert len(passes) == 1
        torch.testing.assert_close(features, encoder.network(images))
        torch.testing.assert_close(maps[-1], encoder.network.maps(images)[-1])


def test_random_is_seeded() -> None:
    a, b, c = (encoders.load("random", "resnet18", seed).origin.digest for seed in (0, 0, 1))
    assert a == b != c


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript(tmp_path: Path) -> None:
    network = tiny()
    script = torch.jit.trace(network, torch.zeros(1, 3, 64, 64), check_trace=False)
    torch.jit.save(script, str(tmp_path / "net.pt"))
    encoder = encoders.load(tmp_path / "net.pt")
    torch.testing.assert_close(encoder(PICTURES)[0], Encoder(network, Origin("x", "x"))(PICTURES)[0])


@pytest.mark.parametrize("batch", ["n", 3])
def test_onnx(tmp_path: Path, batch: str | int) -> None:
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
        "means",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "net.onnx"))
    encoder = encoders.load(tmp_path / "net.onnx")
    images = (PICTURES.float() / 255 - encoder.mean) / encoder.std
    torch.testing.assert_close(encoder(PICTURES)[0], images.mean((2, 3)), atol=1e-5, rtol=1e-5)
    assert not encoder.trainable
    with pytest.raises(UsageError, match="refuses"):
        encoder(torch.zeros(1, 3, 32, 32))


class Torchvision(nn.Module):
    """Laid out as torchvision's ResNet, classifier and all."""

    def __init__(self) -> None:
        super().__init__()
        base = tiny()
        self.conv1, self.bn1, self.relu, self.maxpool = base.conv1, base.bn1, nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2, self.layer3, self.layer4 = base.layer1, base.layer2, base.layer3, base.layer4
        self.fc = nn.Linear(64, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(
            self.layer4(self.layer3(self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))))).mean(
                (2, 3)
            )
        )


def test_torchvision_module_is_read_below_its_classifier() -> None:
    ours = Encoder(tiny(), Origin("x", "x"))(PICTURES)
    theirs = encoders.load(Torchvision())(PICTURES)
    torch.testing.assert_close(theirs[0], ours[0])
    assert [m.shape for m in theirs[1]] == [m.shape for m in ours[1]]


def test_outputs_of_any_shape() -> None:
    vector, grid = torch.randn(2, 5), torch.randn(2, 7, 3, 3)
    assert read_output(vector)[1] == []
    assert read_output({"a": grid})[0].shape == (2, 7)
    assert read_output((grid, None))[1][0] is grid
    tokens = torch.randn(2, 1 + 16, 6)
    features, maps = read_output(tokens)
    torch.testing.assert_close(features, tokens[:, 0])
    torch.testing.assert_close(maps[0][:, :, 1, 2], tokens[:, 1 + 6])
    torch.testing.assert_close(read_output(tokens[:, 1:])[0], tokens[:, 1:].mean(1))
    for wrong in ("text", torch.zeros(3), []):
        with pytest.raises(UsageError, match="is needed"):
            read_output(wrong)


def test_digest_is_that_of_the_weights() -> None:
    network = tiny()
    before = encoders.digest_of(network)
    with torch.no_grad():
        network.conv1.weight[0, 0, 0, 0] += 1e-3
    assert encoders.digest_of(network) != before
    assert np.isfinite(float(network.conv1.weight.detach().sum()))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("net.json", '{"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}'),
        ("net.yaml", "mean: [0.5, 0.4, 0.3]\nstd: [0.2, 0.2, 0.2]\n"),
        ("preprocessor_config.json", '{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}'),
        ("config.yaml", "augment: {mean: [0.5, 0.4, 0.3], std: [0.2, 0.2, 0.2]}\n"),
    ],
)
def test_a_file_beside_says_how_pictures_are_normalised(file: str, text: str, tmp_path: Path) -> None:
    script = torch.jit.trace(tiny(), torch.zeros(1, 3, 32, 32), check_trace=False)
    torch.jit.save(script, str(tmp_path / "net.ts"))
    bare = encoders.load(tmp_path / "net.ts")
    assert bare.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406]) and "ImageNet" in bare.origin.notes[0]
    (tmp_path / file).write_text(text)
    told = encoders.load(tmp_path / "net.ts")
    assert told.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3]) and told.origin.notes == ()
    chosen = encoders.normalised(bare, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert chosen.std.flatten().tolist() == [0.5] * 3 and chosen.origin.notes == ()
    (tmp_path / file).write_text(text.replace("0.5", "127.5"))
    with pytest.raises(UsageError, match=rf"{file}: .*mean = .*of pictures in \[0, 1\] are wanted; divide by 255"):
        encoders.load(tmp_path / "net.ts")
    with pytest.raises(UsageError, match=r"extract\.mean and extract\.std: give both"):
        encoders.normalised(bare, (0.5, 0.5, 0.5), None)
