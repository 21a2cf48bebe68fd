"""Paths that annotations write, links, and folders one too high or too low."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curate.errors import UsageError
from curate.evaluate.datasets import read
from curate.evaluate.datasets.folder import Folder, numbered
from tests.evaluate import layouts
from tests.evaluate.test_datasets import MINIATURES


def link_away(place: Path, elsewhere: Path) -> None:
    """Moves a folder to another disk and leaves a link."""
    place.rename(elsewhere)
    place.symlink_to(elsewhere)


@pytest.mark.parametrize("name", sorted(set(MINIATURES) - {"florence", "bp4d"}))
def test_data_on_another_disk_is_read_as_if_it_were_here(name: str, tmp_path: Path) -> None:
    task, make, expected = MINIATURES[name]
    root = make(tmp_path / "data")
    before = read(name, task, root)
    for i, place in enumerate(sorted(p for p in root.iterdir() if p.is_dir())):
        link_away(place, tmp_path / f"disk{i}")
        for k, below in enumerate(sorted(p for p in (tmp_path / f"disk{i}").iterdir() if p.is_dir())):
            link_away(below, tmp_path / f"disk{i}-{k}")
    after = read(name, task, root)
    assert [s.id for s in after.samples] == [s.id for s in before.samples] and len(after.samples) == sum(
        expected.values()
    )
    assert after.notes == before.notes


def test_only_what_is_written_can_lead_out(tmp_path: Path) -> None:
    root = layouts.make_pairs(tmp_path / "data")
    folder = Folder(root, "pairs", "")
    file = root / "pairs.csv"
    assert folder.inside("p10/../p11/x.jpg", file, 2) == root / "p11" / "x.jpg"
    assert folder.inside("..\\p11\\x.jpg", file, 2, root / "p10") == root / "p11" / "x.jpg"
    assert folder.inside(str(root / "p10" / "x.jpg"), file, 2) == root / "p10" / "x.jpg"
    for out in ("../x.jpg", "p10/../../x.jpg", "/etc/passwd", "", ".", "a\0b"):
        with pytest.raises(UsageError, match=r"pairs\.csv:2: .*no path inside"):
            folder.inside(out, file, 2)


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path / "data")
    (root / "images" / "more").symlink_to(tmp_path / "unmounted")
    assert f"1 links below {root} lead nowhere, the first is images/more" in read("csv", "emotion", root).notes


@pytest.mark.parametrize("name", ["300w", "disfa", "lfw", "csv", "affectnet"])
def test_one_folder_too_high_or_too_low_is_recognised(name: str, tmp_path: Path) -> None:
    task, make, _ = MINIATURES[name]
    root = make(tmp_path / "outer" / "data")
    with pytest.raises(UsageError, match=rf"it is one folder below: --data {root}"):
        read(name, task, tmp_path / "outer")
    low = next(p for p in sorted(root.iterdir()) if p.is_dir() and p.name != "afw")
    with pytest.raises(UsageError, match=rf"it is in the folder above: --data {root}"):
        read(name, task, low)


def test_frame_numbers_are_the_last_ones_that_differ() -> None:
    paths = [Path(f"{name}.png") for name in ("S1_0003_0", "S1_0001_0")]
    assert {n: p.stem for n, p in numbered(paths).items()} == {3: "S1_0003_0", 1: "S1_0001_0"}
    with pytest.raises(UsageError, match=r"b\.png: there is no frame number"):
        numbered([Path("a1.png"), Path("b.png")])
    with pytest.raises(UsageError, match=r"1\.jpg: there is another file with the number 1"):
        numbered([Path("x1.png"), Path("x1.jpg")])


def test_lists_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    for name in sorted(set(MINIATURES) - {"bp4d", "florence", "fer2013", "lfw"}):
        task, make, expected = MINIATURES[name]
        root = make(tmp_path / name)
        for place, _, files in os.walk(root):
            for path in (Path(place, file) for file in files):
                if path.suffix in (".txt", ".csv", ".json", ".pts", ".obj"):
                    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert len(read(name, task, root).samples) == sum(expected.values()), name


def test_a_picture_that_was_converted_is_found(tmp_path: Path) -> None:
    """Its suffix is another; a picture with the name as it is written goes before it, two others are ambiguous."""
    pairs = layouts.make_pairs(tmp_path / "own")
    wanted = len(read("pairs", "recognition", pairs).samples)
    for picture in list(pairs.rglob("*.jpg")):
        picture.rename(picture.with_suffix(".PNG"))
    found = read("pairs", "recognition", pairs)
    assert len(found.samples) == wanted and all(sample.id.endswith(".PNG") for sample in found.samples)
    one = tmp_path / "own" / found.samples[0].id
    one.with_suffix(".bmp").write_bytes(one.read_bytes())
    with pytest.raises(UsageError, match=r"is ambiguous: .*\.(bmp|PNG) and"):
        read("pairs", "recognition", pairs)
    cfp = layouts.make_cfp(tmp_path / "cfp")
    for picture in list(cfp.rglob("*.jpg")):
        picture.rename(picture.with_suffix(".png"))
    assert len(read("cfp_fp", "recognition", cfp).samples) == 8
    next(cfp.rglob("*.png")).unlink()
    with pytest.raises(UsageError, match=r"there is no picture cfp-dataset/Data/.*\.jpg; get cfp-dataset\.zip"):
        read("cfp_fp", "recognition", cfp)


def test_a_data_set_two_folders_below_is_named(tmp_path: Path) -> None:
    layouts.make_lfw(tmp_path / "lfw-deepfunneled" / "lfw-deepfunneled")
    with pytest.raises(UsageError, match=f"it is two folders below: --data {tmp_path}/lfw-deepfunneled/lfw-deepf"):
        read("lfw", "recognition", tmp_path)
