from __future__ import annotations

from pathlib import Path

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


def test_a_damaged_memory_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "steps.json").write_text("{half")
    steps = Steps.load(tmp_path / "steps.json")
    assert steps.run("a", 1, [], lambda: 5) == 5 and steps.ran == ["a"]
