"""What a threshold means in words: which edits leave a picture the same one, which changes make it a new one.

The words follow from measured shares; none is written by hand. `MEASURED` holds those of the default threshold of the
appearance space, from `benchmarks/near_duplicates.py`; a space of a trained backbone brings its own calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.stages import edits
from curate.stages.expression import CHANGED

ONE = 0.95
"""Share of edited copies at or above the threshold from which such an edit is said to leave the picture the same."""
TWO = 0.95
"""Share of changed faces below the threshold from which such a change is said to make a new picture."""
MEASURED: dict[str, Any] = {
    "threshold": 0.994,
    "source": "benchmarks/results/near_duplicates-epyc-2core.json",
    "by_edit": {
        "re-encoded at CRF 18": 1.0,
        "re-encoded at CRF 24": 1.0,
        "re-encoded at CRF 30": 0.943,
        "re-encoded at CRF 35": 0.829,
        "re-encoded at CRF 40": 0.657,
        "brightness -40 levels": 0.8,
        "brightness -20 levels": 0.971,
        "brightness 20 levels": 1.0,
        "brightness 40 levels": 0.971,
        "contrast times 0.7": 1.0,
        "contrast times 1.3": 0.971,
        "gamma 0.6": 1.0,
        "gamma 0.8": 1.0,
        "gamma 1.25": 1.0,
        "gamma 1.6": 0.943,
        "colour cast -0.2": 0.943,
        "colour cast -0.1": 1.0,
        "colour cast 0.1": 1.0,
        "colour cast 0.2": 1.0,
        "grey": 0.971,
        "noise of 3 levels": 1.0,
        "noise of 6 levels": 1.0,
        "noise of 10 levels": 1.0,
        "watermark": 0.444,
        "rescaled 0.3 times": 1.0,
        "rescaled 0.5 times": 1.0,
        "rescaled 0.75 times": 0.971,
        "rescaled 1.5 times": 1.0,
        "rescaled 2 times": 1.0,
        "shifted 1 px": 1.0,
        "shifted 2 px": 1.0,
        "shifted 4 px": 1.0,
        "turned -3 degrees": 1.0,
        "turned 3 degrees": 1.0,
        "letterboxed to 0.75 of the frame": 1.0,
        "letterboxed to 0.5 of the frame": 1.0,
        "half size, brighter and re-encoded at CRF 34": 0.567,
        "mirrored": 0.0,
    },
    "by_change": {"mouth": 0.0, "eyes": 0.0, "smile": 0.0, "brows": 0.0, "yaw": 0.0, "pitch": 0.0},
}
NAMES = {
    "mouth": "lips {} of the distance between the eyes further apart",
    "eyes": "eyes opened or closed by {} of their width",
    "smile": "a mouth wider by {} of the distance between the eyes",
    "brows": "brows raised by {} of the distance between the eyes",
    "gaze": "eyes that look aside by {} of their width",
    "yaw": "a yaw of {} degrees",
    "pitch": "a pitch of {} degrees",
}


def summary(threshold: float) -> dict[str, Any]:
    """What `build.json` says of the appearance space at `threshold`; empty where that one was not measured."""
    return {"meaning": MEASURED} if MEASURED.get("threshold") == threshold else {}


def words(space: Mapping[str, Any]) -> str:
    """Sentences for people, from what `build.json` says of a space; empty where nothing was measured.

    Args:
        space: with `meaning` (measured) or `calibration` (of a trained backbone).
    """
    told = space.get("meaning") or space.get("calibration")
    if not told:
        return ""
    shares = told["by_edit"]
    one, seldom = _edits(shares, ONE, 1.01), _edits(shares, -1, 0.5)
    text = f"One picture (at least {ONE:.0%} of such copies are found): {'; '.join(one) or 'no edit of those tried'}."
    if seldom:
        text += f" Mostly taken for another: {'; '.join(seldom)}."
    apart = {name: 1 - share for name, share in (told.get("by_change") or {}).items() if share is not None}
    new = [NAMES[name].format(f"{CHANGED[name]:g}") for name, share in apart.items() if share >= TWO]
    rest = [f"{NAMES[name].format(f'{CHANGED[name]:g}')} ({apart[name]:.0%})" for name in apart if apart[name] < TWO]
    if new:
        text += f" Two pictures (at least {TWO:.0%} told apart): {'; '.join(new)}."
    if rest:
        text += f" Less surely: {'; '.join(rest)}."
    return text


def _edits(shares: Mapping[str, float], low: float, high: float) -> list[str]:
    """The edits whose share lies in [low, high), strengths of one kind together."""
    kinds: dict[str, list[edits.Edit]] = {}
    for edit in {e.name: e for e in (*edits.on_frames(), *edits.on_crops(), edits.mirrored())}.values():
        if low <= shares.get(edit.name, -2) < high:
            kinds.setdefault(edit.kind, []).append(edit)
    found = []
    for kind, members in kinds.items():
        first, last = min(members, key=_strength), max(members, key=_strength)
        unit = first.unit.format(f"{first.strength:g} to {last.strength:g}" if first != last else f"{first.strength:g}")
        found.append(f"{kind} {unit}".strip())
    return found


def _strength(edit: edits.Edit) -> float:
    return edit.strength
