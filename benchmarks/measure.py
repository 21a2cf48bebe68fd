"""What all benchmarks share: alternating runs, medians, the line of JSON, the machine."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def arguments(description: str) -> argparse.Namespace:
    """What `parser` has."""
    return parser(description).parse_args()


def parser(description: str) -> argparse.ArgumentParser:
    """`--quick`, `--json FILE` and whatever a benchmark adds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds on 2 cores")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    parser.add_argument("--source", type=Path, help="folder of videos; default: the demo's clips")
    parser.add_argument("--models", type=Path, help="insightface root; default: what needs none")
    return parser


def alternate(
    runs: dict[str, Callable[[], Any]],
    rounds: int = 3,
    fewer: dict[str, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of each run, taken in turns so that a slow minute hits all alike, and what each last returned.

    Args:
        fewer: runs that take part in the first few rounds only, and in how many; the result has to say so.
        clock: seconds, of the wall or (`time.process_time`) of the processor.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, Any] = {}
    for done in range(rounds):
        for name, run in runs.items():
            if done >= (fewer or {}).get(name, rounds):
                continue
            started = clock()
            results[name] = run()
            seconds[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}, results


def adopt() -> None:
    """Has what processes leave behind become children of this one, so that `processor_s` counts it."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def processor_s() -> float:
    """Seconds of processor of this process and of all that it started, ended or not; see `adopt`."""
    spent, parents = {}, {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:  # it has gone
            continue
        pid = int(place.parent.name)
        parents[pid], spent[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(spent[pid] for pid in own) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """Processor, cores and memory."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"


def report(result: dict[str, Any], path: Path | None) -> None:
    """Prints a table and the line of JSON, and writes the JSON where asked."""
    result = {"machine": machine(), "peak_mb": round(peak_mb() + _children_mb()), **result}
    print(f"{'':24}{'seconds':>10}{'ours / it':>12}  quality")
    rows = [("curate", {"seconds": result["ours_s"], "quality": result.get("quality", "")})]
    rows += list(result["peers"].items())
    rows.append((f"floor: {result['floor']}", {"seconds": result["floor_s"], "quality": ""}))
    for name, row in rows:
        print(f"{name:24}{row['seconds']:10.2f}{result['ours_s'] / row['seconds']:12.2f}  {row['quality']}")
    line = json.dumps(result)
    if path:
        path.write_text(json.dumps(result, indent=2) + "\n")
    print(line)


def peak_mb() -> float:
    """The most memory that this process has held; `ru_maxrss` would count what its parent held at its start too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


def _children_mb() -> float:
    """At least the most memory that one child, of those waited for, has held."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
