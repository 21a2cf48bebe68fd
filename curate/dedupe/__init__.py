"""A whole build in, decisions out: covers, redundancy curves, copies of whole videos.

cover    who stands for whom, exactly
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import exports

if TYPE_CHECKING:
    from curate.dedupe.covers import cover

__all__ = ["cover"]

__getattr__, __dir__ = exports(__name__, {"cover": "curate.dedupe.covers"})
