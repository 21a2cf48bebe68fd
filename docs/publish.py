"""Builds the documentation as a site, build/site, and fails on links and anchors that lead nowhere: `make site`.

Pages link each other, recipes and scripts by their place in the repository, so that they also read well there; the site
is built from a copy of all of them, in which folders have a page that lists them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGE = ROOT / "build" / "pages"
SHOWN = (
    *("*.md", "docs/*.md", "docs/*.png", "docs/*.svg", "manifests/README.md", "notebooks/*.md", "notebooks/*.ipynb"),
    *("pipelines/**/*.yaml", "pipelines/*.py", "benchmarks/*.py", "benchmarks/results/*.json*"),
    *("benchmarks/results/**/*.md", "benchmarks/results/**/*.jsonl", "docs/*.py", "LICENSE"),
)
LINK = re.compile(r"(\]\()([^)#\s]+)(?=[)#])")


def stage() -> None:
    """Copies what the site shows to `STAGE`."""
    shutil.rmtree(STAGE, ignore_errors=True)
    files = sorted({path for pattern in SHOWN for path in ROOT.glob(pattern)})
    for path in files:
        target = STAGE / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(
                LINK.sub(lambda found, at=path: found[1] + _target(at, found[2]), path.read_text("utf-8"))
            )
        else:
            shutil.copy(path, target)
    for folder in sorted({parent for path in files for parent in path.relative_to(ROOT).parents}):
        if not (STAGE / folder / "README.md").exists():
            names = sorted(path.name for path in (STAGE / folder).iterdir())
            names = [f"{name}/README.md" if (STAGE / folder / name).is_dir() else name for name in names]
            lines = "\n".join(f"- [{name.removesuffix('/README.md')}]({name})" for name in names)
            (STAGE / folder / "README.md").write_text(f"# {folder}\n\n{lines}\n")


def _target(page: Path, link: str) -> str:
    """Where a link of a page leads in the site: of a folder to its list."""
    return f"{link.rstrip('/')}/README.md" if "://" not in link and (page.parent / link).is_dir() else link


def site() -> int:
    """Builds `build/site` from `STAGE`; the exit status of mkdocs, which is not 0 where a link leads nowhere."""
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # of another project of the same makers
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # --quiet would not count warnings
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write("".join(line for line in done.stderr.splitlines(True) if not line.startswith("INFO")))
    return done.returncode


if __name__ == "__main__":
    stage()
    sys.exit(site())
