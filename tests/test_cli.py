from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import curate
from curate import cli
from curate.choices import Method
from tests.run import clips


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "ok.txt").write_text("grey.mp4\n")
    clips.write(folder / "grey.mp4", np.full((120, 160, 3), 90, np.uint8), frames=3)
    (folder / "r.yaml").write_text("fpss: 3\n")
    (folder / "broken.yaml").write_text("a: [1\n")
    (folder / "empty.txt").write_text("\n# none\n")
    (folder / "dead.txt").write_text("nothing-here.mp4\n")
    (folder / "nosource.csv").write_text("a,b\n1,2\n")
    (folder / "noise.parquet").write_bytes(np.random.default_rng(1).bytes(2000))
    (folder / "nomodels").mkdir()
    return folder


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["curate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    code = stopped.value.code
    return (code if isinstance(code, int) else 1), capsys.readouterr().err


def test_a_shell_completes_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("_CURATE_COMPLETE", "complete_bash"), ("COMP_WORDS", "curate man"), ("COMP_CWORD", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["curate"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out.split() == ["manifest"]


def test_alone_it_prints_its_help_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["curate"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    assert stopped.value.code == 2 and "manifest" in said.out and said.err == ""


@pytest.mark.parametrize(
    ("told", "arguments"),
    [
        ("none.txt", ["--source", "none.txt"]),
        ("empty.txt", ["--source", "empty.txt"]),
        ("did you mean fps", ["--source", "ok.txt", "--recipe", "r.yaml"]),
        ("broken.yaml:2", ["--source", "ok.txt", "--recipe", "broken.yaml"]),
        ("fps = -3", ["--source", "ok.txt", "--set", "fps=-3"]),
        ("no.such", ["--source", "ok.txt", "--set", "no.such=1"]),
        ("--set fps", ["--source", "ok.txt", "--set", "fps"]),
        ("nomodels", ["--source", "ok.txt", "--faces", "insightface", "--models", "nomodels"]),
        ("needs --models", ["--source", "ok.txt", "--faces", "insightface"]),
        ("source", ["--source", "nosource.csv"]),
        ("noise.parquet", ["--source", "noise.parquet"]),
        ("1.5", ["--source", "ok.txt", "--redundancy", "1.5"]),
        ("threshold = 7", ["--source", "ok.txt", "--threshold", "7"]),
        ("--retry", ["--source", "ok.txt", "--retry", "sometimes"]),
        ("--fps", ["--source", "ok.txt", "--fps", "many"]),
        (
            "'--faces': 'cv' is not one of 'auto', 'insightface', 'centerface', 'dlib'",
            ["--source", "ok.txt", "--faces", "cv"],
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    told: str, arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    status, errors = run(["build", *arguments, "--out", "out"], monkeypatch, capsys)
    assert status == 2 and told in errors, errors
    assert len(errors.strip().splitlines()) == 1 and not (place / "out").exists()


@pytest.mark.parametrize(
    ("told", "command"),
    [
        ("'--order': 'least' is not one of 'largest', 'random_walk'",
         ["manifest", "B", "--out", "o", "--order", "least"]),
        ("'--device': 'gpu' is not one of 'auto', 'cpu', 'cuda'",
         ["embed", "B", "--backbone", "b.pt", "--space", "s", "--device", "gpu"]),
        ("'--format': 'zip' is not one of 'webdataset', 'imagefolder'",
         ["export", "m.parquet", "--out", "o", "--format", "zip"]),
        ("'--device': 'gpu' is not one of", ["study", "r.yaml", "--out", "o", "--device", "gpu"]),
    ],
)  # fmt: skip
def test_a_word_that_is_none_of_the_choices(
    told: str, command: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    status, errors = run(command, monkeypatch, capsys)
    assert status == 2 and told in errors and len(errors.strip().splitlines()) == 1


@pytest.mark.parametrize("command", [["manifest", "nowhere", "--out", "m.parquet"], ["redundancy", "nowhere"]])
def test_a_build_that_is_not_there(
    command: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    status, errors = run(command, monkeypatch, capsys)
    assert status == 2 and "nowhere" in errors and len(errors.strip().splitlines()) == 1


def test_no_source_that_can_be_read_is_status_1(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    status, errors = run(
        ["build", "--source", "dead.txt", "--out", str(tmp_path / "o"), "--workers", "1"], monkeypatch, capsys
    )
    assert status == 1 and "nothing-here.mp4" in errors and "Traceback" not in errors


def test_help_is_there_without_loading_torch() -> None:
    code = (
        "import sys; sys.argv = ['curate', '--help']\nfrom curate import cli\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "build" in shown and "manifest" in shown


def test_help_tells_choices_and_defaults(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["curate", "pretrain", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(method in shown for method in get_args(Method)) and "<auto|cpu|cuda>" in shown
    assert all(f"[default: ({word})]" in shown for word in ("swav", "the method's own", "256", "auto"))


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["curate", "--version"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert (stopped.value.code, capsys.readouterr().out) == (0, f"curate {curate.__version__}\n")


@pytest.mark.parametrize("option", ["--out", "--figures"])
def test_results_at_a_url_are_refused(
    option: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    status, errors = run(["evaluate", option, "s3://bucket/r.jsonl"], monkeypatch, capsys)
    assert status == 2 and "s3://bucket/r.jsonl: only builds can be written to a URL" in errors
    assert len(errors.strip().splitlines()) == 1


def test_doctor_says_what_is_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["curate", "doctor"])
    monkeypatch.setattr("curate.stages.fetch_check.javascript_runtimes", list)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = capsys.readouterr().out
    assert stopped.value.code == 0 and "dlib" in shown and "faiss" in shown and "CC0" in shown and "centerface" in shown
    assert "JPEG on the GPU" in shown
    assert 'pip install "yt-dlp[default,deno]"' in shown and "shape_predictor_68_face_landmarks.dat" in shown


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    heard = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"  # background jobs ignore it
    code = f"{heard}; from curate import cli; sys.argv[0] = 'curate'; cli.main()"
    command = [sys.executable, "-c", code, "demo", "--out", str(tmp_path / "demo")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "demo").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "curate: stopped; run the same command again to go on"


def test_memory_that_runs_out_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("curate.run.status.status", lambda _: np.empty(1 << 60, np.uint8))
    code, said = run(["status", str(place)], monkeypatch, capsys)
    assert code == 1 and said == (
        "curate: memory ran out; what was done stays done: free some and run the same command again\n"
    )
