from __future__ import annotations

from curate.errors import ErrorKind
from curate.records import Source
from curate.run.collect import Breaker, Pending


def test_a_host_that_refuses_is_left_alone_and_others_are_not() -> None:
    urls = [f"https://{host}.example/{number}" for number in range(4) for host in ("strict", "kind")]
    todo = [Pending(Source(url, url, url), "", None) for url in [*urls, "/local.mp4"]]
    breaker = Breaker(2)
    asked = []
    for item in breaker.allowed(todo):
        asked.append(item.source.source)
        breaker.see(item.source, ErrorKind.RATE_LIMITED if "strict" in item.source.source else None)
    held = [item.source.source for item in breaker.held_back]
    assert held == ["https://strict.example/2", "https://strict.example/3"]
    assert asked == [url for url in [*urls, "/local.mp4"] if url not in held]
    assert "strict.example refused 2" in breaker.reason(breaker.held_back[0].source)
