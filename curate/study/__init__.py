"""Studies: a grid of manifests x methods x tasks, its statistics, and what may be said.

run             a recipe -> DIR/results.jsonl, report.html, tables, figures; resumed where it stopped
read_results    the measurements of a study
of_study        the folder of a study -> means, differences, smallest shares, as its recipe compares them
find            the same from measurements alone
headline, sentences, task_tables, draw_figures   findings as words, tables and plots
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import exports

if TYPE_CHECKING:
    from curate.study.config import StudyRecipe
    from curate.study.config import load as load_recipe
    from curate.study.execute import StudyOutcome, run
    from curate.study.figures import draw_all as draw_figures
    from curate.study.findings import Findings, find, of_study
    from curate.study.results import read as read_results
    from curate.study.tables import as_markdown
    from curate.study.tables import tables as task_tables
    from curate.study.verdict import headline, sentences

__all__ = [
    "Findings",
    "StudyOutcome",
    "StudyRecipe",
    "as_markdown",
    "draw_figures",
    "find",
    "headline",
    "load_recipe",
    "of_study",
    "read_results",
    "run",
    "sentences",
    "task_tables",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "Findings": "curate.study.findings",
        "StudyOutcome": "curate.study.execute",
        "StudyRecipe": "curate.study.config",
        "as_markdown": "curate.study.tables",
        "draw_figures": "curate.study.figures:draw_all",
        "find": "curate.study.findings",
        "headline": "curate.study.verdict",
        "load_recipe": "curate.study.config:load",
        "of_study": "curate.study.findings",
        "read_results": "curate.study.results:read",
        "run": "curate.study.execute",
        "sentences": "curate.study.verdict",
        "task_tables": "curate.study.tables:tables",
    },
)
