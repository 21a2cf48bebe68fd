"""What is hidden: decord is loaded without the libraries of NVIDIA's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import simplejpeg

ROOT = Path(__file__).parents[2]
LOADED = "print('libbystander' in open('/proc/self/maps').read(), 'nvidia' in sys.modules)"


def test_libraries_of_nvidia_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    (tmp_path / "nvidia" / "__init__.py").touch()  # comes before packages of the name that are installed
    library = next(path for path in Path(simplejpeg.__file__).parent.glob("*.so"))
    shutil.copy(library, folder / "libbystander.so.12")

    def told(module: str) -> str:
        code = f"import sys, {module}; {LOADED}"
        paths = os.pathsep.join((str(tmp_path), str(ROOT)))
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert told("decord") == "True False"  # what this is for: decord by itself opens them
    assert told("curate.stages.decode_decord") == "False False"
