from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from curate.errors import UsageError
from curate.pretrain import checkpoint, config, methods, weights
from curate.pretrain.backbones import VisionTransformer, build


@pytest.fixture(scope="module")
def resnet() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build("resnet18").state_dict()


def same(a: torch.nn.Module, b: dict[str, torch.Tensor]) -> bool:
    mine = a.state_dict()
    return mine.keys() == b.keys() and all(torch.equal(mine[name], b[name]) for name in b)


def test_ours_round_trip(tmp_path: Path) -> None:
    model = build("resnet18").to(memory_format=torch.channels_last)
    weights.save_backbone(model, tmp_path / "backbone.pt")
    plain = torch.load(tmp_path / "backbone.pt", weights_only=True)
    assert "fc.weight" not in plain
    assert plain["layer1.0.conv1.weight"].is_contiguous()
    assert same(weights.load_backbone(tmp_path / "backbone.pt"), model.state_dict())


def test_the_papers_torchvisions_and_other_trainers(tmp_path: Path, resnet: dict[str, torch.Tensor]) -> None:
    extra = {"module.prototypes.weight": torch.zeros(3, 2), "module.projection_net.net.0.weight": torch.zeros(2, 2)}
    files = {
        "paper": {"state_dict": {f"module.base_net.{k}": v for k, v in resnet.items()} | extra, "epoch": 3},
        "torchvision": resnet | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)},
        "moco": {"state_dict": {f"module.encoder_q.{k}": v for k, v in resnet.items()}, "arch": "resnet18"},
        "settings": {"model": resnet, "args": argparse.Namespace(lr=1)},
        "old": {k: v for k, v in resnet.items() if not k.endswith("num_batches_tracked")},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
        loaded = weights.load_backbone(tmp_path / name)
        assert all(torch.equal(loaded.state_dict()[k], v) for k, v in resnet.items() if "tracked" not in k), name


@pytest.mark.parametrize("method", ["swav", "moco", "byol", "dino"])
def test_our_checkpoints_hold_what_would_be_saved(method: str, tmp_path: Path) -> None:
    made = methods.build(build("resnet18"), config.load(None, {"method": method, "batch": 2}))
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters()):
            parameter.add_(number)
    checkpoint.Checkpoint(3, 3, [], {}, made.state_dict(), {}, {}).save(tmp_path / "last.pt")
    assert same(weights.load_backbone(tmp_path / "last.pt"), made.exported().state_dict())


