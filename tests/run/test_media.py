from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from curate.recipe import Fetch
from curate.records import Source
from curate.run.media import MediaStore
from curate.stages import fetch

SIZE = 1000


def source(name: str, **part: float) -> Source:
    url = f"memory://media/{name}.mp4"
    fsspec.filesystem("memory").pipe_file(f"/media/{name}.mp4", name.encode() * (SIZE // len(name)))
    return Source(f"{name}-{part}", url, url, **part)


def held(folder: Path) -> list[str]:
    return sorted(path.stem.rsplit("-", 1)[0] for path in folder.iterdir() if path.suffix == ".mp4")


@pytest.mark.parametrize(("keep", "good", "left"), [(True, True, ["a"]), (False, True, []), (True, False, [])])
def test_what_is_kept(tmp_path: Path, keep: bool, good: bool, left: list[str]) -> None:
    media, settings, one = tmp_path / "media", Fetch(keep_media=keep), source("a")
    store = MediaStore(media, settings, [one])
    fetch.fetch(one, settings, media)
    store.settle(one, good=good)
    assert held(media) == left
    store.close()
    assert media.exists() == bool(left)


def test_ranges_share_a_download_until_the_last_is_done(tmp_path: Path) -> None:
    settings = Fetch(keep_media=False)
    parts = [source("a", start_s=float(place)) for place in range(3)]
    store = MediaStore(tmp_path, settings, parts)
    for part in parts:
        assert fetch.fetch(part, settings, tmp_path) and held(tmp_path) == ["a"]
        store.settle(part, good=False)
    assert held(tmp_path) == []


def test_the_oldest_go_first_but_what_is_still_needed_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Fetch(media_budget=3 * SIZE)
    older, needed = source("older"), source("needed")
    for place, one in enumerate((needed, older)):
        fetch.fetch(one, settings, tmp_path)
        os.utime(tmp_path / f"{fetch.name_of(one.source)}.json", ns=(place, place))
    todo = [source(name) for name in ("a", "b", "c")]
    store = MediaStore(tmp_path, settings, [*todo, needed])
    for one in todo:
        fetch.fetch(one, settings, tmp_path)
        store.settle(one, good=True)
    assert held(tmp_path) == ["b", "c", "needed"]
    store.close()
    assert "2 downloads" in capsys.readouterr().err


def test_what_a_killed_run_left_of_others_goes(tmp_path: Path) -> None:
    wanted, other = source("a"), source("b")
    for one in (wanted, other):
        (tmp_path / f".part-{fetch.name_of(one.source)}").mkdir()
    MediaStore(tmp_path, Fetch(), [wanted])
    assert [path.name for path in tmp_path.iterdir()] == [f".part-{fetch.name_of(wanted.source)}"]
