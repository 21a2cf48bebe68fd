"""When each frame of a stream is shown, from what its packets say of it, which may be little.

Packets come in the order of decoding and carry presentation times in ticks; some carry none, a broken or a joined
stream carries the same time twice, or begins to count again. `order_by_times` finds the order of presentation where
times alone tell it, and `timeline` gives every frame a time of its own:

* a time that is missing, or the same as that before it, or out of line for a frame or two, lies evenly between its
  neighbours; before the first known time and behind the last, frames follow each other at the usual distance;
* where times fall and stay down (streams joined end to end, a clock that was set back), the clock goes on behind the
  last frame;
* in streams that are made to be cut (MPEG transport and program streams), so it does where times leap ahead by more
  than `LEAP_S`, as players do; elsewhere a gap is a gap, a slide that is shown for long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NO_TIME = np.iinfo(np.int64).min
"""Ticks of a packet that carries no time."""

REORDERED = 16
"""Frames that may be shown before one that was decoded earlier, at most (H.264 and HEVC: size of their buffer)."""

LEAP_S = 10.0
"""Seconds between two frames from which a stream that is made to be cut is taken to have been."""

_USUAL = 10
"""Times the usual distance that a leap is, at least: slides may be shown for longer than `LEAP_S`."""

_OUT_OF_LINE = 2
"""Frames in a row whose time may lie behind that of an earlier one without the clock having been set back."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def parts(ticks: Ints, decoded_at: Ints, keys: NDArray[np.bool_], leap: float | None = None) -> list[tuple[int, int]]:
    """Where the clock begins to count again, or leaps: the first packet of each part, and the one behind its last.

    A key frame is shown after everything that was decoded before it, so one that says otherwise begins a further part,
    unless the clock of decoding goes on.

    Args:
        ticks, decoded_at: int64 [n], times of presentation and of decoding, in the order of decoding.
        keys: bool [n], key frames.
        leap: ticks from one frame to the next from which the clock has leapt; None: it never does.
    """
    starts, reached, last = [0], NO_TIME, 0
    for key in np.flatnonzero(keys).tolist():
        reached = max(reached, int(ticks[last:key].max(initial=NO_TIME)))
        last = key
        if not key or ticks[key] == NO_TIME:
            continue
        before, here = int(decoded_at[key - 1]), int(decoded_at[key])
        goes_on = before != NO_TIME and here > before
        if (ticks[key] <= reached and not goes_on) or (leap is not None and int(ticks[key]) - reached > leap):
            starts.append(key)
            reached = NO_TIME
    return list(zip(starts, [*starts[1:], len(ticks)], strict=True))


def order_by_times(ticks: Ints, found: list[tuple[int, int]]) -> Ints | None:
    """int64 [n]: the packets in the order of presentation; None where times do not tell.

    Inside a part all times have to be there, differ, and be no further from the order of decoding than a decoder can
    hold frames back.

    Args:
        ticks: int64 [n], presentation times in the order of decoding.
        found: the stream's `parts`.
    """
    if np.any(ticks == NO_TIME):
        return None
    order = np.empty(len(ticks), np.int64)
    for start, end in found:
        part = np.argsort(ticks[start:end], kind="stable")
        moved = np.abs(part - np.arange(end - start)).max(initial=0)
        if moved > REORDERED or np.any(np.diff(ticks[start:end][part]) == 0):
            return None
        order[start:end] = part + start
    return order


def timeline(ticks: Ints, period: float, leap: float | None = None) -> Floats:
    """float64 [n]: when each frame is shown, ticks from the first, ascending without end or repeat.

    Args:
        ticks: int64 [n], presentation times in the order of presentation, `NO_TIME` where there is none.
        period: ticks from one frame to the next where nothing tells better.
        leap: ticks between two frames from which the stream is taken to have been cut; None: never.
    """
    stated = len(ticks) > 0 and not np.any(ticks == NO_TIME)
    if stated and np.all(np.diff(ticks) > 0) and (leap is None or _gap(ticks) < leap):
        return np.asarray(ticks - ticks[0], np.float64)
    places = np.flatnonzero(ticks != NO_TIME)
    steps = np.diff(ticks[places])
    usual = steps[(steps > 0) & (np.diff(places) == 1)]
    period = float(np.median(usual)) if len(usual) else period
    known, times = _unfold(places, ticks[places], period, leap)
    if not len(known):
        return np.asarray(np.arange(len(ticks)) * period, np.float64)
    everyone = np.arange(len(ticks))
    shown = np.interp(everyone, known, times)
    shown += np.minimum(everyone - known[0], 0) * period + np.maximum(everyone - known[-1], 0) * period
    return np.asarray(shown - shown[0])


def _gap(ticks: Ints) -> int:
    return int(np.diff(ticks).max(initial=0))


def _unfold(places: Ints, ticks: Ints, period: float, leap: float | None) -> tuple[Ints, Floats]:
    """The frames whose times are believed, and these times on one clock that only rises."""
    known: list[int] = []
    times: list[float] = []
    shift = 0.0
    for at, (place, tick) in enumerate(zip(places.tolist(), ticks.tolist(), strict=True)):
        time = tick + shift
        if known:
            expected = times[-1] + (place - known[-1]) * period
            if time <= times[-1]:
                soon = ticks[at + 1 : at + 1 + _OUT_OF_LINE] + shift
                if time == times[-1] or np.any(soon > times[-1]):
                    continue
                shift, time = shift + expected - time, expected
            elif leap is not None and time - expected > max(leap, _USUAL * period):
                shift, time = shift + expected - time, expected
        known.append(place)
        times.append(time)
    return np.array(known, np.int64), np.array(times)
