"""What the pages of a build, a run and a study share: the shell of a page, plots as SVG, small pictures.

redundancy_curve, redundancy_by_rate    plots of `redundancy.json`, as SVG text
contact_sheet                           faces of a build side by side, as JPEG
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import exports

if TYPE_CHECKING:
    from curate.drawing.pictures import contact_sheet
    from curate.drawing.plots import redundancy_by_rate, redundancy_curve

__all__ = ["contact_sheet", "redundancy_by_rate", "redundancy_curve"]

__getattr__, __dir__ = exports(
    __name__, dict.fromkeys(__all__, "curate.drawing.plots") | {"contact_sheet": "curate.drawing.pictures"}
)
