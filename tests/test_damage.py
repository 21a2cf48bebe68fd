"""Every file of a build, cut off: each command says so in one line, and none ends in a traceback."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from curate import cli
from curate.manifests.candidates import candidates
from curate.records import VideoRecord
from curate.run.steps import Steps
from curate.storage.build import Build
from curate.storage.documents import write_json
from curate.storage.ledger import Done, Ledger
from tests.manifests.conftest import finish, write_build


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "build"
    write_build(folder)
    candidates(Build(folder)).cut(folder / "manifests" / "m.parquet", 20, 0.0)
    point = {"threshold": 0.9, "clusters": 1, "redundancy": 0.5, "within": 0.3, "across": 0.2, "by_track": 0.1}
    told = {"space": "appearance", "threshold": 0.9, "faces": 300, "videos": 12, "curve": [point], "by_rate": []}
    write_json(folder / "redundancy.json", told)
    with Ledger(folder / "work" / "ledger.sqlite") as ledger:
        for number in range(300):
            ledger.put(Done(VideoRecord(f"v{number}", f"{number}.mp4", "ok"), "", "key"))
    Steps.load(folder / "work" / "steps.json").run("a", 1, [], lambda: 1)
    finish(folder)
    return folder


NAMES = [
    *("build.json", "redundancy.json", "manifests/index.json", "manifests/m.parquet", "videos.parquet"),
    *("faces/part-00000.parquet", "embeddings/appearance/part-00000.parquet", "clusters/appearance.parquet"),
    *("work/ledger.sqlite", "work/steps.json"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
def test_a_file_that_is_cut_off_is_named(
    name: str,
    share: float,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build = tmp_path / "build"
    shutil.copytree(whole, build)
    file = build / name
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    manifest, out = build / "manifests" / "m.parquet", tmp_path / "out"
    said = []
    for words in (
        ["manifest", build, "--size", "10", "--redundancy", "0", "--out", tmp_path / "new.parquet"],
        ["redundancy", build],
        ["verify", build],
        ["export", manifest, "--format", "imagefolder", "--out", out],
        ["status", build],
    ):
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capsys.readouterr()
        assert end.value.code in (0, 1, 2), words
        assert "Traceback" not in shown.err
        if end.value.code == 2:
            assert len(shown.err.strip().splitlines()) == 1, shown.err
        said.append(shown.err + shown.out)
    if name != "work/steps.json" and (name, share) != ("work/ledger.sqlite", 0.0):
        assert any(Path(name).name in text or "index.json" in text for text in said), said
