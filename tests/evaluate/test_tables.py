"""Tables, reported cells, figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from curate.errors import UsageError
from curate.evaluate import Result, curves, figures, read_results, render, tables
from curate.evaluate.curves import MeasuredCurve
from curate.evaluate.reported import PAPER, REPORTED
from curate.evaluate.tables import HEADLINES, WIDTH, mark_of
from tests.evaluate import layouts
from tests.evaluate.test_benchmark import measure
from tests.evaluate.tiny import tiny

ONE = Result(
    "RUN/backbone.pt", "swav", "n1000.parquet", "landmarks", "cofw", "test", "nme", 0.05, 1.0, "linear", 0, 10, 5, 1.0
)


def three(metric: str = "nme", **changes: object) -> list[Result]:
    return [replace(ONE, metric=metric, value=v, seed=s, **changes) for s, v in enumerate((0.05, 0.06, 0.07))]  # type: ignore[arg-type]


def test_mean_deviation_and_interval_over_seeds() -> None:
    (table,) = tables(three())
    cell = table.rows[0][1][0]
    assert cell is not None and cell.text().startswith("6.00 ± 1.00 [5.")
    assert table.columns == ("cofw test nme %",)
    assert table.rows[0][0] == ("RUN/backbone.pt", "swav (n1000.parquet)", "linear", "100 %")


def test_agreement_is_not_shown_in_percent() -> None:
    (table,) = tables([replace(ONE, task="action_units", dataset="disfa", metric="icc", value=0.51234)])
    assert table.columns == ("disfa test icc",) and table.rows[0][1][0].text() == "0.512"  # type: ignore[union-attr]


def test_reported_cells_are_marked() -> None:
    (table,) = tables([ONE])
    labels, cells = next(row for row in table.rows if row[0][0].startswith("Bulat"))
    assert labels[2] == "as reported"
    assert cells[0] is not None and cells[0].mark == "rm" and cells[0].text() == "3.32"
    assert {mark_of(r) for r in REPORTED} == {"r", "rm"}
    for number in REPORTED:
        assert number.metric in HEADLINES[number.task]


def test_best_of_ours_is_marked_the_right_way_round() -> None:
    worse = replace(ONE, backbone="random", value=0.2)
    (table,) = tables([ONE, worse])
    assert [row[1][0].best for row in table.rows[:2]] == [True, False]  # type: ignore[union-attr]
    (table,) = tables([replace(r, metric="auc@0.10") for r in (ONE, worse)])
    assert [row[1][0].best for row in table.rows[:2]] == [False, True]  # type: ignore[union-attr]


HOSTILE = "[<script>|`x`_&%$*\\[a](b)"


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "html"])
def test_every_form_holds_the_numbers_and_escapes_names(form: str) -> None:
    text = render(tables(three(backbone=HOSTILE)), form)
    assert "6.00" in text and "3.32" in text and "unverified" in text
    if form in ("markdown", "html"):
        assert "<script>" not in text
    if form == "markdown":
        rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1
        assert r"| \[&lt;script&gt;\|\`x\`\_&amp;%$\*\\\[a](b) |" in text
    if form == "latex":
        assert r"{[}\textless{}script\textgreater{}\textbar{}`x`\_\&\%\$*\textbackslash{}{[}a](b)" in text
        assert text.count(r"\\") >= 3 and not any(line.lstrip().startswith("[") for line in text.splitlines())


def test_html_is_well_formed() -> None:
    text = render(tables(three(backbone=HOSTILE)), "html")
    body = text[text.index("<h2>") :]
    ElementTree.fromstring(f"<x>{body.replace('class=n', '').replace('class=r', '')}</x>")


def test_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="--format docx"):
        render([], "docx")


def test_tables_and_figures_of_real_runs(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    root = layouts.make_pts(tmp_path / "pts")
    measure("landmarks", "pts", root, out=out, fraction=[1.0, 0.5], seeds=2)
    measure("recognition", "pairs", layouts.make_pairs(tmp_path / "pairs"), out=out, mode="knn")
    found = read_results(out)
    assert [t.title for t in tables(found)] == ["Recognition", "Landmarks"]
    drawn = figures.draw_all(found, tmp_path / "curves", tmp_path / "figures")
    names = {path.name for path in drawn}
    assert {"ced-pts-test.svg", "roc-pairs.svg", "few-shot-pts-test-nme.svg"} <= names
    assert all(ElementTree.parse(path).getroot().tag.endswith("svg") for path in drawn)
    again = figures.draw_all(found, tmp_path / "curves", tmp_path / "again", "png")
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in again)


def test_folders_and_recipes_are_apart_where_rows_would_look_the_same(tmp_path: Path) -> None:
    own = three(dataset="pts", data="a/faces")
    (table,) = tables([*own, replace(ONE, dataset="wflw", data="w")])
    assert table.columns == ("pts test nme %", "wflw test nme %") and table.rows[0][0][2] == "linear"
    changed = three(dataset="pts", data="a/faces", recipe={"extract.mirror": False, "knn.k": 3, "linear.grid": 5})
    changed += [replace(r, recipe={"linear.grid": 5}) for r in own]
    (table,) = tables([*changed, *three(dataset="pts", data="b/more", recipe={"linear.grid": 5})])
    assert table.columns == ("pts (faces) test nme %", "pts (more) test nme %")
    cells = {labels[2]: [c and c.summary.seeds for c in cells] for labels, cells in table.rows}
    assert cells == {"linear, extract.mirror=false, knn.k=3": [3, None], "linear": [3, 3]}
    same = [replace(ONE, dataset="pts", data=f"{place}/faces") for place in "ab"]
    assert tables(same)[0].columns == ("pts (a/faces) test nme %", "pts (b/faces) test nme %")
    few = [replace(r, n_train=n) for r in [*own, *three(dataset="pts", data="b/more")] for n in (5, 10)]
    drawn = figures.draw_all(few, tmp_path, tmp_path)
    assert [path.name for path in drawn] == ["few-shot-pts-faces-test-nme.svg", "few-shot-pts-more-test-nme.svg"]


def test_curves_are_of_the_results_alone(tmp_path: Path) -> None:
    kept = replace(ONE, data="d", crop={"size": 32})
    for about in (kept, replace(kept, backbone="OTHER/backbone.pt"), replace(kept, recipe={"linear.grid": 3})):
        curves.save(tmp_path, about, errors=np.array([0.05, 0.1]))
    (drawn,) = figures.draw_all([kept], tmp_path, tmp_path / "f")
    assert drawn.name == "ced-cofw-test.svg"
    with_all = drawn.read_bytes()
    for path in tmp_path.glob("*.npz"):
        if path.name != curves.name_of(curves.label_of(kept)):
            path.unlink()
    assert figures.draw_all([kept], tmp_path, tmp_path / "g")[0].read_text().count("<path") == with_all.count(b"<path")
    with pytest.raises(UsageError, match="nothing to draw"):
        figures.draw_all([replace(kept, backbone="GONE/backbone.pt")], tmp_path, tmp_path / "h")


@pytest.mark.parametrize("kept", [0, 100, -30])
def test_a_damaged_curve_is_passed_over(kept: int, tmp_path: Path) -> None:
    for seed in (0, 1):
        curves.save(tmp_path, replace(ONE, seed=seed), errors=np.array([0.05, 0.1]))
    path = next(tmp_path.glob("*.npz"))
    path.write_bytes(path.read_bytes()[:kept])
    assert len(list(curves.read(tmp_path))) == 1


def test_long_paths_keep_their_end() -> None:
    (table,) = tables([replace(ONE, backbone=f"{'x' * 100}/run1/backbone.pt")])
    label = table.rows[0][0][0]
    assert len(label) == 60 and label.startswith("…x") and label.endswith("/run1/backbone.pt")


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def curve(**about: object) -> MeasuredCurve:
    label = {"backbone": "A/backbone.pt", "mode": "linear", "fraction": 1.0, "seed": 0, "crop": {"size": 112}} | about
    return MeasuredCurve(label, np.array([0.05, 0.1]), np.array([0.9, 0.1]), np.array([True, False]))


@pytest.mark.parametrize(
    ("about", "names"),
    [
        ({"seed": 1}, ["backbone.pt · linear"]),
        ({"backbone": "B/backbone.pt"}, ["A/backbone.pt · linear", "B/backbone.pt · linear"]),
        ({"backbone": "B/other.pt"}, ["backbone.pt · linear", "other.pt · linear"]),
        ({"manifest": "m.parquet"}, ["backbone.pt · linear", "backbone.pt · linear · m.parquet"]),
        ({"crop": {"size": 64}}, ["backbone.pt · linear · 112 px", "backbone.pt · linear · 64 px"]),
        ({"backbone_digest": "f00"}, ["backbone.pt · linear", "backbone.pt · linear · f00"]),
        ({"recipe": {"knn.k": 3}}, ["backbone.pt · linear", "backbone.pt · linear · knn.k=3"]),
    ],
)
def test_lines_of_figures_are_of_one_backbone_and_crop(about: dict[str, object], names: list[str]) -> None:
    """Seeds are pooled, and nothing else is; names are as short as they can be."""
    members = [curve(), curve(**about)]
    assert legend(figures.ced(members)) == legend(figures.roc(members)) == names
    few = [replace(ONE, backbone="A/backbone.pt", n_train=n, crop={"size": 112}) for n in (5, 10)]
    few += [replace(r, **about) for r in few]  # type: ignore[arg-type]
    assert len(legend(figures.few_shot(few))) == len(names)


def test_names_of_lines_are_shown_and_short(tmp_path: Path) -> None:
    """Names that matplotlib would hide, that are longer than the figure, and more lines than colours."""
    long = [curve(backbone=f"{'y' * 150}{k}.pt") for k in range(2)]
    names = legend(figures.ced([*long, curve(backbone="_hidden.pt", mode="knn")]))
    assert [len(name) for name in names[1:]] == [60, 60] and names[0].strip() == "_hidden.pt · knn"
    same = [curve(backbone=f"{k}{'y' * 150}.pt") for k in range(3)]
    assert len(set(legend(figures.roc(same)))) == 3
    lines = figures.ced([curve(backbone=f"{k}.pt") for k in range(24)]).axes[0].lines
    assert len({(str(line.get_color()), line.get_linestyle()) for line in lines}) == 24


def test_random_backbones_of_several_seeds_are_one_line() -> None:
    members = [curve(backbone="random", backbone_digest=str(seed), seed=seed) for seed in range(3)]
    assert legend(figures.ced(members)) == ["random · linear"]


def test_networks_of_one_class_and_crops_keep_their_curves(tmp_path: Path) -> None:
    root, out = layouts.make_pts(tmp_path / "pts"), tmp_path / "out" / "results.jsonl"
    for seed, size in ((0, 32), (1, 32), (1, 40), (1, 40)):
        measure("landmarks", "pts", root, backbone=tiny(seed), out=out, overrides={"crop.size": size})
    assert len(list(curves.read(out.parent / "curves"))) == 3


def test_wide_text_is_told_in_parts() -> None:
    """Every number stands in some part, under its own column, and no line is too long."""
    splits = [f"part{i}" for i in range(12)]
    found = [r for k, split in enumerate(splits) for r in three(split=split, dataset=f"set{k}")]
    text = render(tables(found))
    assert max(map(len, text.splitlines())) <= WIDTH
    blocks = text.split("\n\n")
    assert len(blocks) > 2 and all(sum(split in block for block in blocks) >= 1 for split in splits)
    for block in blocks[:-1]:
        lines = block.splitlines()[-3:]
        assert lines[0].index("set") == lines[2].index("6.00")


def test_legend_tells_only_what_is_there() -> None:
    assert "reported" not in render(tables([replace(ONE, dataset="pts")]))
    assert "bootstrap" in render(tables(three())) and "best of its column" not in render(tables(three()))


def test_other_crops_and_long_names_are_rows_of_their_own() -> None:
    sizes = [replace(r, crop={"size": size}) for size in (64, 112) for r in three()]
    (table,) = tables([*sizes, replace(ONE, dataset="wflw", crop={"size": 64})])
    assert [labels[2] for labels, _ in table.rows if labels[0] == "RUN/backbone.pt"] == [
        "linear, 64 px",
        "linear, 112 px",
    ]
    assert all(cells[0] is not None and cells[0].summary.seeds == 3 for _, cells in table.rows[:2])
    (table,) = tables([replace(ONE, dataset="pts", backbone=f"{'x' * 70}/{k}.pt", value=k / 10) for k in range(2)])
    assert [cells[0].text() for _, cells in table.rows if cells[0]] == ["0.00", "10.00"]


def test_reported_numbers_stand_beside_their_own_metric() -> None:
    """AFLW-19's 1.55 is by the diagonal, AFLW2000-3D's 3.42 is of reconstruction, AffectNet's are CCC and RMSE."""
    found = {(r.who, r.dataset, r.metric): r.value for r in REPORTED if r.who == PAPER or r.dataset == "aflw19"}
    assert found[PAPER, "aflw19", "nme_diagonal"] == 0.0155 and (PAPER, "aflw19", "nme") not in found
    assert found[PAPER, "aflw2000", "nme_icp"] == 0.0342
    assert found[PAPER, "affectnet", "ccc_valence"] == 0.710 and found[PAPER, "affectnet", "rmse_arousal"] == 0.326
    (table,) = tables([replace(ONE, dataset="aflw19", split="full", metric=m) for m in ("nme", "nme_diagonal")])
    for labels, cells in table.rows[1:]:
        assert cells[table.columns.index("aflw19 full nme %")] is None, labels
