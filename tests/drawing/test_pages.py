"""Pages read well at two widths, light and dark: measured in a browser, without comparing pixels."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from curate import pretrain
from curate.pretrain import page as run_page
from curate.run import page as build_page
from curate.study import page as study_page
from curate.study import results
from curate.study.findings import of_study
from tests.browser import SCREENS, chromium, faults
from tests.pretrain.conftest import write_build
from tests.pretrain.test_page import SETTINGS
from tests.run.test_page import make
from tests.study.invented import lines, nothing, redundancy_hurts


def run(folder: Path) -> Path:
    torch.set_num_threads(1)
    pretrain.run(write_build(folder / "faces"), folder / "run", overrides=SETTINGS | {"steps": 2})
    return run_page.write(folder / "run")


def study(folder: Path) -> Path:
    (folder / "study").mkdir()
    measured = lines(redundancy_hurts) + lines(nothing, title="people", metric="accuracy", task="recognition")
    results.append(folder / "study" / "results.jsonl", measured)
    cells = sorted({line.columns["cell"] for line in measured})
    (folder / "study" / "study.json").write_text(json.dumps({"recipe": {"compare": {}}, "cells": cells}))
    failure = {"what": "a cell with a long name / " * 6, "why": "no space left on the device " * 8}
    (folder / "study" / "failures.json").write_text(json.dumps([failure]))
    return study_page.write(folder / "study", of_study(folder / "study"))


def test_pages_read_well_at_two_widths_light_and_dark(tmp_path: Path) -> None:
    wrong = {}
    with chromium() as browser:
        for page in (build_page.write(make(tmp_path / "build", 120, 6)), run(tmp_path), study(tmp_path)):
            browser.open(page.as_uri())
            for width, colours in SCREENS:
                browser.show(width, colours)
                if found := faults(browser, width):
                    wrong[page.parent.name, width, colours] = found
    assert not wrong


WRONG = {
    "<p style='width: 2000px'>wide</p>": "wider than the window",
    "<div class='scroll' style='overflow: auto'><p style='width: 2000px'>wide</p></div>": "cut off",
    "<p style='color: #aaa'>faint</p>": "faint",
    "<img src='data:,'>": "no alt",
    "<table><tr><td class='wrap' style='width: 20px; max-width: 20px'>a long source</td></tr></table>": "sliver",
}


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    with chromium() as browser:
        browser.show(1400, "light")
        for body, said in WRONG.items():
            (tmp_path / "page.html").write_text(f"<!doctype html><style>* {{ padding: 0 }}</style>{body}")
            browser.open((tmp_path / "page.html").as_uri())
            assert any(said in fault for fault in faults(browser, 1400)), said
