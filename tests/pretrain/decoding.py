"""Runs in two processes that decode JPEGs as on a GPU: by one of them alone, which may not be, and by both.

python -m tests.pretrain.decoding MANIFEST OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import torch

from curate.pretrain import config, distributed, gpu_jpeg, loop
from curate.progress import silent

from . import nvimgcodec_like
from .short import SMALL


def main() -> None:
    """See the module."""
    torch.set_num_threads(1)
    package = ModuleType("nvidia")
    package.nvimgcodec = nvimgcodec_like  # type: ignore[attr-defined]
    sys.modules |= {"nvidia": package, "nvidia.nvimgcodec": nvimgcodec_like}
    source, out = loop.Source(sys.argv[1]), Path(sys.argv[2])
    rank = distributed.world("cpu").rank
    for name, missing in (("alone", rank == 1), ("both", False)):
        gpu_jpeg.obstacle = lambda _, missing=missing: "it is missing here" if missing else None
        loop.run(source, out / name, config.load(None, SMALL | {"steps": 4, "data.decode": "auto"}), silent)


if __name__ == "__main__":
    main()
