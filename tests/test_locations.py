from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import locations

PATHS = [
    *("a.mp4", "/abs/a.mp4", "~/a.mp4", "../a.mp4", "C:\\talks\\a.mp4", "C:/talks/a.mp4", "c://talks/a.mp4"),
    *("Q: why?.mp4", "12:30.mp4", "part::two.mp4", "a#2.mp4", "file", "http:a.mp4", "://a", "a/http://b", "filed:/a"),
]
URLS = [
    *("http://h/a", "HTTPS://h/a", "s3://b/a", "memory://a", "git+ssh://h/a", "file:///a", "file:/a", "local:///a"),
    *("simplecache::s3://b/a", "filecache::https://h/a", "zip://a::b.zip", "zip://a::simplecache::memory://b.zip"),
]


def test_paths_and_urls_are_distinguished() -> None:
    assert [text for text in PATHS if locations.is_url(text)] == []
    assert [text for text in URLS if not locations.is_url(text)] == []


def test_what_lies_on_this_machine() -> None:
    here = {text for text in URLS if locations.is_local(text)}
    assert here == {"file:///a", "file:/a", "local:///a"} and all(map(locations.is_local, PATHS))
    assert [text for text in URLS if locations.is_web(text)] == ["http://h/a", "HTTPS://h/a"]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///srv/my%20talk.mp4", "/srv/my talk.mp4"),
        ("FILE://localhost/a.mp4", "/a.mp4"),
        ("file:/a.mp4", "/a.mp4"),
        ("file://sub/a.mp4", "sub/a.mp4"),
        ("local:///a.mp4", "/a.mp4"),
        ("my%20talk.mp4", "my%20talk.mp4"),
    ],
)
def test_the_path_that_a_file_url_means(location: str, path: str) -> None:
    assert locations.local_path(location) == path


@pytest.mark.parametrize(
    ("location", "host", "schemes"),
    [
        ("https://Video.Example:8080/a", "video.example", ["https"]),
        ("https://[::1]:8080/a", "::1", ["https"]),
        ("https://[bad/a", None, ["https"]),
        ("simplecache::HTTPS://u:p@V.example/a", "v.example", ["simplecache", "https"]),
        ("zip://a.mp4::simplecache::sftp://h/b.zip", "h", ["zip", "simplecache", "sftp"]),
        ("zip://a.mp4::b.zip", None, ["zip", "file"]),
        ("s3://bucket/a", None, ["s3"]),
        ("memory://a", None, ["memory"]),
        ("a.mp4", None, ["file"]),
    ],
)
def test_who_is_asked(location: str, host: str | None, schemes: list[str]) -> None:
    assert locations.host(location) == host
    assert locations.schemes(location) == schemes


@pytest.mark.parametrize(
    ("location", "suffix"),
    [
        ("sub.d/a.MP4", ".mp4"),
        ("what?.mkv", ".mkv"),
        ("https://h/a.csv?x=1.mp4#t", ".csv"),
        ("memory://all.txt", ".txt"),
        ("https://h.com", ""),
        ("zip://d/a.mp4::s3://b/c.zip", ".mp4"),
        ("simplecache::s3://b/a.mov", ".mov"),
        ("part::two.mp4", ".mp4"),
    ],
)
def test_the_ending(location: str, suffix: str) -> None:
    assert locations.suffix(location) == suffix


@pytest.mark.parametrize(
    ("entry", "base", "where"),
    [
        ("a.mp4", Path("/l"), "/l/a.mp4"),
        ("12:30.mp4", Path("/l"), "/l/12:30.mp4"),
        ("C:\\a.mp4", Path("/l"), "/l/C:\\a.mp4"),
        ("/a.mp4", Path("/l"), "/a.mp4"),
        ("file:///srv/a%20b.mp4", Path("/l"), "/srv/a b.mp4"),
        ("~nobody-here/a.mp4", Path("/l"), "/l/~nobody-here/a.mp4"),
        ("S3://Bucket/A.mp4", Path("/l"), "s3://Bucket/A.mp4"),
        ("zip://a.mp4::b.zip", Path("/l"), "zip://a.mp4::/l/b.zip"),
        ("simplecache::s3://b/a", Path("/l"), "simplecache::s3://b/a"),
        ("sub/a.mp4", "s3://b/lists", "s3://b/lists/sub/a.mp4"),
        ("../a.mp4", "s3://b/lists", "s3://b/a.mp4"),
        ("../a.mp4", "https://h/lists", "https://h/a.mp4"),
        ("/abs/a.mp4", "s3://b/lists", "/abs/a.mp4"),
        ("https://h/a", "s3://b/lists", "https://h/a"),
        ("a.mp4", "simplecache::s3://b/lists", "simplecache::s3://b/lists/a.mp4"),
        ("a.mp4", "zip://lists::s3://b/c.zip", "zip://lists/a.mp4::s3://b/c.zip"),
        ("zip://a.mp4::b.zip", "s3://b/lists", "zip://a.mp4::s3://b/lists/b.zip"),
    ],
)
def test_where_an_entry_lies(entry: str, base: Path | str, where: str) -> None:
    assert locations.resolve(entry, base) == where


