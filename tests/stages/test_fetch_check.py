from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import ErrorKind, UnavailableError, UsageError
from curate.recipe import Fetch, load
from curate.records import Source
from curate.run.doctor import _javascript
from curate.stages.fetch_check import check, javascript_runtimes

GOOD = (
    "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\t1\n#HttpOnly_.v.example\tTRUE\t/\tTRUE\t\ta\tb\n"
)


def refused(**settings: object) -> str:
    with pytest.raises(UsageError) as raised:
        check(Fetch.model_validate(settings), [])
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"domain": ".example.org", "name": "sid", "value": "1"}]', "is JSON"),
        ('  {"cookies": []}', "is JSON"),
        ("\ufeff" + GOOD, "byte order mark"),
        ("sid=1; other=2\n", "cookies.txt:1"),
        (GOOD + "v.example FALSE / FALSE 0 sid 1\n", "cookies.txt:4"),
        (GOOD.replace("_.v", "_v"), "cookies.txt:3"),
        (GOOD.replace("\t0\t", "\tsoon\t"), "cookies.txt:2"),
        ("# Netscape HTTP Cookie File\n\n", "holds no cookie"),
        (b"\x80\xff", "no text"),
        (None, "cannot be read"),
    ],
)
def test_cookies_that_cannot_be_used(tmp_path: Path, text: str | bytes | None, says: str) -> None:
    path = tmp_path / "cookies.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert f"fetch.cookies = {path}" in refused(cookies=path) and says in refused(cookies=path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_good_cookies(tmp_path: Path, end: str) -> None:
    path = tmp_path / "cookies.txt"
    path.write_bytes(GOOD.replace("\n", end).encode())
    check(Fetch(cookies=path), [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("proxy", value) for value in ("127.0.0.1:3128", "proxy.example", "http://", "http://h:99999", "ftp://h:1")),
        *(("format", value) for value in ("bv*[[", "best[height<]", "(a")),
        *(("format_sort", value) for value in (["!!"], ["res:480", "beauty"])),
        *[("impersonate", "netscape"), ("js_runtime", "basic"), ("cookies_from_browser", "lynx")],
    ],
)
def test_what_cannot_work_is_refused(key: str, value: object) -> None:
    assert refused(**{key: value}).startswith(f"fetch.{key}")


def test_what_can_work_is_not() -> None:
    check(
        Fetch(
            format="bv*[height<=480]/b",
            format_sort=("res:480", "+size"),
            proxy="socks5://ada:secret@127.0.0.1:1080",
            js_runtime="node:/usr/bin/node",
            extractor_args={"youtube": {"player_client": ("tv", "web")}},
            user_agent="me",
            rate_limit=1000,
        ),
        [Source("a", "a", place) for place in ("/a.mp4", "https://v.example/a", "zip://a::/b.zip", "memory://a")],
    )


def test_passwords_are_not_told() -> None:
    assert "secret" not in refused(proxy="http://ada:secret@h:99999")
    recipe = load(None, {"fetch.proxy": "http://ada:secret@h:1"})
    assert recipe.fetch.proxy == "http://ada:secret@h:1" and "secret" not in recipe.model_dump_json()


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        if name == "s3":
            raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    with pytest.raises(UnavailableError, match=r'pip install "curate-faces\[s3\]"'):
        check(Fetch(), [Source("a", "a", "simplecache::s3://bucket/a.mp4")])
    check(Fetch(), [Source("a", "a", "memory://a.mp4")])


def test_packages_of_schemes_without_an_extra_are_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"{name} is not here")

    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    for scheme, told in {"abfs": "pip install adlfs", "sftp": "pip install paramiko", "dvc": "dvc is not here"}.items():
        with pytest.raises(UnavailableError, match=f"^{scheme}:// needs a package: {told}$"):
            check(Fetch(), [Source("a", "a", f"{scheme}://host/a.mp4")])


def test_the_doctor_knows_the_javascript_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    found = javascript_runtimes()
    assert _javascript()[1] == ("ok" if found else "no")
    monkeypatch.setattr("curate.stages.fetch_check.javascript_runtimes", list)
    assert "yt-dlp[default,deno]" in _javascript()[2]


def test_every_kind_of_failure_has_a_fix_whose_keys_there_are() -> None:
    for kind in ErrorKind:
        assert kind.fix
        for word in kind.fix.replace("'", " ").replace("(", " ").replace(")", " ").replace(",", " ").split():
            name = word.partition("=")[0].removeprefix("fetch.")
            assert not word.startswith("fetch.") or name in Fetch.model_fields, word
