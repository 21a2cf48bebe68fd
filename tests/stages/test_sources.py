from __future__ import annotations

import datetime as dt
import decimal
import os
import re
import unicodedata
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import UsageError
from curate.records import Source
from curate.stages.ranges import Range
from curate.stages.sources import OWN_COLUMNS, read_list, read_sources, video_id

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


def typed(source: pa.DataType) -> pa.Table:
    """A list with a column of every type that Parquet keeps, the second row of nulls."""
    columns = {
        "faces": pa.array([2**64 - 1, None], pa.uint64()),
        "price": pa.array([decimal.Decimal("12345678901234567890.50"), None], pa.decimal128(30, 2)),
        "day": pa.array([dt.date(2020, 1, 1), None]),
        "at": pa.array([1, None], pa.timestamp("ns", tz="Europe/Berlin")),
        "hour": pa.array([1, None], pa.time64("ns")),
        "took": pa.array([1, None], pa.duration("ns")),
        "tags": pa.array([["x"], None]),
        "about": pa.array([{"a": 1, "b": [1, 2]}, None]),
        "counts": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        "kind": pa.array(["talk", None]).dictionary_encode(),
        "view": pa.array(["seen", None], pa.string_view()),
        "large": pa.array(["text", None], pa.large_string()),
        "half": pa.array([1.5, None], pa.float16()),
        "raw": pa.array([b"a", None], pa.binary()),
        "nothing": pa.nulls(2),
    }
    return pa.table({"source": pa.array(["a.mp4", "b.mp4"], pa.string()).cast(source), **columns})


@given(st.text(min_size=1, max_size=200))
def test_ids_are_safe_and_depend_on_the_source_alone(source: str) -> None:
    assert ID.fullmatch(video_id(source))
    assert video_id(source) == video_id(source)
    others = {video_id(source, repeat=2), video_id(source, Range(1, 2)), video_id(source, Range(1, 2), 2)}
    assert len(others | {video_id(source)}) == 4 and all(map(ID.fullmatch, others))


@pytest.mark.parametrize(
    "source",
    ["../../etc/passwd", "--exec", "-", "a\0b", "😀", "x" * 10_000, ".hidden", "C:\\v\\-a.mp4", "\udcff.mp4", "/"],
)
def test_hostile_names_give_safe_ids(source: str) -> None:
    assert ID.fullmatch(video_id(source))


