"""The scheduler of hosts against hosts that answer, refuse, recover, and a clock of its own."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ErrorKind
from curate.recipe import Fetch
from curate.records import Source
from curate.run.hosts import Hosts

Answer = Callable[[str, float, int], tuple[str | None, float | None]]
"""(URL, time, how often it was asked) -> kind of failure, Retry-After."""


@dataclass(frozen=True)
class Item:
    source: Source


def items(*urls: str) -> list[Item]:
    return [Item(Source(f"{place}", url, url)) for place, url in enumerate(urls)]


class Run:
    """Plays a run: `workers` sources at a time, each for `takes_s`."""

    def __init__(self, todo: list[Item], limits: Fetch, answer: Answer, workers: int = 8, takes_s: float = 1.0) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.begun: defaultdict[str, list[float]] = defaultdict(list)
        self.settled: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        hosts = Hosts(todo, limits, lambda: self.now, self.said.append)
        under_way: list[tuple[float, Item]] = []
        coming = iter(hosts)
        ended = False
        while not ended or under_way:
            item = next(coming, "end") if len(under_way) < workers and not ended else None
            if item == "end":
                ended = True
            elif isinstance(item, Item):
                self.begun[item.source.location].append(self.now)
                under_way.append((self.now + takes_s, item))
                here = Counter(
                    one.source.location.split("/")[2] for _, one in under_way if "://" in one.source.location
                )
                self.most = Counter({host: max(self.most[host], here[host]) for host in {*here, *self.most}})
            else:
                self.now = min([self.now + 1, *(at for at, _ in under_way)])
                for at, done in [one for one in under_way if one[0] <= self.now]:
                    under_way.remove((at, done))
                    url = done.source.location
                    kind, later = answer(url, self.now, len(self.begun[url]))
                    self.settled[done.source.video_id] += hosts.see(done, kind, later)
        self.left = hosts.left()


def fine(url: str, now: float, asked: int) -> tuple[None, None]:
    return None, None


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=40),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(1, 30),
    st.integers(0, 2**30),
)
def test_limits_hold_and_nothing_is_lost(
    names: list[str], per_host: int, per_minute: int, workers: int, failing: int
) -> None:
    urls = [f"https://{name}.example/{place}" if name else f"/{place}.mp4" for place, name in enumerate(names)]

    def answer(url: str, now: float, asked: int) -> tuple[str | None, float | None]:
        kinds = [None, ErrorKind.NETWORK, ErrorKind.RATE_LIMITED, ErrorKind.NOT_FOUND, None, None]
        return kinds[(failing >> (hash(url) % 25) ^ asked) % 6], None

    run = Run(items(*urls), Fetch(per_host=per_host, per_minute=per_minute), answer, workers)
    assert all(count <= per_host for host, count in run.most.items() if host)
    by_host: defaultdict[str, list[float]] = defaultdict(list)
    for url, times in run.begun.items():
        by_host[url.split("/")[2] if "://" in url else ""] += times
    for host, times in by_host.items():
        times.sort()
        assert not host or all(late - early >= 60 for early, late in zip(times, times[per_minute:], strict=False))
    outcomes = run.settled + Counter(item.source.video_id for item, _ in run.left)
    assert outcomes == Counter(str(place) for place in range(len(urls)))


def test_a_host_that_refuses_is_left_alone_and_others_are_not() -> None:
    urls = [f"https://{name}.example/{place}" for place in range(8) for name in ("strict", "kind")]

    def answer(url: str, now: float, asked: int) -> tuple[str | None, float | None]:
        return (ErrorKind.RATE_LIMITED if "strict" in url else None), None

    run = Run(items(*urls, "/local.mp4"), Fetch(), answer)
    asked = sum(len(times) for url, times in run.begun.items() if "strict" in url)
    assert 5 <= asked <= 5 + 4 + 4  # under way when it first refused, and each time that it was tried out
    assert len(run.left) + sum(run.settled.values()) == 17 and all(
        "strict" in item.source.location for item, _ in run.left
    )
    assert "strict.example refused" in run.left[0][1] and run.now < 120
    assert sum("paused for" in line for line in run.said) >= 2 and sum("asked again" in line for line in run.said) >= 2
    assert "wait for a later run" in run.said[-1]
    assert max(times[-1] for url, times in run.begun.items() if "kind" in url) < 10


def test_a_host_that_recovers_is_gone_on_with_in_the_run() -> None:
    urls = [f"https://v.example/{place}" for place in range(12)]

    def answer(url: str, now: float, asked: int) -> tuple[str | None, float | None]:
        return (ErrorKind.BOT_CHECK if now < 12 else None), None

    run = Run(items(*urls), Fetch(), answer)
    assert not run.left and set(run.settled.values()) == {1}
    kinds = [next(word for word in ("paused", "asked again", "answers again") if word in line) for line in run.said]
    assert kinds[0] == "paused" and kinds[-1] == "answers again" and "asked again" in kinds


def test_a_host_of_which_nothing_waits_is_not_said_to_be_paused() -> None:
    said: list[str] = []
    hosts = Hosts(items("https://v.example/1", "/local.mp4"), Fetch(retries=0), lambda: 0.0, said.append)
    first = next(iter(hosts))
    assert first is not None and hosts.see(first, ErrorKind.RATE_LIMITED, 99_999_999_999.0)
    assert not said and not hosts.paused()


def test_retry_after_is_heeded() -> None:
    urls = [f"https://v.example/{place}" for place in range(5)]

    def answer(url: str, now: float, asked: int) -> tuple[str | None, float | None]:
        return (ErrorKind.RATE_LIMITED, 40.0) if now < 30 else (None, None)

    run = Run(items(*urls), Fetch(per_host=1), answer)
    assert not run.left and sorted(time for times in run.begun.values() for time in times)[1] >= 41
    assert "asks to be left alone" in run.said[0]
    long = Run(items(*urls), Fetch(), lambda url, now, asked: (ErrorKind.RATE_LIMITED, 3600.0))
    assert len(long.left) == 5 and long.now < 60


@pytest.mark.parametrize("kind", [ErrorKind.NETWORK, ErrorKind.RATE_LIMITED])
def test_what_fails_for_a_passing_reason_is_tried_again_in_the_run(kind: ErrorKind) -> None:
    def answer(url: str, now: float, asked: int) -> tuple[str | None, float | None]:
        return (kind if asked <= 3 else None), None

    run = Run(items("https://v.example/a", "s3://bucket/a"), Fetch(), answer)
    assert [len(times) for times in run.begun.values()] == [4, 4] and set(run.settled.values()) == {1}
    final = Run(items("https://v.example/a"), Fetch(), lambda url, now, asked: (ErrorKind.NOT_FOUND, None))
    assert len(final.begun["https://v.example/a"]) == 1


def test_progress_begins_a_new_count_of_tries() -> None:
    (item,) = items("https://v.example/a")
    now = [0.0]
    hosts = Hosts([item], Fetch(retries=1), lambda: now[0], print)
    received = [10, 20, 30, 30]
    finals = []
    for bytes_ in received:
        while next(iter(hosts)) is None:
            now[0] += 1
        finals.append(hosts.see(item, ErrorKind.NETWORK, None, bytes_))
    assert finals == [False, False, False, True]


def test_ranges_of_one_video_are_not_under_way_together() -> None:
    todo = [Item(Source(str(place), "a", "https://v.example/a", start_s=place)) for place in range(5)]
    run = Run(todo, Fetch(), fine)
    assert run.begun["https://v.example/a"] == [0, 1, 2, 3, 4]
    assert Run(items(*["/a.mp4"] * 5), Fetch(), fine).begun["/a.mp4"] == [0] * 5


def test_a_source_whose_bytes_are_here_lets_its_host_and_other_ranges_go_on() -> None:
    url = "https://v.example/a"
    todo = [
        Item(Source("first", url, url)),
        Item(Source("second", url, url, start_s=1.0)),
        *items("https://v.example/b"),
    ]
    hosts = Hosts(todo, Fetch(per_host=1), lambda: 0.0, print)
    coming = iter(hosts)
    assert next(coming) is todo[0] and next(coming) is None
    hosts.fetched("first")
    assert next(coming) is todo[1] and next(coming) is None
    assert hosts.see(todo[0], None) and next(coming) is None  # the second still is under way
    hosts.fetched("second")
    assert next(coming) is todo[2]
    assert hosts.see(todo[1], None) and hosts.see(todo[2], None) and list(coming) == []


def test_sources_of_a_host_are_spaced() -> None:
    run = Run(items(*(f"https://v.example/{place}" for place in range(5))), Fetch(sleep_s=8), fine)
    times = sorted(time for times in run.begun.values() for time in times)
    assert all(late - early >= 4 for early, late in itertools.pairwise(times))