def test_timms_of_another_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("vit_s")
    state = model.state_dict() | {"head.weight": torch.zeros(1000, 384), "head.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "vit.pth")
    assert same(weights.load_backbone(tmp_path / "vit.pth"), model.state_dict())
    small = VisionTransformer(384, 12, 6, grid=6)
    weights.load_into(small, tmp_path / "vit.pth", "vit_s")
    table = model.pos_embed[:, 1:].reshape(1, 14, 14, 384).permute(0, 3, 1, 2)  # MAE's interpolate_pos_embed
    expected = torch.nn.functional.interpolate(table, (6, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(small.pos_embed[:, 1:], expected.flatten(2).transpose(1, 2))
    torch.testing.assert_close(small.pos_embed[:, :1], model.pos_embed[:, :1])


def test_says_what_does_not_match(tmp_path: Path, resnet: dict[str, torch.Tensor]) -> None:
    torch.save(resnet, tmp_path / "r18.pt")
    with pytest.raises(UsageError, match=r"does not fit resnet50: .*use --arch resnet18"):
        weights.load_backbone(tmp_path / "r18.pt", "resnet50")
    torch.save({k: v for k, v in resnet.items() if k != "layer4.1.bn2.bias"}, tmp_path / "cut.pt")
    with pytest.raises(UsageError, match=r"no layer4\.1\.bn2\.bias \(1 missing\)"):
        weights.load_backbone(tmp_path / "cut.pt", "resnet18")
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"holds no conv1\.weight.*but a \(1\)"):
        weights.load_backbone(tmp_path / "a.pt")
    (tmp_path / "text.pt").write_text("no weights at all")
    with pytest.raises(UsageError, match="cannot be read as a file of weights"):
        weights.load_backbone(tmp_path / "text.pt")
    with pytest.raises(UsageError, match="there is no such file"):
        weights.load_backbone(tmp_path / "none.pt")


RENAMED = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def sequence(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{RENAMED[k.split('.')[0]]}.{k.split('.', 1)[1]}": v for k, v in state.items()}


def other(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Another network of the same shapes: one that is averaged, or slower."""
    return {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}


def below(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + k: v for k, v in state.items()}


HEAD = {"projection_head.0.weight": torch.zeros(4, 8), "prototypes.weight": torch.zeros(3, 4)}
RUNS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "SwAV's model zoo": (lambda s: below("module.", s | HEAD), r"projection_head \(1\), prototypes \(1\)"),
    "a run of SwAV": (
        lambda s: {
            "epoch": 3,
            "state_dict": below("module.", s | HEAD),
            "optimizer": {"state": {0: {"m": torch.ones(2)}}},
        },
        r"optimizer \(1\)",
    ),
    "lightly, a sequence": (lambda s: {"state_dict": below("backbone.", sequence(s)) | HEAD}, "prototypes"),
    "VISSL": (
        lambda s: {
            "classy_state_dict": {"base_model": {"model": {"trunk": below("_feature_blocks.", s), "heads": HEAD}}}
        },
        r"heads \(2\)",
    ),
    "timm with averaged weights": (
        lambda s: {"state_dict": other(s), "state_dict_ema": s, "metric": np.float64(0.5)},
        r"averaged weights, state_dict_ema, are preferred\): state_dict",
    ),
    "averaged weights deep down": (lambda s: {"a": {"b": {"ema": s, "model": other(s)}}}, "a.b.ema, are preferred"),
    "BYOL": (lambda s: below("online_encoder.", s) | below("target_encoder.", other(s)), "target_encoder"),
    "MoCo": (lambda s: below("encoder_k.", other(s)) | below("encoder_q.", s) | {"queue": torch.ones(2)}, "encoder_k"),
    "DINO": (lambda s: {"student": below("backbone.", other(s)), "teacher": below("backbone.", s)}, "student"),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs_of_other_trainers(
    name: str, tmp_path: Path, resnet: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    wrap, aside = RUNS[name]
    torch.save(wrap(resnet), tmp_path / "run.pth")
    assert same(weights.load_backbone(tmp_path / "run.pth"), resnet)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"run\.pth: left aside.*{aside}", line), line


def test_transformers_with_decoders_and_mask_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = build("vit_s").state_dict()
    decoder = {"mask_token": torch.ones(1, 1, 8), "decoder_embed.weight": torch.ones(8, 384)}
    for content in (
        {"model": state | decoder, "epoch": 3},
        {
            "teacher": below("backbone.", state | {"mask_token": torch.ones(1, 384)}),
            "student": below("b.", other(state)),
        },
    ):
        torch.save(content, tmp_path / "vit.pth")
        assert same(weights.load_backbone(tmp_path / "vit.pth"), state)
    torch.save(state | {"blocks.0.ls1.gamma": torch.ones(384)}, tmp_path / "scaled.pth")
    with pytest.raises(UsageError, match=r"does not fit vit_s: unknown blocks\.0\.ls1\.gamma"):
        weights.load_backbone(tmp_path / "scaled.pth")
    large = {k: v for k, v in state.items() if "blocks.11." not in k}
    torch.save(large, tmp_path / "short.pth")
    with pytest.raises(UsageError, match=r"its patch_embed\.proj\.weight is 384 x 3 x 16 x 16, with 11 blocks"):
        weights.load_backbone(tmp_path / "short.pth")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1/0",))


@pytest.mark.parametrize("zipped", [True, False])
def test_files_cannot_run_code(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "evil.pt"
    if zipped:
        torch.save({"state_dict": Evil()}, path)
    else:
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UsageError, match="cannot be read"):
        weights.load_backbone(path)


def test_arrays_of_numpy_beside_the_weights_or_as_weights_are_read(tmp_path: Path) -> None:
    """Scores that trainers keep, and weights of other frameworks; a file of nothing is told from one of code."""
    state = build("resnet18").state_dict()
    torch.save({"best": np.array([0.5]), "epoch": np.float64(3), "model": state}, tmp_path / "run.pth")
    torch.save({name: value.numpy() for name, value in state.items()}, tmp_path / "arrays.pth")
    for name in ("run.pth", "arrays.pth"):
        found, _ = weights.backbone_and_note(tmp_path / name, None)
        assert all(torch.equal(value, state[key]) for key, value in found.state_dict().items())
    for text in ("", "hello"):
        (tmp_path / "none.pth").write_text(text)
        with pytest.raises(UsageError, match=r"weights .it is none that torch"):
            weights.backbone_and_note(tmp_path / "none.pth", None)
