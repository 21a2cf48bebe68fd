from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import UsageError
from curate.storage.documents import append_lines, mapping, read_json, read_lines, try_json, write_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.dictionaries(TEXT, st.integers(-(2**53), 2**53) | TEXT | st.none(), min_size=1)


@given(value=VALUES, part=st.floats(0, 1))
def test_a_document_comes_back_and_cut_off_anywhere_it_is_named(
    value: dict[str, Any], part: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("d") / "note.json"
    write_json(path, value)
    assert read_json(path, mapping, "") == value
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * (len(whole) - 2))])
    with pytest.raises(UsageError, match=r"note\.json: is cut off or damaged .*; write it again"):
        read_json(path, mapping, "write it again")
    assert try_json(path, mapping) is None


def test_what_does_not_have_the_shape_is_damaged_too(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": 1})
    with pytest.raises(UsageError, match="no 'other'"):
        read_json(tmp_path / "a.json", lambda value: value["other"], "")
    with pytest.raises(UsageError, match="there is no such file; make it"):
        read_json(tmp_path / "b.json", mapping, "make it")


def test_lines_pass_over_a_cut_off_last_one_and_name_any_other(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"a": 1}, {"a": 2}])
    path.write_text(path.read_text() + '{"a": 3')
    assert list(read_lines(path, mapping, "")) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a"\n\n{"a": 3}\n')
    with pytest.raises(UsageError, match=r"lines\.jsonl:2: .*; remove the line"):
        list(read_lines(path, mapping, "remove the line"))
    path.write_text("[]\n")
    with pytest.raises(UsageError, match=r"lines\.jsonl:1: a JSON object is wanted"):
        list(read_lines(path, mapping, ""))
