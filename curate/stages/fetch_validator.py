"""What a server says of a file, by which a later answer is known to be of the same bytes (RFC 9110, 8.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Validator:
    """What one answer says of the file.

    Attributes:
        etag: the entity tag, weak ones with their `W/`.
        modified: the text of `Last-Modified`.
        length: bytes of the whole file.
    """

    etag: str | None = None
    modified: str | None = None
    length: int | None = None

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str]) -> Validator:
        """What an answer says, be it of the whole file or of a part (status 206)."""
        _, _, total = (headers.get("Content-Range") or "").rpartition("/")
        length = total if status == 206 else headers.get("Content-Length") or ""
        return cls(headers.get("ETag"), headers.get("Last-Modified"), int(length) if length.isdecimal() else None)

    @property
    def condition(self) -> str | None:
        """For `If-Range`: a strong entity tag, else the time of change; None where neither is known."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def agrees(self, other: Validator) -> bool:
        """Whether two answers are of the same file: nothing that both say differs."""
        both = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return all(one == two for one, two in both if one is not None and two is not None)
