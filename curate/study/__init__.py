"""Studies: a grid of manifests x methods x tasks, its statistics, and what may be said.

run        RECIPE -> DIR/results.jsonl, gone on with where it stopped
findings   results.jsonl -> means, paired differences, smallest shares, a verdict
"""

from __future__ import annotations

from curate.study.config import Recipe
from curate.study.findings import Findings, find
from curate.study.results import read as read_results
from curate.study.run import run

__all__ = ["Findings", "Recipe", "find", "read_results", "run"]
