"""The benchmark: five face tasks, full and few-shot, that anyone can re-run.

run("landmarks", "pts", "random", data=DIR, arch="resnet18")   -> list[Result]
tables(read_results("results.jsonl"))                             the paper's tables; `render` writes them
"""

from __future__ import annotations

from curate.choices import TASKS
from curate.evaluate.benchmark import run
from curate.evaluate.config import EvaluateRecipe
from curate.evaluate.config import load as load_recipe
from curate.evaluate.datasets import CATALOGUE
from curate.evaluate.figures import draw_all as draw_figures
from curate.evaluate.results import Result, Summary, summarise
from curate.evaluate.results import read as read_results
from curate.evaluate.tables import render, tables

__all__ = [
    "CATALOGUE",
    "TASKS",
    "EvaluateRecipe",
    "Result",
    "Summary",
    "draw_figures",
    "load_recipe",
    "read_results",
    "render",
    "run",
    "summarise",
    "tables",
]
