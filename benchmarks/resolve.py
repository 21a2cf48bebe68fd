"""Which packages pip would install for curate, by PyPI's metadata alone: on a CPU, with CUDA 12 and with CUDA 13.

    python benchmarks/resolve.py [--only "CUDA 12"]     writes benchmarks/results/resolved.json

Nothing is installed. As README says, onnxruntime-gpu takes the place of onnxruntime where there is a GPU. The tests
check what was found: that it is what pyproject.toml asks for, and that torch and onnxruntime are of one CUDA.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOUND = ROOT / "benchmarks/results/resolved.json"
SETS = {
    "CPU": ["."],
    "CUDA 12": [".[nvjpeg-cuda12]", "torch<2.9", "onnxruntime-gpu<1.27"],
    "CUDA 13": [".[nvjpeg-cuda13]", "onnxruntime-gpu"],
}
"""What is asked for: curate, its extra, and what a user has or puts beside it."""


def resolved(wishes: list[str]) -> dict[str, str]:
    """Versions by package."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", report, *wishes], check=True, cwd=ROOT)
        packages = [package["metadata"] for package in json.loads(report.read_text())["install"]]
    found = {re.sub(r"[-_.]+", "-", package["name"]).lower(): package["version"] for package in packages}
    if "onnxruntime-gpu" in found:
        del found["onnxruntime"]
    return dict(sorted(found.items()))


def main() -> None:
    """Resolves and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(SETS), help="the others stay as they were found")
    only = parser.parse_args().only
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    for name, wishes in SETS.items():
        if only in (None, name):
            found[name] = resolved(wishes)
            FOUND.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