def test_ids_are_those_of_earlier_builds() -> None:
    assert video_id("a.mp4", Range(0.0, None)) == video_id("a.mp4", Range()) == video_id("a.mp4")
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
    listed = read_list(write(tmp_path, "list.csv", text))
    assert listed.columns.to_pylist() == [
        {"title": "A, B", "license": "CC0", "source_faces": "3", "note": None},
        {"title": "C", "license": None, "source_faces": None, "note": "x"},
    ]
    first, _ = listed.sources
    assert first == Source(first.video_id, "a.mp4", f"{tmp_path}/a.mp4")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_a_parquet_table_keeps_the_types_of_its_schema(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(typed(kind), tmp_path / "list.parquet")
    listed = read_list(str(tmp_path / "list.parquet"))
    assert [source.source for source in listed.sources] == ["a.mp4", "b.mp4"]
    read = pq.read_table(tmp_path / "list.parquet")
    assert listed.columns.rename_columns({"source_faces": "faces"}).equals(read.drop_columns("source"))


def test_columns_that_would_clash_are_all_kept(tmp_path: Path) -> None:
    text = "source,faces,source_faces,source_source_faces\na.mp4,1,2,3\n"
    columns = read_list(write(tmp_path, "list.csv", text)).columns
    assert sorted(columns.to_pylist()[0].values()) == ["1", "2", "3"]
    assert len(set(columns.column_names)) == 3 and OWN_COLUMNS.isdisjoint(columns.column_names)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("source", ["source", "\ufeffsource", '"source"', " source\u200b"])
def test_what_spreadsheets_write(tmp_path: Path, delimiter: str, source: str) -> None:
    rows = [[source, "note"], ["a.mp4", "x " * 100_000], ["", ""], [" \ufeffb.mp4\u200b", ""], [""]]
    listed = read_list(write(tmp_path, "list.csv", "\r\n".join(delimiter.join(row) for row in rows)))
    assert [source.source for source in listed.sources] == ["a.mp4", "b.mp4"]
    assert [len(note or "") for note in listed.columns["note"].to_pylist()] == [200_000, 0]


def test_invisible_characters_and_missing_schemes_are_understood_and_told(tmp_path: Path) -> None:
    for name in ("a b.mp4", "c\u200d.mp4", "videos.de/d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    entries = {
        "\u200ba\u00a0b.mp4\ufeff": f"{tmp_path}/a b.mp4",
        "c\u200d.mp4": f"{tmp_path}/c\u200d.mp4",
        "https://v.exa\u200bmple/w": "https://v.example/w",
        "\ufeff# no source": None,
        "www.youtube.com/watch?v=1": "https://www.youtube.com/watch?v=1",
        "youtu.be/1": "https://youtu.be/1",
        "//v.example.org:81/a.mp4": "https://v.example.org:81/a.mp4",
        "videos.de/d.mp4": f"{tmp_path}/videos.de/d.mp4",
        "v1.2/none.mp4": f"{tmp_path}/v1.2/none.mp4",
    }
    listed = read_list(write(tmp_path, "list.txt", "\n".join(entries)))
    assert [source.location for source in listed.sources] == [place for place in entries.values() if place]
    assert all(source.source.isprintable() or "c" in source.source for source in listed.sources)
    invisible, scheme = listed.notes
    assert "list.txt:1: " in invisible and "1 more" in invisible
    assert "list.txt:5: 'www.youtube.com/watch?v=1'" in scheme and "2 more" in scheme


def test_names_meet_however_their_accents_are_spelled(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "Zoë/été.mp4") for form in ("NFC", "NFD"))
    (tmp_path / apart).parent.mkdir()
    (tmp_path / apart).touch()
    first, second = read_sources(write(tmp_path, "list.txt", f"{composed}\n{apart}\n"))
    assert first.location == second.location == str(tmp_path / apart)
    assert read_sources(str(tmp_path / composed))[0].location == str(tmp_path / apart)
    missing = unicodedata.normalize("NFC", "Zoë/nö.mp4")
    assert read_sources(write(tmp_path, "list.txt", missing))[0].location == str(tmp_path / missing)


def test_columns_and_fragments_choose_ranges(tmp_path: Path) -> None:
    text = "source,start,end\nt.mp4,1,2.5\nt.mp4,0:07,00:01:08\nt.mp4,,\nt.mp4,3,\n" + '"t.mp4#t=1,2.5",,\n'
    listed = read_list(write(tmp_path, "list.csv", text + "https://v.example/w#t=npt:1m,\nt.mp4#t=x,,\n"))
    assert [(source.start_s, source.end_s) for source in listed.sources] == [
        *((1.0, 2.5), (7.0, 68.0), (None, None), (3.0, None), (1.0, 2.5), (60.0, None), (None, None)),
    ]
    assert {source.location for source in listed.sources[:5]} == {f"{tmp_path}/t.mp4"}
    assert listed.sources[4].source == "t.mp4#t=1,2.5" and listed.sources[5].location == "https://v.example/w"
    assert len({source.video_id for source in listed.sources}) == 7
    assert listed.columns.column_names == ["start", "end"] and listed.notes == []


