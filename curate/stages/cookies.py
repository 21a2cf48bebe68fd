"""The file of cookies that a recipe names: Netscape format, checked before anybody is asked."""

from __future__ import annotations

from pathlib import Path

from curate.errors import UsageError

_COOKIE_FIELDS = 7


def read_cookies(path: Path) -> str:
    """The text of a cookies file.

    Raises:
        UsageError: yt-dlp would not read it, or only in part; names the line, or what the file is instead.
    """
    name = f"fetch.cookies = {path}"
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name}: is no text in UTF-8; export the cookies in Netscape format") from None
    if text.startswith("\ufeff"):
        raise UsageError(f"{name}: begins with a byte order mark; save it as UTF-8 without one")
    if text.lstrip()[:1] in ("[", "{"):
        raise UsageError(f"{name}: is JSON; export the cookies in Netscape format (cookies.txt)")
    if "HTTP Cookie File" not in text.split("\n", 1)[0]:
        raise UsageError(f"{name}:1: does not begin with `# Netscape HTTP Cookie File`; export it in that format")
    cookies = 0
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.removeprefix("#HttpOnly_")
        if not entry.strip() or entry.startswith("#"):
            continue
        cookies += 1
        fields = entry.split("\t")
        if len(fields) == _COOKIE_FIELDS and (fields[1] == "TRUE") != fields[0].startswith("."):
            raise UsageError(f"{name}:{number}: field 2 is TRUE where the domain begins with a dot, else FALSE")
        if len(fields) != _COOKIE_FIELDS or not (fields[4] or "0").replace(".", "", 1).isdecimal():
            raise UsageError(
                f"{name}:{number}: is no cookie; a line has {_COOKIE_FIELDS} fields with tabs between them"
            )
    if not cookies:
        raise UsageError(f"{name}: holds no cookie; export it again while you are logged in")
    return text
