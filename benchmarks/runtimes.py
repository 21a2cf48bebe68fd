"""What runs the detectors fastest with the same outputs: onnxruntime as exported and as curate runs it, and OpenVINO.

    pip install openvino                                  # a peer; curate does without
    python benchmarks/runtimes.py [--models DIR] [--quick] [--json FILE]

Milliseconds of processor time on one thread, medians, in turns: of a search (one picture of 640 x 384) and of a look
(three of 160 x 160). `differs` is the largest difference of any output from that of the model as exported.

ours   onnxruntime, weights as constants, any number of pictures of any size (`curate.stages.networks`)
peers  onnxruntime on the file as it came but for its free sizes; OpenVINO, where it is installed
floor  none: `floor_s` is the fastest of all
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate.hardware import limit_threads
from curate.stages import networks
from curate.stages.backend_centerface import model_file
from curate.stages.detect import find_pack

SHAPES = {"search": (1, 3, 384, 640), "look": (3, 3, 160, 160)}
Run = Callable[[np.ndarray], list[np.ndarray]]


def runtimes(data: bytes) -> dict[str, Run]:
    """The ways to run a model, by name."""
    with mock.patch.object(networks, "with_constants", lambda model: model):
        exported = networks.opened_up(data, any_size=True)
    opened = networks.opened_up(data, any_size=True)
    found = {"as exported": _onnxruntime(exported), "curate": _onnxruntime(opened)}
    if importlib.util.find_spec("openvino"):
        found["openvino"] = _openvino(opened)
    return found


def _onnxruntime(data: bytes) -> Run:
    session = networks.session(data, "cpu", 1)
    name = session.get_inputs()[0].name
    return lambda pictures: session.run(None, {name: pictures})


def _openvino(data: bytes) -> Run:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(data), "CPU", settings).create_infer_request()
    return lambda pictures: list(request.infer([pictures]).to_tuple())


def compared(data: bytes, shape: tuple[int, ...], rounds: int) -> dict[str, dict[str, float]]:
    pictures = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    runs = runtimes(data)
    expected = runs["as exported"](pictures)
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.process_time()
            found = run(pictures)
            spent[name].append(time.process_time() - started)
    rows = {}
    for name, run in runs.items():
        found = run(pictures)
        differs = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
        rows[name] = {"ms": round(statistics.median(spent[name]) * 1000, 1), "differs": float(f"{differs:.1e}")}
    return rows


def main() -> None:
    asked = measure.arguments(__doc__ or "")
    limit_threads(1)
    files = {"CenterFace": model_file()}
    if asked.models:
        files["SCRFD"] = next(iter(sorted(find_pack(asked.models).glob("det*.onnx"))))
    rows: dict[str, Any] = {}
    for name, path in files.items():
        for what, shape in SHAPES.items():
            rows[f"{name}, {what}"] = compared(path.read_bytes(), shape, 3 if asked.quick else 15)
            print(f"{name}, {what}: {rows[f'{name}, {what}']}", flush=True)
    search = rows["CenterFace, search"]
    measure.report(
        {
            "name": "runtimes",
            "work": rows,
            "ours_s": search["curate"]["ms"] / 1000,
            "quality": str(search["curate"]),
            "peers": {
                name: {"seconds": row["ms"] / 1000, "quality": str(row)}
                for name, row in search.items()
                if name != "curate"
            },
            "floor_s": min(row["ms"] for row in search.values()) / 1000,
            "floor": "the fastest, a search by CenterFace",
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
