from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import StorageError, UsageError
from curate.pretrain import loader, pictures
from curate.pretrain.faces import ManifestFaces
from curate.pretrain.loader import EpochOrder
from curate.storage.manifest import open_manifest
from curate.storage.parquet import read_table

from .conftest import SIZE, picture


def opened(path: Path | str, folder: Path) -> pictures.PackedPictures:
    read = ManifestFaces(open_manifest(path))
    pictures.pack(read, folder)
    return pictures.open_pictures(read, folder)


def test_packed_pictures_are_the_builds(manifest: Path, tmp_path: Path) -> None:
    packed = opened(manifest, tmp_path / "cache")
    table = read_table(manifest)
    for position, (file, row) in enumerate(zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True)):
        stored = pq.read_table(manifest.parent.parent / file)["image"][row]["bytes"].as_py()
        assert packed.jpeg(position) == stored
    assert (packed.height, packed.width) == (SIZE, SIZE)
    packed.close()


def test_remote_pictures_are_the_same(manifest: Path, tmp_path: Path) -> None:
    fsspec.filesystem("memory").put(str(manifest.parent.parent) + "/", "/away/", recursive=True)
    near = opened(manifest, tmp_path / "near")
    far = opened("memory://away/manifests/all.parquet", tmp_path / "far")
    assert [near.jpeg(i) for i in range(64)] == [far.jpeg(i) for i in range(64)]


def test_packs_once_and_again_after_a_change(manifest: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    opened(manifest, cache).close()
    before = (cache / "pictures.bin").stat().st_ino
    opened(manifest, cache).close()
    assert (cache / "pictures.bin").stat().st_ino == before
    (cache / "pictures.bin").write_bytes(b"cut short")
    opened(manifest, cache).close()
    assert (cache / "pictures.bin").stat().st_size > 100
    pictures.discard(cache)
    assert not cache.exists()


def test_full_disk_is_said_in_one_line(manifest: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    (manifest.parent / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        pictures.pack(ManifestFaces(open_manifest(manifest)), manifest.parent / "file" / "below")


@given(st.integers(4, 60), st.integers(1, 9), st.integers(0, 2**31))
def test_each_pass_is_a_permutation_and_any_step_can_be_begun_at(n: int, batch: int, seed: int) -> None:
    batch = min(batch, n)
    order = EpochOrder(np.arange(100, 100 + n), batch, seed)
    per_epoch = order.steps_per_epoch
    steps = [chosen for _, chosen in order.batches(0, 3 * per_epoch)]
    for epoch in range(3):
        seen = np.concatenate(steps[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(np.unique(seen)) == len(seen) == per_epoch * batch
        assert set(seen) <= set(range(100, 100 + n))
    middle = per_epoch + per_epoch // 2
    assert [c.tolist() for _, c in order.batches(middle, 3 * per_epoch)] == [c.tolist() for c in steps[middle:]]
    assert order.at(middle).tolist() == steps[middle].tolist()


def test_shuffle_is_uniform_over_the_whole_manifest() -> None:
    """Each picture is as likely in the first batch as any other, however far apart they lie (chi-square test)."""
    hits = np.zeros(50)
    for seed in range(2000):
        hits[EpochOrder(np.arange(50), 5, seed).at(0)] += 1
    statistic = ((hits - 200) ** 2 / 200).sum()
    assert statistic < 85  # 99.9 % quantile of 49 degrees of freedom


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("world", [1, 2])
def test_same_batches_for_any_number_of_threads_and_processes(
    manifest: Path, tmp_path: Path, workers: int, world: int
) -> None:
    packed = opened(manifest, tmp_path / "cache")
    order = EpochOrder(np.arange(64), 20, 7)
    streams = [
        loader.batches(packed, order, range(2, 8), (rank, world), loader.ReadAhead(workers, batches=2))
        for rank in range(world)
    ]
    for step, parts in zip(range(2, 8), zip(*streams, strict=True), strict=True):
        assert {part.step for part in parts} == {step}
        assert np.concatenate([part.positions for part in parts]).tolist() == order.at(step).tolist()
        for part in parts:
            for position, image in zip(part.positions, part.images.numpy(), strict=True):
                np.testing.assert_array_equal(image, simplejpeg.decode_jpeg(packed.jpeg(position)))


def test_damaged_pictures_are_replaced_and_told(make_build: Callable[..., Path], tmp_path: Path) -> None:
    path = make_build(damage=(3, 17))
    packed = opened(path, tmp_path / "cache")
    ids = read_table(path)["face_id"].to_pylist()
    bad = sorted(ids.index(name) for name in ("face003", "face017"))
    (batch,) = loader.batches(packed, EpochOrder(np.arange(64), 64, 0), range(1), reading=loader.ReadAhead(2))
    assert sorted(batch.damaged.tolist()) == bad
    assert not set(batch.positions.tolist()) & set(bad)
    for position, image in zip(batch.positions, batch.images.numpy(), strict=True):
        face = int(ids[position][4:])
        np.testing.assert_allclose(image.astype(int), picture(face // 8, face % 8), atol=60)


def test_a_missing_row_or_file_is_named(manifest: Path, tmp_path: Path) -> None:
    faces = sorted((manifest.parent.parent / "faces").glob("*.parquet"))
    table = pq.read_table(faces[1])
    pq.write_table(table.slice(0, 5), faces[1])
    with pytest.raises(UsageError, match=r"row 23 of .*part-00001\.parquet, which has 5 rows"):
        opened(manifest, tmp_path / "a")
    faces[1].unlink()
    with pytest.raises(UsageError, match=r"part-00001\.parquet: this file of the build"):
        opened(manifest, tmp_path / "b")
