"""`DIR/report.html` of a study: the verdict, a table a task, curves with intervals and the grid; one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from curate.drawing.template import render
from curate.storage.documents import mapping, read_json
from curate.storage.files import write_bytes
from curate.study import figures, results, tables, verdict
from curate.study.findings import Findings

TEMPLATE = Path(__file__).with_name("page.html")
CAPTIONS = {
    "faces": "Covers of one size, against the different faces that they hold. Bars and bands: 95 % bootstrap intervals "
    "over seeds; vertical: the knee with its 95 % interval.",
    "share": "Against the share of all faces that is kept. Bars: 95 % bootstrap intervals over seeds.",
    "redundancy": "Covers of one size, against their redundancy. Bars and bands: 95 % bootstrap intervals over seeds.",
    "grid": "The grid: means over seeds; darker is better.",
}


def write(out: Path, findings: Findings) -> Path:
    """Writes `report.html`, `statistics.json`, `tables/` and `figures/` into a study, and returns the page's path.

    Args:
        findings: of the study, see `curate.study.findings.of_study`.
    """
    record = read_json(out / "study.json", mapping, "run the same curate study again")
    tables.write(findings, out)
    target = out / "report.html"
    write_bytes(target, render(TEMPLATE, **gather(out, record, findings)).encode("utf-8"))
    return target


def gather(out: Path, record: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """Everything that the page shows."""
    drawn = figures.draw_all(findings, out / "figures")
    sentences = verdict.sentences(findings)
    caution = verdict.cautions(findings)
    seconds = {score.arm: (score.train_seconds or 0) * score.summary.seeds for score in findings.scores}
    path = out / results.NAME
    lines = results.read(path) if path.exists() else []
    return {
        "name": out.resolve().name,
        "headline": verdict.headline(findings),
        "verdict": [line for line in sentences if line not in caution],
        "cautions": caution,
        "cells": len(record["cells"]),
        "measured": len({line.columns["cell"] for line in lines} & set(record["cells"])),
        "arms": len({score.arm for score in findings.scores}),
        "seeds": findings.seeds,
        "hours": sum(seconds.values()) / 3600,
        "tables": [
            {
                "title": table.title,
                "slug": tables.slug(table.title),
                "heads": (*tables.HEADS, *table.columns),
                "rows": table.rows,
                "figures": [
                    {"question": question.protocol, "svg": Markup(svg), "caption": CAPTIONS[kind]}  # noqa: S704 - our own SVG
                    for question in table.questions
                    for kind, svg in drawn.get(question, {}).items()
                ],
            }
            for table in tables.tables(findings)
        ],
        "failures": read_json(out / "failures.json", list, "run the same curate study again"),
        "recipe": yaml.safe_dump(record["recipe"], sort_keys=False),
    }
