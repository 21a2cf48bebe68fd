"""The driver's side of long videos: hands out their parts, and joins them once all are there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from curate import progress
from curate.errors import one_line
from curate.run import cluster
from curate.run.parts import Broken, Join, Looked, PartOf, Split
from curate.run.supervise import Pending
from curate.run.watched_child import Ended, Verdict
from curate.storage.ledger import Done

_END = object()


@dataclass
class _Video:
    item: Pending
    split: Split
    looked: dict[int, Looked] = field(default_factory=dict)
    left: int = 0
    broken: str = ""


class LongVideos:
    """The videos of a run that are worked on in parts."""

    def __init__(self) -> None:
        self._videos: dict[str, _Video] = {}
        self._ready: deque[Pending] = deque()

    def before(self, items: Iterable[Pending | None]) -> Iterator[Pending | None]:
        """The items, after the parts that wait; it ends with the items, which must last until all is done."""
        rest = iter(items)
        while True:
            item = self._ready.popleft() if self._ready else next(rest, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]  # not the end

    def takes(self, item: Pending, found: object) -> bool:
        """Whether an outcome is one step of a long video, so that the source itself goes on."""
        video_id = item.source.video_id
        if isinstance(found, Split):
            self._videos[video_id] = _Video(item, found, left=len(found.parts))
            count = len(found.parts)
            for number, part in enumerate(found.parts, 1):
                self._ready.append(replace(item, step=PartOf(found, part), about=f"part {number} of {count}"))
            return True
        if isinstance(item.step, Join) and not (isinstance(found, Done) and found.record.status != "failed"):
            self._ready.append(_as_a_whole(item, _reason(found)))
            return True
        if not isinstance(item.step, PartOf):
            return False
        video = self._videos[video_id]
        video.left -= 1
        if isinstance(found, Looked):
            video.looked[found.part.number] = found
        else:
            video.broken = video.broken or _reason(found)
        if not video.left:
            self._ready.append(self._last_step(self._videos.pop(video_id)))
        return True

    def _last_step(self, video: _Video) -> Pending:
        if video.broken:
            return _as_a_whole(video.item, video.broken)
        looked = [video.looked[part.number] for part in video.split.parts]
        return replace(video.item, step=Join(video.split, looked), about="joining its parts")


def _as_a_whole(item: Pending, reason: str) -> Pending:
    progress.say(f"{one_line(item.source.source, 80)}: worked on as a whole, not in parts ({reason})")
    return replace(item, step=None, whole=True, about="")


def _reason(found: object) -> str:
    if isinstance(found, Broken):
        return one_line(found.reason)
    if isinstance(found, Ended):
        return found.reason
    if cluster.died(found):
        return cluster.LOST
    if isinstance(found, Verdict):
        return one_line(found.message)
    if isinstance(found, Done):
        return one_line(found.record.error or "")
    return one_line(f"{type(found).__name__}: {found}")
