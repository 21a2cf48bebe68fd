"""What the pages of a build, a run and a study share: the shell of a page, plots as SVG, small pictures.

redundancy_curve, redundancy_by_rate    plots of `redundancy.json`, as SVG text
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import exports

if TYPE_CHECKING:
    from curate.drawing.plots import redundancy_by_rate, redundancy_curve

__all__ = ["redundancy_by_rate", "redundancy_curve"]

__getattr__, __dir__ = exports(__name__, dict.fromkeys(__all__, "curate.drawing.plots"))
