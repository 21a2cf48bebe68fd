from __future__ import annotations

import re
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import UsageError
from curate.records import Source
from curate.stages.sources import OWN_COLUMNS, read_sources, video_id

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,23}-[0-9a-f]{16}")


def write(folder: Path, name: str, data: str | bytes) -> str:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def refused(spec: str) -> str:
    with pytest.raises(UsageError) as raised:
        read_sources(spec)
    message = str(raised.value)
    assert "\n" not in message and message.isprintable()
    return message


@given(st.text(min_size=1, max_size=200))
def test_ids_are_safe_and_depend_on_the_source_alone(source: str) -> None:
    assert ID.fullmatch(video_id(source))
    assert video_id(source) == video_id(source)
    assert video_id(source, 2) != video_id(source) and ID.fullmatch(video_id(source, 2))


@pytest.mark.parametrize(
    "source",
    ["../../etc/passwd", "--exec", "-", "a\0b", "😀", "x" * 10_000, ".hidden", "C:\\v\\-a.mp4", "\udcff.mp4", "/"],
)
def test_hostile_names_give_safe_ids(source: str) -> None:
    assert ID.fullmatch(video_id(source))


def test_ids_are_those_of_earlier_builds() -> None:
    assert video_id("talks/Ada Lovelace (1).MP4") == "ada-lovelace-1-00fd133b246b2854"
    assert video_id("https://v.example/w%C3%A4tch.mp4?x=1#t") == "watch-30a22962a26f09c4"


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_text_list(tmp_path: Path, bom: str, end: str) -> None:
    lines = ["# talks", "", "a.mp4", "  sub/b c.mkv  ", "/abs/ä.mp4", "https://v.example/w?v=1", "s3://bucket/key.mp4"]
    lines += ["file:///srv/my%20talk.mp4", "a.mp4", "# end"]
    sources = read_sources(write(tmp_path, "list.anything", bom + end.join(lines)))
    assert [source.location for source in sources] == [
        f"{tmp_path}/a.mp4",
        f"{tmp_path}/sub/b c.mkv",
        "/abs/ä.mp4",
        "https://v.example/w?v=1",
        "s3://bucket/key.mp4",
        "/srv/my talk.mp4",
        f"{tmp_path}/a.mp4",
    ]
    assert sources[0].source == sources[-1].source == "a.mp4"
    assert len({source.video_id for source in sources}) == len(sources)


def test_ids_do_not_depend_on_where_the_list_lies_or_what_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = read_sources(write(tmp_path, "list.txt", "a.mp4\n"))[0]
    other = read_sources(write(tmp_path / "other", "long.txt", "z.mp4\na.mp4\na.mp4\n"))[1]
    assert one.video_id == other.video_id and one.location != other.location


def test_home_is_expanded_and_an_unknown_home_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    here, there = read_sources(write(tmp_path, "list.txt", "~/a.mp4\n~nobody-here/a.mp4\n"))
    assert here.location == "/home/ada/a.mp4"
    assert there.location == f"{tmp_path}/~nobody-here/a.mp4"


def test_a_table_carries_its_columns(tmp_path: Path) -> None:
    text = 'title,source,license,faces,note\n"A, B",a.mp4,CC0,3,\nC,https://v.example/c,,,x\n'
    first, second = read_sources(write(tmp_path, "list.csv", text))
    assert first == Source(
        first.video_id,
        "a.mp4",
        f"{tmp_path}/a.mp4",
        {"title": "A, B", "license": "CC0", "source_faces": "3", "note": None},
    )
    assert second.extra["title"] == "C" and second.extra["license"] is None


def test_a_parquet_table_keeps_types_and_drops_what_is_no_scalar(tmp_path: Path) -> None:
    table = pa.table(
        {"source": ["a.mp4", "b.mp4"], "views": [1, None], "rate": [0.5, 1.5], "ok": [True, False], "tags": [["x"], []]}
    )
    pq.write_table(table, tmp_path / "list.parquet")
    first, second = read_sources(str(tmp_path / "list.parquet"))
    assert first.extra == {"views": 1, "rate": 0.5, "ok": True}
    assert second.extra == {"views": None, "rate": 1.5, "ok": False}
    assert OWN_COLUMNS.isdisjoint(first.extra)


