"""The public face: what CONTRACT promises can be imported, is documented, and is all that pages and notebooks use."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import curate
from docs.generate import PUBLIC

ROOT = Path(__file__).parents[1]
PACKAGES = ["curate", *(f"curate.{name}" for name in PUBLIC if name)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_documented(package: str) -> None:
    module = import_module(package)
    assert module.__all__ == sorted(module.__all__) or package in ("curate.evaluate", "curate.pretrain")
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value):
            assert len((value.__doc__ or "").strip()) >= 15, f"{package}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_hides_behind_a_module_of_the_same_name(package: str) -> None:
    """`import curate.study.run` would otherwise put a module where users expect a function."""
    folder = ROOT / package.replace(".", "/")
    lazy = package not in ("curate.evaluate", "curate.pretrain")  # they import their names at once
    modules = {path.stem for path in folder.glob("*.py")}
    assert not lazy or not modules & set(import_module(package).__all__)


def test_what_the_contract_promises_and_nothing_heavy_is_imported_before_it_is_used() -> None:
    for name in ("build", "embed", "cover", "open_build", "FaceDataset"):
        assert callable(getattr(curate, name))
    assert all(callable(module.run) for module in (curate.pretrain, curate.evaluate, curate.study))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = curate.nothing
    heavy = "import curate, sys; dir(curate); print(sorted({'torch', 'numpy', 'pyarrow', 'typer'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def imported(text: str) -> list[tuple[str, str]]:
    """(module, name) of everything that a program imports from curate."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "curate":
            found += [(str(node.module), alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "curate"]
    return found


def examples() -> list[tuple[str, str]]:
    """Every program that a reader meets: notebooks, and what stands between python fences in the pages."""
    found = [(path.name, path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("notebooks/[0-9]_*.py"))]
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("manifests/*.md")]:
        if page.name in ("CONTRIBUTING.md", "api.md"):
            continue  # for those who change the program; signatures
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        found += [(page.name, block) for block in blocks]
    return found


@pytest.mark.parametrize(("where", "text"), examples(), ids=lambda value: value[:40].split("\n")[0])
def test_readers_are_shown_public_names_alone(where: str, text: str) -> None:
    for module, name in imported(text):
        assert module in PACKAGES, f"{where} imports {module}"
        assert not name or name in import_module(module).__all__, f"{where}: {module}.{name} is not public"
