"""What the page shows of a study: its verdict and its curves, as the study left them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.study import headline, sentences
from curate.study.findings import of_study


@dataclass(frozen=True)
class StudyView:
    """A study as the page shows it.

    Attributes:
        figures: name of an SVG file -> its bytes.
    """

    name: str
    headline: str
    sentences: list[str]
    figures: dict[str, bytes]


def study_view(folder: Path) -> StudyView:
    """Reads a study that has results.

    Raises:
        UsageError: the folder holds none.
    """
    findings = of_study(folder)
    figures = {path.stem: path.read_bytes() for path in sorted((folder / "figures").glob("*.svg"))}
    return StudyView(folder.resolve().name, headline(findings), sentences(findings), figures)
