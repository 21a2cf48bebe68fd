"""What a threshold means in words: which edits leave a picture the same one, which changes make it a new one.

The words follow from measured shares; none is written by hand. `MEASURED` holds those of the usual threshold of each
version of the appearance space, with intervals by video (`benchmarks/near_duplicates_held_out.py`); a space of a
trained backbone brings its own calibration.
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
MEASURED: dict[str, dict[str, Any]] = {
    "2": {
        "threshold": 0.994,
        "source": "benchmarks/results/near_duplicates_held_out-xeon-2core.json",
        "videos": 34,
        "recall": [0.937, 0.913, 0.959],
        "false": [0.042, 0.009, 0.079],
        "precision": [0.957, 0.917, 0.991],
        "by_edit": {
            "re-encoded at CRF 18": 0.971,
            "re-encoded at CRF 24": 1.0,
            "re-encoded at CRF 30": 0.941,
            "re-encoded at CRF 35": 0.824,
            "re-encoded at CRF 40": 0.545,
            "brightness -40 levels": 0.941,
            "brightness -20 levels": 1.0,
            "brightness 20 levels": 1.0,
            "brightness 40 levels": 1.0,
            "contrast times 0.7": 0.941,
            "contrast times 1.3": 0.971,
            "gamma 0.6": 0.941,
            "gamma 0.8": 0.971,
            "gamma 1.25": 1.0,
            "gamma 1.6": 0.912,
            "colour cast -0.2": 0.971,
            "colour cast -0.1": 0.971,
            "colour cast 0.1": 1.0,
            "colour cast 0.2": 0.971,
            "grey": 0.971,
            "noise of 3 levels": 1.0,
            "noise of 6 levels": 1.0,
            "noise of 10 levels": 0.971,
            "watermark": 0.412,
            "rescaled 0.3 times": 1.0,
            "rescaled 0.5 times": 1.0,
            "rescaled 0.75 times": 1.0,
            "rescaled 1.5 times": 1.0,
            "rescaled 2 times": 0.971,
            "shifted 1 px": 0.971,
            "shifted 2 px": 1.0,
            "shifted 4 px": 0.971,
            "turned -3 degrees": 1.0,
            "turned 3 degrees": 1.0,
            "letterboxed to 0.75 of the frame": 1.0,
            "letterboxed to 0.5 of the frame": 1.0,
            "half size, brighter and re-encoded at CRF 34": 0.571,
            "mirrored": 0.0,
        },
        "by_change": {
            "mouth": 0.006,
            "eyes": 0.151,
            "smile": 0.02,
            "brows": 0.012,
            "gaze": 0.0,
            "yaw": 0.0,
            "pitch": 0.032,
        },
        "by_change_interval": {
            "mouth": [0.0, 0.014],
            "eyes": [0.018, 0.276],
            "smile": [0.0, 0.055],
            "brows": [0.0, 0.022],
            "gaze": [0.0, 0.527],
            "yaw": [0.0, 0.348],
            "pitch": [0.0, 0.083],
        },
    },
    "3": {
        "threshold": 0.986,
        "source": "benchmarks/results/near_duplicates_held_out-xeon-2core.json",
        "videos": 34,
        "recall": [0.962, 0.953, 0.97],
        "false": [0.012, 0.001, 0.032],
        "precision": [0.987, 0.967, 0.999],
        "by_edit": {
            "re-encoded at CRF 18": 1.0,
            "re-encoded at CRF 24": 1.0,
            "re-encoded at CRF 30": 0.971,
            "re-encoded at CRF 35": 0.853,
            "re-encoded at CRF 40": 0.545,
            "brightness -40 levels": 0.971,
            "brightness -20 levels": 1.0,
            "brightness 20 levels": 1.0,
            "brightness 40 levels": 1.0,
            "contrast times 0.7": 1.0,
            "contrast times 1.3": 1.0,
            "gamma 0.6": 1.0,
            "gamma 0.8": 1.0,
            "gamma 1.25": 1.0,
            "gamma 1.6": 1.0,
            "colour cast -0.2": 1.0,
            "colour cast -0.1": 1.0,
            "colour cast 0.1": 1.0,
            "colour cast 0.2": 1.0,
            "grey": 1.0,
            "noise of 3 levels": 1.0,
            "noise of 6 levels": 1.0,
            "noise of 10 levels": 1.0,
            "watermark": 0.529,
            "rescaled 0.3 times": 1.0,
            "rescaled 0.5 times": 1.0,
            "rescaled 0.75 times": 1.0,
            "rescaled 1.5 times": 1.0,
            "rescaled 2 times": 1.0,
            "shifted 1 px": 1.0,
            "shifted 2 px": 1.0,
            "shifted 4 px": 1.0,
            "turned -3 degrees": 1.0,
            "turned 3 degrees": 1.0,
            "letterboxed to 0.75 of the frame": 1.0,
            "letterboxed to 0.5 of the frame": 1.0,
            "half size, brighter and re-encoded at CRF 34": 0.714,
            "mirrored": 0.0,
        },
        "by_change": {
            "mouth": 0.011,
            "eyes": 0.007,
            "smile": 0.059,
            "brows": 0.06,
            "gaze": 0.0,
            "yaw": 0.0,
            "pitch": 0.051,
        },
        "by_change_interval": {
            "mouth": [0.0, 0.032],
            "eyes": [0.0, 0.02],
            "smile": [0.0, 0.159],
            "brows": [0.0, 0.111],
            "gaze": [0.0, 0.527],
            "yaw": [0.0, 0.348],
            "pitch": [0.0, 0.132],
        },
    },
}
"""By version of the appearance space, at its usual threshold."""
KEYS = "recall", "false", "precision"
NAMES = {
    "mouth": "lips {} of the distance between the eyes further apart",
    "eyes": "eyes opened or closed by {} of their width",
    "smile": "a mouth wider by {} of the distance between the eyes",
    "brows": "brows raised by {} of the distance between the eyes",
    "gaze": "eyes that look aside by {} of their width",
    "yaw": "a yaw of {} degrees",
    "pitch": "a pitch of {} degrees",
}


def summary(version: str, threshold: float) -> dict[str, Any]:
    """What `build.json` says of a version of the appearance space at `threshold`; empty where that was not measured."""
    measured = MEASURED.get(version)
    return {"meaning": measured} if measured and measured["threshold"] == threshold else {}


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
    text = _overall(measured)
    text += f"One picture (at least {ONE:.0%} of such copies are found): {'; '.join(one) or 'no edit of those tried'}."
    if seldom:
        text += f" Mostly taken for another: {'; '.join(seldom)}."
    apart = {name: 1 - share for name, share in (measured.get("by_change") or {}).items() if share is not None}
    spread = measured.get("by_change_interval") or {}

    def told(name: str) -> str:
        low, high = (1 - share for share in reversed(spread[name])) if name in spread else (apart[name],) * 2
        shares = f"{apart[name]:.0%}" if low == high else f"{apart[name]:.0%}, {low:.0%} to {high:.0%}"
        return f"{NAMES[name].format(f'{CHANGED[name]:g}')} ({shares})"

    new = [told(name) for name, share in apart.items() if share >= TWO]
    rest = [told(name) for name, share in apart.items() if share < TWO]
    if new:
        text += f" Two pictures (at least {TWO:.0%} distinguished): {'; '.join(new)}."
    if rest:
        text += f" Less surely: {'; '.join(rest)}."
    return text


def _overall(measured: Mapping[str, Any]) -> str:
    """How often copies are found and changed faces matched, with intervals; empty for a calibration, which has none."""
    if not set(KEYS) <= measured.keys() or not isinstance(measured["recall"], list):
        return ""
    shares = [f"{share:.1%} ({low:.1%} to {high:.1%})" for share, low, high in (measured[key] for key in KEYS)]
    return (
        f"Measured on {measured['videos']} videos, with 95% intervals by video: {{}} of edited copies are found, {{}} "
        "of changed faces are matched; of as many of both, {} of the matches are right. ".format(*shares)
    )


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
