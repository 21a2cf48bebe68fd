"""What a location is: a path on this machine or a URL, and what its text alone says.

    talks/a.mp4   C:\\a.mp4   Q: why?.mp4         paths, whatever characters they hold
    https://host/a   s3://bucket/a   memory://a   URLs: a scheme of two letters or more, and `://`
    file:///srv/a.mp4   file:/srv/a.mp4           URLs that mean a path
    simplecache::s3://bucket/a                    chained URLs of fsspec: links joined by `::`, each a URL
    zip://a.mp4::s3://bucket/b.zip                or, where more follow, the bare name of a protocol;
    zip://a.mp4::b.zip                            the last, where the bytes lie, may be a path

Nothing here opens anything.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import fsspec

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FILE = re.compile(r"(?:file|local):(?=/)", re.IGNORECASE)
_WEB = ("http", "https")
_WITH_HOST = (*_WEB, "ftp", "ftps", "sftp", "ssh", "webdav", "smb", "dav", "davs", "webdavs")
"""Schemes whose authority is a machine that answers; of others it is a bucket or a part of the path."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
"""Schemes whose packages are an extra of curate."""
_PACKAGES = {
    **dict.fromkeys(("abfs", "abfss", "az"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **{"oss": "ossfs", "oci": "ocifs", "smb": "smbprotocol", "webdav": "webdav4", "dropbox": "dropboxdrivefs"},
}
"""Other schemes of fsspec -> what to install for them; elsewhere fsspec's own words are passed on."""
_CLOSED = re.compile(
    r"([?&;#](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|awsaccesskeyid|googleaccessid|"
    r"key-pair-id|hmac|hdn(?:ts|ea|tl)|access_?token|api_?key|(?:client_?)?secret|passw(?:or)?d|pwd|pass|pin)=)"
    r"(?!\*\*\*)[^&;#\s]*[^&;#\s:.,)'\"]",
    re.IGNORECASE,
)
"""Parameters of a query that only let one in."""
_TOKEN = re.compile(
    r"([?&;#](?:[\w.-]*token|auth|authori[sz]ation|jwt|session|session_?id|ticket|credentials?|"
    r"key(?==[\w-]{20,}(?:[&;#\s]|$)))=)(?!\*\*\*)([^&;#\s]*[^&;#\s:.,)'\"])",
    re.IGNORECASE,
)
"""Those that may also say which video is meant; a `key` is one if it looks like no name."""
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
"""A JSON web token, wherever it stands."""
_TAKEN_OUT = re.compile(r"[=:/]\*\*\*")
_LONG = 8
"""Characters of a token from which its digest is shown: shorter ones can be guessed from it."""


def is_url(location: str) -> bool:
    """Whether it is a URL of any kind, `file:` and chained ones too; everything else is a path."""
    first, chained, _ = location.partition("::")
    return _is_link(first) or (bool(chained) and first in fsspec.available_protocols())


def is_local(location: str) -> bool:
    """Whether it names a file of this machine by itself: a path or a `file:` URL."""
    return not is_url(location) or bool(_FILE.match(location))


def is_web(location: str) -> bool:
    """Whether it is a plain http(s) URL: a page or a file, for yt-dlp to say which."""
    return bool(re.match(r"https?://", location, re.IGNORECASE))


def links(url: str) -> list[str]:
    """The links of a chained URL, outermost first; the URL itself where it is plain."""
    found = []
    rest = url
    while "::" in rest and not is_web(rest):  # http(s) ends a chain, and may hold `::` in its host (IPv6) or path
        link, _, rest = rest.partition("::")
        found.append(link)
    return [*found, rest]


def schemes(url: str) -> list[str]:
    """The scheme of each link of a URL, outermost first, in lower case; `file` for a last link that is a path."""
    *outer, last = [found[1].lower() if (found := _SCHEME.match(link)) else link for link in links(url)]
    return [*outer, last if _SCHEME.match(links(url)[-1]) else "file"]


def origin(location: str) -> str:
    """Where the bytes lie: the last link of a chained URL, a plain location itself."""
    return links(location)[-1] if is_url(location) else location


def host(location: str) -> str | None:
    """The machine that is asked for it, in lower case; None for what lies here, or in a store without a host."""
    parts = _split(origin(location)) if is_url(location) else None
    with suppress(ValueError):  # a port that is no number
        return parts.hostname if parts and parts.scheme in _WITH_HOST else None
    return None


def suffix(location: str) -> str:
    """The ending of the file's name, in lower case, with its dot; empty where it has none."""
    if not is_url(location):
        return PurePosixPath(location).suffix.lower()
    named = next((link for link in links(location) if _is_link(link)), origin(location))
    path = _split(named).path if is_web(named) else _SCHEME.sub("", named)
    return PurePosixPath(path).suffix.lower()


def local_path(location: str) -> str:
    """The path that a `file:` URL means; any other location as it is."""
    if not _FILE.match(location):
        return location
    path = unquote(_FILE.sub("", location))
    for authority in ("//localhost/", "///"):
        if path.startswith(authority):
            return "/" + path.removeprefix(authority)
    return path.removeprefix("//")


def resolve(entry: str, base: Path | str) -> str:
    """Where an entry of a list lies: URLs as they are, paths made absolute.

    Args:
        entry: as the list has it; a leading `~` of a path is the home folder.
        base: what relative paths are relative to: a folder, or the URL of one.
    """
    if is_local(entry):
        path = local_path(entry)
        if isinstance(base, str):
            return path if path.startswith("/") else join(base, path)
        return str(base / _expanded(path))
    *outer, last = links(entry)
    if outer and is_local(last):
        last = resolve(last, base) if isinstance(base, Path) or not is_local(base) else last
    return "::".join(_plain_scheme(link) for link in [*outer, last])


def parent(location: str) -> str:
    """The folder that a file lies in: of `s3://bucket/lists/a.csv` it is `s3://bucket/lists`."""
    if not is_url(location):
        return posixpath.dirname(location) or "."
    first, *rest = links(location)
    if not _is_link(first):
        return "::".join([first, parent("::".join(rest))])
    return "::".join([_without_query(first).rsplit("/", 1)[0], *rest])


def join(folder: str, relative: str) -> str:
    """A location below a folder, which is a path or a URL; an absolute or whole one stays as it is."""
    if is_url(relative):
        return relative
    if not is_url(folder):
        return posixpath.join(folder, relative)
    first, *rest = links(folder)
    if not _is_link(first):
        return "::".join([first, join("::".join(rest), relative)])
    if is_web(first):
        return "::".join([urljoin(f"{first}/", relative), *rest])
    scheme, path = first.split("://", 1)
    return "::".join([f"{scheme}://{posixpath.normpath(posixpath.join(path, relative))}", *rest])


def without_credentials(text: str) -> str:
    """`text`, a location or a message that quotes some, with what lets one in replaced by `***`.

    That is the password of `user:password@host`, a lone user of http(s) (often a token), and what is known to sign or
    open a link among the parameters of its query. A token that may also say which video is meant becomes `***` and
    eight digits of its SHA-256, so that two links stay two.
    """
    if "://" not in text:
        return text
    text = re.sub(r"(://[^\s/?#@:]*):[^\s/?#]*@", r"\1:***@", text)
    text = re.sub(r"(https?://)[^\s/?#@:]+@", r"\1***@", text, flags=re.IGNORECASE)
    text = _CLOSED.sub(r"\1***", text)
    text = _TOKEN.sub(lambda found: found[1] + _hidden(found[2]), text)
    return _JWT.sub(lambda found: _hidden(found[0]), text)


def lacks_credentials(location: str) -> bool:
    """Whether it is a URL as `without_credentials` leaves one from which something was taken out."""
    return is_url(location) and bool(_TAKEN_OUT.search(location))


def _hidden(token: str) -> str:
    digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
    return "***" + (digest[:8] if len(token) >= _LONG else "")


def problem(entry: str) -> str | None:
    """Why nothing can be read from a URL, with what to write instead; None where it may be read, or is a path."""
    if not is_url(entry):
        return None
    known = {*fsspec.available_protocols(), *_WEB, "file", "local"}
    unknown = [scheme for scheme in schemes(entry) if scheme not in known]
    if unknown:
        return f"{unknown[0]}:// is unknown; give a path or an http(s) or fsspec URL"
    last = origin(entry)
    if is_url(last) and _split(last).scheme in _WITH_HOST and not host(last):
        return "names no host; write https://host/path"
    return None


def missing_package(names: Iterable[str]) -> str | None:
    """What must be installed before URLs of some schemes can be read, with the line that does it; None if nothing."""
    for name in names:
        try:
            fsspec.get_filesystem_class(name)
        except (ImportError, ValueError) as error:
            package = f'"curate-faces[{_EXTRAS[name]}]"' if name in _EXTRAS else _PACKAGES.get(name)
            return f"{name}:// needs a package: " + (f"pip install {package}" if package else str(error))
    return None


def _is_link(link: str) -> bool:
    return bool(_SCHEME.match(link) or _FILE.match(link))


def _split(link: str) -> SplitResult:
    """As `urlsplit`, but for text that it refuses, which has no host then."""
    try:
        return urlsplit(link)
    except ValueError:  # such as brackets that are no IPv6 address
        return SplitResult(link.split(":", 1)[0].lower(), "", link.split("://", 1)[-1], "", "")


def _without_query(link: str) -> str:
    return re.split(r"[?#]", link, maxsplit=1)[0] if is_web(link) else link


def _plain_scheme(link: str) -> str:
    """Schemes are the same in either case; what reads them knows the lower one."""
    found = _SCHEME.match(link)
    return f"{found[1].lower()}://{link[found.end() :]}" if found else link


def _expanded(path: str) -> Path:
    with suppress(RuntimeError):  # ~nobody: a file of that name, then
        return Path(path).expanduser()
    return Path(path)
