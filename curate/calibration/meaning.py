"""What a threshold means in words: which edits leave a picture the same one, which changes make it a new one.

The words follow from measured shares; none is written by hand. `MEASURED` holds those of the default threshold of the
appearance space, from `benchmarks/near_duplicates.py`; a space of a trained backbone brings its own calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.calibration import edits
from curate.calibration.expression import CHANGED

ONE = 0.95
"""Share of edited copies at or above the threshold from which such an edit is said to leave the picture the same."""
TWO = 0.95
"""Share of changed faces below the threshold from which such a change is said to make a new picture."""
MEASURED: dict[str, Any] = {
    "threshold": 0.994,
    "source": "benchmarks/results/near_duplicates-epyc-2core.json",
    "by_edit": {
        "re-encoded at CRF 18": 0.984,
        "re-encoded at CRF 24": 0.96,
        "re-encoded at CRF 30": 0.951,
        "re-encoded at CRF 35": 0.818,
        "re-encoded at CRF 40": 0.529,
        "brightness -40 levels": 0.927,
        "brightness -20 levels": 0.976,
        "brightness 20 levels": 0.984,
        "brightness 40 levels": 0.976,
        "contrast times 0.7": 0.992,
        "contrast times 1.3": 0.96,
        "gamma 0.6": 0.968,
        "gamma 0.8": 0.984,
        "gamma 1.25": 0.992,
        "gamma 1.6": 0.967,
        "colour cast -0.2": 0.976,
        "colour cast -0.1": 0.984,
        "colour cast 0.1": 1.0,
        "colour cast 0.2": 0.984,
        "grey": 0.976,
        "noise of 3 levels": 0.992,
        "noise of 6 levels": 0.976,
        "noise of 10 levels": 0.918,
        "watermark": 0.416,
        "rescaled 0.3 times": 1.0,
        "rescaled 0.5 times": 0.99,
        "rescaled 0.75 times": 1.0,
        "rescaled 1.5 times": 0.984,
        "rescaled 2 times": 1.0,
        "shifted 1 px": 0.984,
        "shifted 2 px": 0.976,
        "shifted 4 px": 0.992,
        "turned -3 degrees": 0.984,
        "turned 3 degrees": 0.984,
        "letterboxed to 0.75 of the frame": 0.992,
        "letterboxed to 0.5 of the frame": 1.0,
        "half size, brighter and re-encoded at CRF 34": 0.612,
        "mirrored": 0.0,
    },
    "by_change": {
        "mouth": 0.004,
        "eyes": 0.065,
        "smile": 0.0,
        "brows": 0.0,
        "gaze": 0.0,
        "yaw": 0.0,
        "pitch": 0.0,
    },
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
    measured = space.get("meaning") or space.get("calibration")
    if not measured:
        return ""
    shares = measured["by_edit"]
    one, seldom = _edits(shares, ONE, 1.01), _edits(shares, -1, 0.5)
    text = f"One picture (at least {ONE:.0%} of such copies are found): {'; '.join(one) or 'no edit of those tried'}."
    if seldom:
        text += f" Mostly taken for another: {'; '.join(seldom)}."
    apart = {name: 1 - share for name, share in (measured.get("by_change") or {}).items() if share is not None}
    new = [NAMES[name].format(f"{CHANGED[name]:g}") for name, share in apart.items() if share >= TWO]
    rest = [f"{NAMES[name].format(f'{CHANGED[name]:g}')} ({apart[name]:.0%})" for name in apart if apart[name] < TWO]
    if new:
        text += f" Two pictures (at least {TWO:.0%} distinguished): {'; '.join(new)}."
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
