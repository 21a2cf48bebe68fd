"""The page of a pre-training run: whole, self-contained, escaped, and useful without its manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from curate import pretrain
from curate.errors import UsageError
from curate.pretrain import config, page
from tests.drawing.tags import Tags
from tests.pretrain.conftest import write_build

SETTINGS = {
    "method": "simclr",
    "arch": "tests.pretrain.tiny:small_resnet",
    "batch": 16,
    "crop_size": 32,
    "steps": 6,
    "optimiser.warmup_epochs": 0,
    "simclr.hidden": 8,
    "log.every": 2,
    "device": "cpu",
}
HOSTILE = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a build, two of whose pictures are damaged, and a finished run on it."""
    folder = tmp_path_factory.mktemp("page")
    torch.set_num_threads(1)
    manifest = write_build(folder / "build", damage=(3, 40))
    pretrain.run(manifest, folder / "run", overrides=SETTINGS)
    return folder


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.tags


def test_curves_crops_neighbours_and_settings(place: Path) -> None:
    text = page.write(place / "run").read_text()
    found = tags(text)
    assert sum(tag == "svg" for tag, _ in found) == 5  # loss, probe, rank, rate, speed
    shown = [given for tag, given in found if tag == "img"]
    crops = page.SHOWN * 3  # whole, two crops
    rows = page.QUERIES * (1 + page.NEIGHBOURS)
    assert len(shown) == crops + rows
    assert all(str(given["src"]).startswith("data:image/jpeg;base64,") for given in shown)
    assert not {given.get("alt") for given in shown} & {"face003", "face040"}  # damaged ones are not shown
    assert "simclr tests.pretrain.tiny:small_resnet, 6 steps" in text
    assert "b" * 64 in text
    assert "lr_batch: 256" in text
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", text)
    assert "<script" not in text


def test_neighbours_are_the_nearest_that_are_no_near_duplicates(place: Path) -> None:
    text = page.write(place / "run").read_text()
    for row in re.findall(r'<div class="row">.*?</div></div>', text, re.S):
        cosines = [float(value) for value in re.findall(r"<span>(-?[\d.]+)</span>", row)]
        assert len(cosines) == page.NEIGHBOURS
        assert cosines == sorted(cosines, reverse=True)
        names = re.findall(r'alt="(face\d+)"', row)
        assert len(set(names)) == len(names)
        same = row.count('class="same"')
        persons = [int(name[4:]) // 8 for name in names]
        assert same == sum(person == persons[0] for person in persons[1:])


def test_without_its_manifest_it_says_why(place: Path) -> None:
    manifest = place / "build/manifests/all.parquet"
    kept = manifest.read_bytes()
    try:
        manifest.unlink()
        text = page.write(place / "run").read_text()
        assert "there is no such manifest" in text
        assert "<img" not in text
        assert text.count("<svg") == 5
        manifest.write_bytes(kept[:-1] + b"x")
        assert "cannot be read as a manifest" in page.write(place / "run").read_text()
    finally:
        manifest.write_bytes(kept)


def test_what_was_written_by_others_is_escaped(place: Path) -> None:
    metrics = place / "run/metrics.jsonl"
    kept = metrics.read_text()
    try:
        metrics.write_text(kept + json.dumps({"step": 6, "warning": HOSTILE}) + "\n")
        text = page.write(place / "run").read_text()
        assert HOSTILE not in text
        assert "&lt;script&gt;" in text
    finally:
        metrics.write_text(kept)


def test_a_run_that_broke_off_has_a_page(place: Path) -> None:
    run = place / "broken"
    run.mkdir()
    (run / "config.yaml").write_bytes((place / "run/config.yaml").read_bytes())
    text = page.write(run).read_text()
    assert "metrics.jsonl has no lines" in text
    assert "no backbone.pt yet" in text


def test_mae_hides_patches() -> None:
    recipe = config.load(None, {"method": "mae", "arch": "vit_s", "steps": 1, "crop_size": 64})
    crop = np.full((64, 64, 3), 7, np.uint8)
    (hidden,) = page._hide([crop], recipe.mae.mask_ratio, 16, torch.Generator().manual_seed(0))
    assert (hidden == 128).mean() == 0.75
    assert (crop == 7).all()


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.yaml: no settings of a pre-training run"):
        page.write(tmp_path)


def test_many_lines_are_averaged() -> None:
    lines = [{"step": step, "loss": float(step % 2)} for step in range(10_000)]
    steps, values = page._line(lines, "loss")
    assert len(steps) <= page.POINTS
    assert all(abs(value - 0.5) < 0.05 for value in values)
