"""Which downloads a build keeps: those that the recipe lets it, of sources that could be used, within its budget."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path

from curate import locations, progress
from curate.recipe import Fetch
from curate.records import Source
from curate.stages import fetch


class MediaStore:
    """The folder of downloads, while a run works through sources.

    Ranges of one video share its download, which goes when the last of them is done. What a killed run left of sources
    that are not asked for any more goes at once.

    Args:
        folder: where downloads lie.
        todo: the sources that this run works on.
    """

    def __init__(self, folder: Path, settings: Fetch, todo: Iterable[Source]) -> None:
        self._folder, self._settings = folder, settings
        self._waiting = Counter(fetch.name_of(one.source) for one in todo if not locations.is_local(one.location))
        self._used: set[str] = set()
        self._removed = [0, 0]  # downloads, bytes
        fetch.sweep(folder, self._waiting)
        kept = fetch.kept_in(folder) if settings.media_budget else []
        self._kept = deque(name for name, _ in kept)
        self._sizes = dict(kept)

    def settle(self, source: Source, *, good: bool) -> None:
        """A source is done; `good`: it could be used."""
        name = fetch.name_of(source.source)
        if name not in self._waiting or locations.is_local(source.location):
            return
        if good:
            self._used.add(name)
        self._waiting[name] -= 1
        if self._waiting[name]:
            return
        del self._waiting[name]
        if not self._settings.keep_media or name not in self._used:
            fetch.forget(source, self._folder)
            self._sizes.pop(name, None)
        elif self._settings.media_budget:
            self._sizes[name] = fetch.kept_bytes(source, self._folder)
            self._kept.append(name)
            self._shrink(self._settings.media_budget)
        self._used.discard(name)

    def close(self) -> None:
        """Says what was removed, and leaves no empty folder."""
        downloads, size = self._removed
        if downloads:
            progress.say(
                f"{downloads:,} downloads ({size / 1e9:,.2f} GB) removed, the oldest first: fetch.media_budget = "
                f"{self._settings.media_budget:,}"
            )
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _shrink(self, budget: int) -> None:
        """Removes the oldest downloads that nothing in this run still needs."""
        total = sum(self._sizes.values())
        for name in list(self._kept) if total > budget else ():
            if total <= budget:
                break
            if name not in self._waiting:
                size = self._sizes.pop(name, 0)
                fetch.remove(name, self._folder)
                self._kept.remove(name)
                self._removed[0] += 1
                self._removed[1] += size
                total -= size
