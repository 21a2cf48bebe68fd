"""The videos below a folder, and what lies there and is none.

Linked folders are followed, each folder once, however many links lead to it or back up: folders under their own names
come first. Whatever is left out is counted and named.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from curate.errors import one_line

VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf", ".m1v",
    ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu",
    ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip
"""Files with these endings are videos: what a folder is searched for, and what is not taken for a text list."""

_NAMED = 3
"""So many of what is left out for one reason are named."""


@dataclass
class _Found:
    """What a walk has found.

    Attributes:
        videos: files with a video's ending, links that lead nowhere too.
        left_out: reason -> what was left out for it; all relative to the folder.
        linked: links to folders, not followed yet.
        seen: device and inode of each folder that was entered.
    """

    videos: list[Path] = field(default_factory=list)
    left_out: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    linked: list[Path] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)


def videos_below(folder: Path) -> tuple[list[Path], list[str]]:
    """Every video below a folder.

    Returns:
        The files, relative to the folder and sorted, a link to a file that is not there among them; and one line for
        each reason for which something was left out.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    found = _Found()
    os.scandir(folder).close()
    _walk(folder, Path(), found)
    while found.linked:
        found.linked.sort()
        _walk(folder, found.linked.pop(0), found)
    return sorted(found.videos), [_line(why, sorted(paths)) for why, paths in sorted(found.left_out.items())]


def _walk(root: Path, first: Path, found: _Found) -> None:
    """Walks one folder and those inside it; links to folders wait until all that are no links are walked."""
    waiting = [first]
    while waiting:
        below = waiting.pop()
        try:
            status = (root / below).stat()
            if (status.st_dev, status.st_ino) in found.seen:
                continue
            found.seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / below) as entries:
                for entry in entries:
                    folder = _sort(below / entry.name, entry, found)
                    if folder is not None:
                        waiting.append(folder)
        except OSError as error:
            found.left_out[f"cannot be read ({error.strerror})"].append(below)


def _sort(path: Path, entry: os.DirEntry[str], found: _Found) -> Path | None:
    """Puts one entry where it belongs; a folder that is no link is handed back."""
    if entry.name.startswith("."):
        found.left_out["hidden"].append(path)
    elif _is_folder(entry):
        if not entry.is_symlink():
            return path
        found.linked.append(path)
    elif path.suffix.lower() not in VIDEO_SUFFIXES:
        found.left_out["no video by its ending"].append(path)
    elif entry.is_symlink() or entry.is_file():  # a link to nowhere becomes a row that says so
        found.videos.append(path)
    else:
        found.left_out["no regular file"].append(path)
    return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that is closed
        return False


def _line(why: str, paths: list[Path]) -> str:
    names = ", ".join(one_line(path, 60) for path in paths[:_NAMED])
    return f"{len(paths):,} left out: {why} ({names}{', ...' if len(paths) > _NAMED else ''})"