@pytest.mark.parametrize(
    ("location", "parent"),
    [
        ("a.csv", "."),
        ("/l/a.csv", "/l"),
        ("s3://b/l/a.csv", "s3://b/l"),
        ("https://h/l/a.csv?sig=/x/", "https://h/l"),
        ("simplecache::s3://b/l/a.csv", "simplecache::s3://b/l"),
        ("zip://l/a.csv::s3://b/c.zip", "zip://l::s3://b/c.zip"),
    ],
)
def test_the_folder(location: str, parent: str) -> None:
    assert locations.parent(location) == parent


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ada:p@ss:w@h:81/a?b=c@d", "https://ada:***@h:81/a?b=c@d"),
        ("https://t0ken@h/a", "https://***@h/a"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("simplecache::sftp://u:pw@h/a", "simplecache::sftp://u:***@h/a"),
        ("https://h/a?x=1&X-Amz-Signature=abc&y=2#t", "https://h/a?x=1&X-Amz-Signature=***&y=2#t"),
        ("https://h/a?Policy=p&Signature=s~-_&Key-Pair-Id=K", "https://h/a?Policy=p&Signature=***&Key-Pair-Id=***"),
        ("https://h/a?v=1&token=abcdefgh", "https://h/a?v=1&token=***9c56cc51"),
        ("https://h/a?Auth_Token=abc#t=1,2", "https://h/a?Auth_Token=***#t=1,2"),
        ("https://h/a?x-plex-token=abcdefgh: 403", "https://h/a?x-plex-token=***9c56cc51: 403"),
        ("https://h/f?alt=media&key=AIzaSyAbcdefghijklmnop", "https://h/f?alt=media&key=***ff299361"),
        ("https://h/f?key=talks/a-long-name-of-a-file.mp4", "https://h/f?key=talks/a-long-name-of-a-file.mp4"),
        ("https://h/eyJhbGciOiJI.eyJzdWIi.c2ln/a.mp4", "https://h/***8ec6a5ba/a.mp4"),
        ("https://h/a#access_token=abc", "https://h/a#access_token=***"),
        ("https://h/watch?v=abcdefgh&list=tokens", "https://h/watch?v=abcdefgh&list=tokens"),
        ("https://h:80/a@b", "https://h:80/a@b"),
        ("cannot reach http://u:pw@proxy:3128 (refused)", "cannot reach http://u:***@proxy:3128 (refused)"),
        ("a: b@c.mp4", "a: b@c.mp4"),
    ],
)
def test_what_lets_one_in_is_not_shown(text: str, shown: str) -> None:
    assert locations.without_credentials(text) == shown
    assert locations.without_credentials(shown) == shown
    assert locations.lacks_credentials(shown.split()[0]) == ("://" in shown and "***" in shown.split()[0])


@given(st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1), st.text(min_size=1))
def test_a_password_is_never_shown(user: str, password: str) -> None:
    secret = "".join(f"%{byte:02x}" for byte in password.encode("utf-8", "replace"))
    assert secret not in locations.without_credentials(f"https://{user}:{secret}@h/a.mp4")


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    for ask in (locations.is_url, locations.host, locations.suffix, locations.problem, locations.parent):
        ask(text)
    locations.resolve(text, Path("/l"))
    locations.resolve(text, "s3://b")
    assert locations.is_url(text) or locations.is_local(text)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("gopher://x/y", "gopher:// is unknown"),
        ("simplecache::gopher://x/y", "gopher:// is unknown"),
        ("https:///a.mp4", "names no host"),
        ("simplecache::https://", "names no host"),
        ("https://[bad/a", "names no host"),
    ],
)
def test_urls_that_cannot_be_read(entry: str, says: str) -> None:
    assert says in (locations.problem(entry) or "")


def test_other_entries_have_no_problem() -> None:
    assert [text for text in (*PATHS, *URLS) if locations.problem(text) and not text.startswith("git+ssh")] == []
