"""What can be known to go wrong with fetching before anything is asked for.

A mistake in the recipe would fail every source alike, and each of those failures would have to be redone; it is
reported once, before the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import yt_dlp
from yt_dlp.cookies import SUPPORTED_BROWSERS, CookieLoadError
from yt_dlp.globals import supported_js_runtimes
from yt_dlp.utils import FormatSorter, YoutubeDLError

from curate import locations
from curate.errors import UnavailableError, UsageError, one_line
from curate.recipe import Fetch
from curate.records import Source
from curate.stages.cookies import read_cookies
from curate.stages.fetch_client import options

_PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_RUNTIMES = ("deno", "node", "bun", "quickjs")


def check(settings: Fetch, sources: Iterable[Source]) -> None:
    """Refuses a recipe, or a list, of which it is plain that fetching cannot work.

    Raises:
        UsageError: names the key or the scheme, and the fix.
    """
    remote = [source.location for source in sources if not locations.is_local(source.location)]
    by_scheme = {scheme for place in remote if not locations.is_web(place) for scheme in locations.schemes(place)}
    missing = locations.missing_package(sorted(by_scheme))
    if missing:
        raise UnavailableError(missing)
    if settings.cookies:
        read_cookies(settings.cookies)
    if settings.proxy:
        _check_proxy(settings.proxy)
    _check_words(settings)
    try:
        with yt_dlp.YoutubeDL(options(settings, None) | {"quiet": True, "logger": _Silent()}) as client:
            _ = client.cookiejar
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"fetch.format = {settings.format!r}: no format selector of yt-dlp ({one_line(error, 120)})"
        ) from None
    except (CookieLoadError, YoutubeDLError, OSError) as error:
        if settings.impersonate and "mpersonate" in str(error):
            raise UsageError(
                f"fetch.impersonate = {settings.impersonate}: cannot be imitated here; name chrome, firefox, safari or "
                'edge, and pip install "yt-dlp[curl-cffi]"'
            ) from None
        why = one_line(error, 200).removeprefix("ERROR: ")
        key = "cookies_from_browser" if settings.cookies_from_browser else "cookies"
        raise UsageError(f"fetch.{key} = {getattr(settings, key)}: {why}") from None


def javascript_runtimes() -> list[str]:
    """Names and versions of the JavaScript runtimes that yt-dlp finds here; the largest sites need one."""
    found = [(name, runtime(path=None).info) for name, runtime in supported_js_runtimes.value.items()]
    return [f"{name} {info.version}" for name, info in found if info is not None and info.supported]


def _check_proxy(proxy: str) -> None:
    shown = f"fetch.proxy = {locations.without_credentials(proxy)}"
    try:
        parts = urlsplit(proxy)
        good = parts.scheme.lower() in _PROXIES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            f"{shown}: no URL of a proxy; write {', '.join(f'{name}://' for name in _PROXIES[:2])} or "
            "socks5://, then HOST:PORT"
        )


def _check_words(settings: Fetch) -> None:
    browser = (settings.cookies_from_browser or "").partition(":")[0].lower()
    if browser and browser not in SUPPORTED_BROWSERS:
        raise UsageError(f"fetch.cookies_from_browser = {browser}: none of {', '.join(sorted(SUPPORTED_BROWSERS))}")
    for word in settings.format_sort:
        found = re.match(FormatSorter.regex, word)
        if not found or found["field"] not in FormatSorter.settings:
            raise UsageError(
                f"fetch.format_sort: {word!r} is no field of yt-dlp's sort order, such as res:480 or +size"
            )
    runtime = (settings.js_runtime or "").partition(":")[0].lower()
    if runtime and runtime not in _RUNTIMES:
        raise UsageError(f"fetch.js_runtime = {runtime}: no such runtime; there are {', '.join(_RUNTIMES)}")


class _Silent:
    """A logger of yt-dlp that shows nothing: what matters is raised."""

    def debug(self, message: str) -> None:
        pass

    info = warning = error = debug
