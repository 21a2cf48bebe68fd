from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import UsageError
from curate.run.steps import Steps


def test_a_step_runs_once_until_what_it_depends_on_or_its_output_changes(tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    runs: list[int] = []

    def work() -> int:
        output.write_text("x")
        runs.append(1)
        return len(runs)

    def once(depends: object) -> object:
        return Steps.load(tmp_path / "steps.json").run("a", depends, [output], work)

    assert once([1]) == 1 and once([1]) == 1
    assert once([2]) == 2
    output.unlink()
    assert once([2]) == 3


def test_a_step_runs_again_when_its_output_was_cut_off(tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    for _ in range(2):
        steps = Steps.load(tmp_path / "steps.json")
        steps.run("a", 1, [output], lambda: output.write_text("whole") and None)
        assert steps.ran == ["a"]
        output.write_text("who")


@pytest.mark.parametrize("text", ["{half", "[]", '{"a": {"key": "k"}}', ""])
def test_a_damaged_memory_is_named_with_the_fix(text: str, tmp_path: Path) -> None:
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(UsageError, match=r"steps\.json: is cut off or damaged .*delete it"):
        Steps.load(tmp_path / "steps.json")
