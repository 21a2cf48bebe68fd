"""What a worker of a cluster must have before it gets work: the same curate and libraries, and readable sources.

The models of the face backend are compared by the worker's child process, before its first source (see
`curate.run.requests`). Which workers see the build's disk is remembered: they alone are given what needs it.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from curate import __version__, progress
from curate.errors import one_line
from curate.hardware import version_of
from curate.run.supervise import shares_disk
from curate.run.workforce import ANSWER_S

if TYPE_CHECKING:
    from distributed import Client

DECISIVE = ("av", "decord2", "dlib-bin", "insightface", "numpy", "onnxruntime", "opencv-python")
"""Libraries whose version may decide what faces come out."""


@dataclass(frozen=True)
class Expected:
    """What every worker must have.

    Attributes:
        versions: of curate and of what decides the faces; None where it is not installed.
        source: a local file of the list, which workers must see; None where there is none.
    """

    versions: dict[str, str | None]
    source: Path | None


def expected(local: Path | None) -> Expected:
    """What this machine has.

    Args:
        local: one of the list's local files.
    """
    versions: dict[str, str | None] = {name: version_of(name) for name in DECISIVE}
    return Expected(versions | {"curate": __version__}, local)


def look(wanted: Expected) -> str | None:
    """Run on a worker: what it lacks, with the fix."""
    own = expected(None).versions
    host = socket.gethostname()
    for name, version in wanted.versions.items():
        if own[name] != version:
            return f"on {host} has {name} {own[name] or 'not at all'}, wanted is {version}: install that version there"
    if wanted.source is not None and not wanted.source.exists():
        return f"on {host} does not see {wanted.source}: mount the sources' disk there at the same path, or list URLs"
    return None


def _look(wanted: Expected, nonce: tuple[Path, str]) -> tuple[str | None, bool]:
    return look(wanted), shares_disk(nonce)


class Preflight:
    """Looks at workers from the driver, see `curate.run.workforce.Check`.

    Args:
        nonce: a file on the build's disk and what it holds.
    """

    def __init__(self, wanted: Expected, nonce: tuple[Path, str]) -> None:
        self._wanted, self._nonce = wanted, nonce
        self._shares: dict[str, bool] = {}

    @property
    def shared(self) -> bool:
        """Whether any worker sees the build's disk."""
        return any(self._shares.values())

    def where(self) -> list[str] | None:
        """Addresses of the workers that see the build's disk; None where all do, or none."""
        seeing = [address for address, shares in self._shares.items() if shares]
        return seeing if 0 < len(seeing) < len(self._shares) else None

    def __call__(self, client: Client, address: str) -> str | None:
        """What makes a worker unfit, with the fix; None where it is fit."""
        wanted = self._wanted
        found: str | None
        try:
            answers = client.run(_look, wanted, self._nonce, workers=[address], callback_timeout=ANSWER_S)
            found, shares = answers[address]
        except Exception as error:  # Dask wraps what goes wrong on the way
            text = one_line(error, 120)
            if isinstance(error, ImportError) or "ModuleNotFoundError" in text or "ImportError" in text:
                version = wanted.versions["curate"]
                return f"has no curate that can be used ({text}): pip install curate-faces=={version} there"
            return f"does not answer ({text})"  # it has gone again
        if found is None:
            if not shares and all(self._shares.values()):
                progress.say(f"worker {address} does not see {self._nonce[0].parent}: it sends its faces back")
            self._shares[address] = shares
        return found
