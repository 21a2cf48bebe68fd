from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import UsageError
from curate.study import results
from tests.study.invented import lines, nothing


def test_a_kill_costs_the_last_line_and_damage_elsewhere_is_named(tmp_path: Path) -> None:
    path = tmp_path / results.NAME
    results.repair(path)
    measured = lines(nothing)[:3]
    results.append(path, measured)
    whole = path.read_bytes()
    results.repair(path)
    assert path.read_bytes() == whole
    for end in (len(whole) - 2, len(whole) - len(measured[-1].line())):
        path.write_bytes(whole[:end])
        results.repair(path)
        assert path.read_bytes() == whole[: whole.rindex(b"\n", 0, -1) + 1]
    path.write_bytes(whole[:-1])  # all of it but the end of the line
    results.repair(path)
    assert len(results.read(path)) == 3
    spoiled = whole.replace(b"{", b"", 1)
    path.write_bytes(spoiled)
    results.repair(path)
    assert path.read_bytes() == spoiled
    with pytest.raises(UsageError, match=r"results\.jsonl:1: no JSON"):
        results.read(path)
    path.write_bytes(b'{"backbone": "cut o')
    results.repair(path)
    assert path.read_bytes() == b""