def test_a_file_named_like_a_range_is_that_file_and_has_an_id_of_its_own(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mp4#t=1,2", "a.mp4#2"):
        (tmp_path / name).touch()
    listed = write(
        tmp_path, "list.csv", 'source,start,end\na.mp4,1,2\na.mp4,1,2\n"a.mp4#t=1,2",,\na.mp4,,\na.mp4#2,,\n'
    )
    sources = read_sources(listed)
    assert len({source.video_id for source in sources}) == 5
    assert [Path(source.location).name for source in sources] == ["a.mp4", "a.mp4", "a.mp4#t=1,2", "a.mp4", "a.mp4#2"]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (pa.array([1.5]), pa.array([2], pa.int8())),
        (pa.array(["1.5"], pa.string_view()), pa.array([decimal.Decimal("2.0")])),
        (pa.array([1_500], pa.duration("ms")), pa.array([2_000_000_000], pa.time64("ns"))),
        (pa.array([1_500_000_001], pa.duration("ns")), pa.array([2_000], pa.time32("ms"))),
        (pa.array([1.5], pa.float32()), pa.array(["0:00:02"]).dictionary_encode()),
    ],
)
def test_times_of_any_type(tmp_path: Path, start: pa.Array, end: pa.Array) -> None:
    pq.write_table(pa.table({"source": ["a.mp4"], "start": start, "end": end}), tmp_path / "list.parquet")
    (source,) = read_sources(str(tmp_path / "list.parquet"))
    assert (source.start_s, source.end_s) == (1.5, 2.0)


def test_columns_that_look_like_ranges_and_are_none_are_named(tmp_path: Path) -> None:
    (note,) = read_list(write(tmp_path, "list.csv", "source,start_time,end_s\na.mp4,1,2\n")).notes
    assert "start_time" in note and "columns start and end" in note


def test_what_a_folder_holds_beside_videos_is_counted_and_named(tmp_path: Path) -> None:
    library, disk = tmp_path / "lib", tmp_path / "disk"
    for place in (library / "z", disk / "more"):
        place.mkdir(parents=True)
    for name in ("lib/z/a.mp4", "lib/.b.mp4", "lib/c.txt", "lib/d.txt", "disk/more/e.mp4", "disk/f.mp4"):
        write(tmp_path, name, b"x")
    (library / "linked").symlink_to(disk)
    (library / "again").symlink_to(disk / "more")
    (library / "y").symlink_to(library / "z")
    (library / "z/loop").symlink_to("..")
    (library / "self").symlink_to("self")
    (library / "gone.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(library / "pipe.mp4")
    listed = read_list(str(library))
    names = ["again/e.mp4", "gone.mp4", "linked/f.mp4", "z/a.mp4"]
    assert [source.source for source in listed.sources] == names
    assert all(Path(source.location).is_file() for source in listed.sources if source.source != "gone.mp4")
    assert [note.removeprefix(f"{library}: ") for note in listed.notes] == [
        "1 left out: hidden (.b.mp4)",
        "1 left out: no regular file (pipe.mp4)",
        "3 left out: no video by its ending (c.txt, d.txt, self)",
    ]
    said: list[str] = []
    assert read_sources(str(library), said.append) == listed.sources and said == listed.notes


def test_a_closed_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open/a.mp4", "closed/b.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    scan = os.scandir

    def refuse(path: Path) -> object:  # tests may run as root, whom no mode keeps out
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listed = read_list(str(tmp_path))
    assert [source.source for source in listed.sources] == ["open/a.mp4"]
    assert "1 left out: cannot be read (Permission denied) (closed)" in listed.notes[0]


def test_passwords_stay_out_of_what_is_shown(tmp_path: Path) -> None:
    text = "https://ada:secret@v.example/a.mp4\nhttps://ada:other@v.example/a.mp4\n"
    first, second = read_sources(write(tmp_path, "list.txt", text))
    assert first.source == second.source == "https://ada:***@v.example/a.mp4"
    assert first.location == "https://ada:secret@v.example/a.mp4" and first.video_id != second.video_id
    assert "secret" not in refused(write(tmp_path, "list.txt", "gopher://ada:secret@v.example/a.mp4"))


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
        ("almost.txt", "a.mp4\nhttp:/v.example/a.mp4\n", "almost.txt:2"),
        ("order.csv", "source,start,end\na.mp4,1,2\na.mp4,5,2\n", "order.csv:3: nothing lies between start 5 s"),
        ("time.csv", "source,start\na.mp4,soon\n", "time.csv:2: start = 'soon' is no time"),
        ("both.csv", "source,start\na.mp4#t=2,1\n", "both.csv:2: #t=2 and the columns"),
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
