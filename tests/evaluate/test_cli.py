"""`curate evaluate` as a user types it: measurements, tables, figures, and mistakes in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from curate import cli
from curate.evaluate import read_results
from curate.pretrain.backbones import build
from tests.evaluate import layouts
from tests.evaluate.tiny import tiny

SMALL = ["--set", "crop.size=32", "--set", "extract.batch=8", "--device", "cpu"]
RANDOM = ["--backbone", "random", "--arch", "resnet18", *SMALL]


def curate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `curate evaluate ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["curate", "evaluate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a small data set in `faces/`."""
    folder = tmp_path_factory.mktemp("user")
    layouts.make_csv(folder / "faces", count=30)
    (folder / "empty.jsonl").write_text("")
    (folder / "torn.jsonl").write_text('{"a": 1}\n{"b": 2}\n')
    (folder / "wrong.yaml").write_text("linear: {stength: 1}\n")
    (folder / "noise.pt").write_bytes(b"noise")
    (folder / "noise.onnx").write_bytes(b"noise")
    return folder


def test_cells_are_measured_appended_and_tabled(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    cell = [*RANDOM, "--task", "emotion", "--dataset", "csv", "--data", "faces"]
    assert curate(monkeypatch, *cell, "--fraction", "1", "--fraction", "0.5", "--seeds", "2") == 0
    said = capsys.readouterr()
    assert "random" in said.out and "50 %" in said.out and "±" in said.out
    assert "features: 30 of 30" in said.err and "results.jsonl" in said.err
    assert curate(monkeypatch, *cell, "--mode", "knn", "--shots", "1", "--shots", "2") == 0
    capsys.readouterr()
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    assert {(r["mode"], r["fraction"], r["shots"], r["seed"]) for r in rows} == {
        ("linear", 1.0, None, 0), ("linear", 0.5, None, 0), ("linear", 1.0, None, 1), ("linear", 0.5, None, 1),
        ("knn", 1.0, 1, 0), ("knn", 1.0, 2, 0),
    }  # fmt: skip
    for form, sign in (("text", "---"), ("markdown", "|---|"), ("latex", r"\toprule"), ("html", "<table>")):
        assert curate(monkeypatch, "--table", "results.jsonl", "--format", form) == 0
        assert sign in capsys.readouterr().out
    assert curate(monkeypatch, "--table", "results.jsonl", "--figures", "figures") == 0
    capsys.readouterr()
    assert list(Path("figures").glob("few-shot-*.svg"))


CELL = ["--task", "emotion", "--dataset", "csv", "--data", "faces"]


@pytest.mark.parametrize(
    ("told", "arguments"),
    [
        ("--backbone, --task, --dataset, --data missing", []),
        ("--data missing", [*RANDOM, "--task", "emotion", "--dataset", "csv"]),
        (
            "'feelings' is not one of 'recognition'",
            [*RANDOM, "--task", "feelings", "--dataset", "csv", "--data", "faces"],
        ),
        ("--dataset cvs", [*RANDOM, "--task", "emotion", "--dataset", "cvs", "--data", "faces"]),
        ("there is no such folder", [*RANDOM, "--task", "emotion", "--dataset", "csv", "--data", "nowhere"]),
        ("labels.csv", [*RANDOM, "--task", "emotion", "--dataset", "csv", "--data", "."]),
        ("give one of them", [*RANDOM, *CELL, "--fraction", "0.5", "--shots", "2"]),
        ("--fraction 2.0", [*RANDOM, *CELL, "--fraction", "2"]),
        ("--shots 0", [*RANDOM, *CELL, "--shots", "0"]),
        ("--seeds 0", [*RANDOM, *CELL, "--seeds", "0"]),
        ("'--mode': 'lineer' is not one of", [*RANDOM, *CELL, "--mode", "lineer"]),
        ("'--device': 'gpu' is not one of", [*RANDOM, *CELL, "--device", "gpu"]),
        ("--arch resnet7: none of", ["--backbone", "random", "--arch", "resnet7", *SMALL, *CELL]),
        ("nothing.pt", ["--backbone", "nothing.pt", *CELL]),
        ("noise.pt", ["--backbone", "noise.pt", *CELL]),
        ("noise.onnx", ["--backbone", "noise.onnx", *CELL]),
        ("linear.strengths", [*RANDOM, *CELL, "--recipe", "wrong.yaml"]),
        ("linear.strengths", [*RANDOM, *CELL, "--set", "linear.stength=1"]),
        ("'--format': 'word' is not one of 'text'", [*RANDOM, *CELL, "--format", "word"]),
        ("needs --table", [*RANDOM, *CELL, "--figures", "f"]),
        ("none.jsonl", ["--table", "none.jsonl"]),
        ("no measurements yet", ["--table", "empty.jsonl"]),
        ("torn.jsonl:1", ["--table", "torn.jsonl"]),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    told: str, arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert curate(monkeypatch, *arguments, *(() if "--table" in arguments else ("--out", "mistakes.jsonl"))) == 2
    errors = capsys.readouterr().err
    assert told in errors and len(errors.strip().splitlines()) == 1, errors
    assert not Path("mistakes.jsonl").exists()


def script(path: Path) -> None:
    torch.jit.save(torch.jit.trace(tiny(), torch.zeros(1, 3, 32, 32), check_trace=False), str(path))


def onnx_means(path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
        "means",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def paper(path: Path) -> None:
    state = {f"module.base_net.{k}": v for k, v in build("resnet18").state_dict().items()}
    torch.save({"state_dict": state | {"module.prototypes.weight": torch.zeros(3, 4)}, "epoch": 400}, path)


def torchvision(path: Path) -> None:
    torch.save(build("resnet18").state_dict() | {"fc.weight": torch.zeros(9, 512), "fc.bias": torch.zeros(9)}, path)


def timm(path: Path) -> None:
    torch.save(build("vit_s").state_dict() | {"head.weight": torch.zeros(9, 384), "head.bias": torch.zeros(9)}, path)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "name", "arch"),
    [
        (script, "net.ts", None),
        (onnx_means, "net.onnx", None),
        (paper, "flr_r18.pth", "resnet18"),
        (torchvision, "tv.pth", "resnet18"),
        (timm, "vit.pth", "vit_s"),
    ],
)
def test_backbones_of_every_kind(
    make: Callable[[Path], None], name: str, arch: str | None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    make(Path(name))
    out = f"{name}.jsonl"
    assert curate(monkeypatch, "--backbone", name, *CELL, *SMALL, "--mode", "knn", "--out", out) == 0
    assert {(r.backbone, r.arch) for r in read_results(Path(out))} == {(name, arch)}


def test_what_cannot_be_trained_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    onnx_means(Path("frozen.onnx"))
    assert curate(monkeypatch, "--backbone", "frozen.onnx", *CELL, *SMALL, "--mode", "finetune") == 2
    assert "frozen.onnx cannot be trained" in capsys.readouterr().err


def test_a_planted_leak_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = layouts.make_csv(tmp_path / "faces", subjects=True) / "labels.csv"
    labels.write_text(labels.read_text().replace("test,test0", "test,train1", 1))
    assert curate(monkeypatch, *RANDOM, *CELL) == 2
    errors = capsys.readouterr().err
    assert "subject train1 is in both" in errors and len(errors.strip().splitlines()) == 1
    assert not Path("results.jsonl").exists()


@pytest.mark.parametrize("rule", ["random", "uniform", "cover"])
def test_frames_of_videos_are_subsampled(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layouts.make_bp4d(tmp_path / "BP4D")
    cell = ["--task", "action_units", "--dataset", "bp4d", "--data", "BP4D", "--mode", "knn"]
    told = ["--set", f"frames.rule={rule}", "--set", "frames.share=0.25"]
    assert curate(monkeypatch, *RANDOM, *cell, *told) == 0
    found = read_results(Path("results.jsonl"))
    assert {(r.frames, r.n_train) for r in found} == {(f"{rule}:0.25", 4)}
    (listed,) = Path("subsets").glob(f"*-{found[0].subset}.txt")
    assert len(listed.read_text().splitlines()) == 5


def test_notes_of_a_data_set_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (layouts.make_affectnet(tmp_path / "A") / "Manually_Annotated/Manually_Annotated_Images/0/3.jpg").unlink()
    cell = ["--task", "emotion", "--dataset", "affectnet", "--data", "A", "--mode", "knn"]
    assert curate(monkeypatch, *RANDOM, *cell) == 0
    assert "affectnet: 1 annotated pictures are not in the folder" in capsys.readouterr().err
