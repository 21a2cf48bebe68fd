"""`DIR/report.html` of a study: the verdict, a table a task, curves with intervals and the grid; one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from curate.report import study_plots
from curate.storage.files import write_bytes
from curate.study import results, tables, verdict
from curate.study.findings import Findings, find

CAPTIONS = {
    "share": "Against the share of all faces that is kept. Bars: 95 % bootstrap intervals over seeds.",
    "redundancy": "Covers of one size, against their redundancy. Bars and bands: 95 % bootstrap intervals over seeds.",
    "grid": "The grid: means over seeds; darker is better.",
}


def write(out: Path) -> Path:
    """Writes `report.html`, `statistics.json`, `tables/` and `figures/` into a study, and returns the page's path."""
    told = json.loads((out / "study.json").read_text(encoding="utf-8"))
    findings = findings_of(out)
    tables.write(findings, out)
    loader = jinja2.PackageLoader("curate.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("study.html").render(**gather(out, told, findings))
    write_bytes(out / "report.html", page.encode("utf-8"))
    return out / "report.html"


def findings_of(out: Path) -> Findings:
    """What the measurements of the study's present recipe say."""
    told = json.loads((out / "study.json").read_text(encoding="utf-8"))
    path, wanted = out / results.NAME, set(told["cells"])
    lines = results.read(path) if path.exists() else []
    return find((line for line in lines if line.columns["cell"] in wanted), told["recipe"]["compare"])


def gather(out: Path, told: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """Everything that the page shows."""
    figures = study_plots.draw_all(findings, out / "figures")
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
        "cells": len(told["cells"]),
        "measured": len({line.columns["cell"] for line in lines} & set(told["cells"])),
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
                    for kind, svg in figures.get(question, {}).items()
                ],
            }
            for table in tables.tables(findings)
        ],
        "failures": json.loads((out / "failures.json").read_text(encoding="utf-8")),
        "recipe": yaml.safe_dump(told["recipe"], sort_keys=False),
    }