def test_a_folder_gives_its_videos_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("z.mp4", "b/a.MKV", "b/notes.txt", "a.gif", ".hidden.mp4"):
        write(tmp_path, name, b"x")
    sources = read_sources(str(tmp_path))
    assert [source.source for source in sources] == ["a.gif", "b/a.MKV", "z.mp4"]
    assert [source.location for source in sources] == [str(tmp_path / source.source) for source in sources]


def test_a_file_name_that_is_no_utf8_is_found_and_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.mp4"
    path.write_bytes(b"x")
    (source,) = read_sources(str(tmp_path))
    assert source.source.encode() and Path(source.location).exists()


def test_one_video_and_one_url(tmp_path: Path) -> None:
    path = write(tmp_path, "one.MOV", b"x")
    assert [source.location for source in read_sources(path)] == [path]
    assert [source.location for source in read_sources(Path(path).as_uri())] == [path]
    url = "https://v.example/watch?v=1"
    assert [(source.source, source.location) for source in read_sources(url)] == [(url, url)]


def test_a_list_may_lie_at_a_url() -> None:
    fsspec.filesystem("memory").pipe_file("/lists/all.txt", b"a.mp4\n/b.mp4\nhttps://v.example/c\n")
    locations = [source.location for source in read_sources("memory://lists/all.txt")]
    assert locations == ["memory://lists/a.mp4", "/b.mp4", "https://v.example/c"]
    assert "memory://lists/none.txt" in refused("memory://lists/none.txt")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.txt", "", "no source"),
        ("comments.txt", "\n# none\n", "no source"),
        ("noise.txt", b"a.mp4\n\xff\xfe\x00\x80", "noise.txt:2"),
        ("noise.parquet", bytes(range(256)) * 8, "Parquet"),
        ("void.parquet", b"", "Parquet"),
        ("nosource.csv", "a,b\n1,2\n", "it has a, b"),
        ("void.csv", "", "source"),
        ("header.csv", "source,title\n", "no source"),
        ("cell.csv", "source,title\na.mp4,x\n,y\n", "cell.csv:3"),
        ("wide.csv", "source,title\na.mp4,x,y\n", "wide.csv:2"),
        ("twice.csv", "source,t,t\na.mp4,x,y\n", "column t"),
        ("quote.csv", 'source\n"a.mp4\n', "quote.csv"),
        ("control.txt", "a.mp4\nb\x01.mp4\n", "control.txt:2"),
        ("nul.txt", "a.mp4\nb\0.mp4\n", "nul.txt:2"),
        ("script.txt", "javascript:alert(1)\n", "script.txt:1"),
        ("scheme.txt", "a.mp4\n\ngopher://x/y.mp4\n", "scheme.txt:3"),
        ("host.txt", "https:///a.mp4\n", "host.txt:1"),
        ("long.txt", "x" * 100_000 + "\n", "long.txt:1"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, name: str, data: str | bytes, says: str) -> None:
    assert says in refused(write(tmp_path, name, data))


def test_parquet_sources_must_be_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": [1, 2]}), tmp_path / "numbers.parquet")
    assert "row 1" in refused(str(tmp_path / "numbers.parquet"))
    pq.write_table(pa.table({"source": ["a.mp4", None]}), tmp_path / "holes.parquet")
    assert "row 2" in refused(str(tmp_path / "holes.parquet"))


def test_missing_things_and_empty_folders(tmp_path: Path) -> None:
    for name in ("none.txt", "none.mp4", "none.csv", "none"):
        assert name in refused(str(tmp_path / name))
    assert "no video" in refused(str(tmp_path))
    assert refused("a\0b")
    assert refused("x" * 5000)
