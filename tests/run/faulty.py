"""Sources that harm the process that decodes them, by their name: a `sitecustomize` for the processes of a build."""

from __future__ import annotations

import os
from pathlib import Path

HOOK = """
import importlib.abc, importlib.util, os, signal, sys, time
from pathlib import Path

def harm(path):
    name = Path(path).name
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("segv"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("once"):
        mark = Path(path).with_suffix(".mark")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("slow"):
        time.sleep(1.5)

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "curate.stages.decode":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            real = module.open_video
            def open_video(path, *args, **options):
                harm(path)
                return real(path, *args, **options)
            module.open_video = open_video
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def environment(folder: Path) -> dict[str, str]:
    """Variables under which a Python process meets such sources."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    root = Path(__file__).parents[2]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(root)])}
