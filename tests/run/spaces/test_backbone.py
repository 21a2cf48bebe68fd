"""`curate embed`: a backbone becomes a space with a threshold, clusters, manifests; and builds go on with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from curate import cli, recipe
from curate.calibration import calibrate
from curate.errors import UsageError
from curate.manifests.candidates import Criteria, candidates
from curate.manifests.verify import verify
from curate.pretrain.backbones import build as network
from curate.pretrain.weights import save_backbone
from curate.recipe import CropSettings
from curate.run.build import BuildOutcome, build, embed
from curate.run.cluster import Executor
from curate.run.spaces import backbone as backbone_space
from curate.stages.appearance import describe
from curate.storage.build import Build, open_build
from tests.run.conftest import SETTINGS

appearance = partial(describe, margin=CropSettings().margin)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "backbone.pt"
    save_backbone(network("resnet18"), path)
    return path


@pytest.fixture
def copied(whole: BuildOutcome, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.build.path, tmp_path / "build"))


@pytest.fixture(scope="module")
def embedded(whole: BuildOutcome, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    out = Path(shutil.copytree(whole.build.path, tmp_path_factory.mktemp("embedded") / "build"))
    return embed(out, backbone, "mine", threshold=0.9).build


def test_the_build_has_one_more_space_and_still_proves_itself(embedded: Build, whole: BuildOutcome) -> None:
    told = embedded.info.spaces["mine"].to_dict()
    assert told["dimension"] == 512 and told["threshold"] == 0.9
    assert told["backbone"]["arch"] == "resnet18" and len(told["backbone"]["sha256"]) == 64
    assert embedded.vectors("mine").shape == (embedded.info.counts.faces, 512)
    assert embedded.info.counts.clusters["mine"] >= 1
    assert verify(embedded.path) == []
    for space in whole.build.spaces:  # what was there is as it was
        assert np.array_equal(embedded.vectors(space), whole.build.vectors(space))
        assert embedded.clusters(space).equals(whole.build.clusters(space))


def test_manifests_are_cut_in_the_new_space(embedded: Build) -> None:
    written = candidates(embedded, Criteria("mine")).cut(embedded.path / "manifests" / "mine.parquet", None, 0.0)
    assert written.metadata.space == "mine" and written.metadata.threshold == 0.9
    assert written.metadata.size == embedded.info.counts.clusters["mine"]
    assert verify(embedded.path) == []
    told = json.loads((embedded.path / "redundancy-mine.json").read_text())
    assert told["space"] == "mine" and told["faces"] == embedded.info.counts.faces


def test_vectors_are_those_of_the_backbone_alone(embedded: Build, backbone: Path) -> None:
    rows = np.array([0, 3])
    crops = np.stack(calibrate.crops_of(embedded, rows))
    centre = embedded.info.spaces["mine"].more["backbone"]["centre"]
    expected = backbone_space.Embedder(backbone, "cpu", centre=centre)(crops)
    np.testing.assert_allclose(embedded.vectors("mine")[rows].astype(np.float32), expected, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)


def test_what_all_faces_share_is_taken_off(embedded: Build, backbone: Path) -> None:
    crops = np.stack(calibrate.crops_of(embedded, np.arange(embedded.info.counts.faces)))
    raw = backbone_space.Embedder(backbone, "cpu").features(crops)
    videos = embedded.faces(["video_id"])["video_id"].to_numpy(zero_copy_only=False)
    assert len(crops) <= backbone_space.CENTRED and len(set(videos)) > 1  # so that all faces count
    centre = np.array(embedded.info.spaces["mine"].more["backbone"]["centre"])
    np.testing.assert_allclose(centre, raw.astype(np.float64).mean(0), atol=1e-5)
    left = raw - centre
    expected = left / np.linalg.norm(left, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded.vectors("mine").astype(np.float64), expected, atol=2e-3)


def test_a_second_time_embeds_nothing_and_a_kill_costs_only_the_rest(copied: Path, backbone: Path) -> None:
    calls = []
    real = backbone_space.Embedder.__call__

    def counted(self: backbone_space.Embedder, crops: np.ndarray) -> np.ndarray:
        calls.append(len(crops))
        if len(calls) == 2 and not (copied / "clusters" / "mine.parquet").exists():
            raise KeyboardInterrupt
        return real(self, crops)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone_space.Embedder, "__call__", counted)
        with pytest.raises(KeyboardInterrupt):
            embed(copied, backbone, "mine", threshold=0.9)
        first = calls[0]
        assert "mine" not in open_build(copied).info.spaces
        calls[:] = [0, 0]
        embed(copied, backbone, "mine", threshold=0.9)
        assert 0 < sum(calls) == open_build(copied).info.counts.faces - first
        calls[:] = [0, 0]
        embed(copied, backbone, "mine", threshold=0.9)
        assert calls == [0, 0]
    assert verify(copied) == []


def test_a_later_build_keeps_the_space_and_drops_it_only_when_it_must(
    copied: Path, listed: Path, backbone: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.pt"
    shutil.copy(backbone, own)
    embed(copied, own, "mine", threshold=0.9)
    again = build(str(listed), copied, recipe.load(None, SETTINGS), Executor(1))
    assert again.ran == [] and "mine" in again.build.info.spaces
    own.unlink()  # no longer needed while nothing is new
    assert "mine" in build(str(listed), copied, recipe.load(None, SETTINGS), Executor(1)).build.info.spaces
    other = recipe.load(None, SETTINGS | {"crop.size": 192})
    changed = build(str(listed), copied, other, Executor(1)).build
    assert "mine" not in changed.info.spaces and not (copied / "embeddings" / "mine").exists()
    assert verify(copied) == []


def test_the_threshold_is_calibrated_from_the_build_itself(whole: BuildOutcome, tmp_path: Path) -> None:
    vectors = whole.build.vectors("appearance").astype(np.float32)
    unlike = int(np.argmin(vectors @ vectors[0]))
    with pytest.MonkeyPatch.context() as patch:
        # a clip of a still photograph shows no expressions; another picture stands in for them
        patch.setattr(calibrate, "FEWEST", 1)
        patch.setattr(calibrate, "changed_pairs", lambda *_: (np.array([0]), np.array([unlike]), {}))
        result = calibrate.calibrate(whole.build, "appearance", appearance, 0.5)
    assert 0 < result.threshold <= 1 and result.recall > 0.8 and result.false == 0
    assert result.pairs["same"] == sum(1 for _ in result.by_edit) * min(calibrate.EDITED, len(whole.build.faces()))
    assert result.strangers is not None and result.strangers < result.threshold


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "appearance"], "other than appearance and identity"),
        (["--space", "../up"], "small letters"),
        (["--space", "x", "--threshold", "1.5"], "--threshold 1.5"),
        (["--space", "x", "--device", "tpu"], "'--device': 'tpu' is not one of"),
        (["--space", "x", "--backbone", "missing.pt"], "missing.pt"),
    ],
)
def test_mistakes_are_told_in_one_line(
    whole: BuildOutcome, backbone: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["curate", "embed", str(whole.build.path), "--backbone", str(backbone), *arguments]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", given)
        cli.main()
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and message in told[0]


def test_too_little_to_go_by_asks_for_a_threshold(copied: Path, backbone: Path) -> None:
    with pytest.raises(UsageError, match="give --threshold"):
        embed(copied, backbone, "mine")


def test_the_command_itself(copied: Path, backbone: Path) -> None:
    command = [sys.executable, "-m", "curate", "embed", copied, "--backbone", backbone, "--space", "mine"]
    done = subprocess.run([*command, "--threshold", "0.9"], capture_output=True, text=True, check=True)
    assert "mine: " in done.stdout and "redundant" in done.stdout
    assert (copied / "report.html").is_file()
