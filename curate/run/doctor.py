"""`curate doctor`: what is installed and usable here."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from curate.errors import CurateError
from curate.hardware import check_onnxruntime, cores, decoder, version_of
from curate.recipe import CropSettings, FaceSettings

Row = tuple[str, str, str]
"""Name, `ok` or `no` or a value, detail."""


def examine(models: Path | None = None) -> Iterator[Row]:
    """One row a thing that curate can use; none of them raises.

    Args:
        models: an insightface root to look at, as for `--models`.
    """
    yield "python", platform.python_version(), platform.platform()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield (
        "machine",
        f"{cores()} cores",
        f"{memory:.0f} GiB memory, {shutil.disk_usage('.').free / 2**30:.0f} GiB free here",
    )
    yield _gpu()
    yield from _decoders()
    yield _onnxruntime()
    yield _faiss()
    yield _gpu_jpeg()
    yield from _backend("centerface", FaceSettings(backend="centerface"))
    yield from _backend("dlib", FaceSettings(backend="dlib"))
    if models is not None:
        yield from _backend("insightface", FaceSettings(backend="insightface", models=models))
    else:
        yield "faces: insightface", "not looked at", "give a model folder: curate doctor --models DIR"
    yield "yt-dlp", _version("yt-dlp"), "sites change often; upgrade with pip install -U yt-dlp"
    yield _javascript()


def _gpu() -> Row:
    import torch

    if not torch.cuda.is_available():
        return "gpu", "no", f"torch {torch.__version__} sees none; everything runs on the CPU"
    name = torch.cuda.get_device_name(0)
    return "gpu", "ok", f"{torch.cuda.device_count()} x {name}, CUDA {torch.version.cuda}, torch {torch.__version__}"


def _decoders() -> Iterator[Row]:
    import av

    yield "decoder: decord", _version("decord2"), "sound videos"
    codecs = [name for name in ("h264", "hevc", "vp9", "av1", "libdav1d") if name in av.codecs_available]
    yield "decoder: PyAV", _version("av"), f"damaged videos; {', '.join(codecs)}"
    try:
        decoder("cuda", "cuda")
    except CurateError as error:
        yield "decoder: torchcodec", "no", str(error)
    else:
        yield "decoder: torchcodec", _version("torchcodec"), "sound videos on the GPU, with decode=cuda"


def _javascript() -> Row:
    from curate.stages.fetch_check import javascript_runtimes

    found = javascript_runtimes()
    if not found or version_of("yt-dlp-ejs") is None:
        return "JavaScript runtime", "no", 'YouTube needs one: pip install "yt-dlp[default,deno]"'
    return "JavaScript runtime", "ok", f"{', '.join(found)}; yt-dlp-ejs {version_of('yt-dlp-ejs')}"


def _onnxruntime() -> Row:
    try:
        check_onnxruntime()
    except CurateError as error:
        return "onnxruntime", "no", str(error)
    import onnxruntime

    return "onnxruntime", onnxruntime.__version__, ", ".join(onnxruntime.get_available_providers())


def _faiss() -> Row:
    import faiss

    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return "faiss", faiss.__version__, f"{faiss.get_compile_options().strip()}; {gpus} GPUs"


def _gpu_jpeg() -> Row:
    import torch

    from curate.hardware import device
    from curate.pretrain import gpu_jpeg

    obstacle = gpu_jpeg.obstacle(torch.device(device("auto")))
    if obstacle is not None:
        return "JPEG on the GPU", "no", obstacle
    return "JPEG on the GPU", "ok", f"nvImageCodec {gpu_jpeg.version()}, for data.decode=gpu of pre-training"


def _backend(name: str, settings: FaceSettings) -> Iterator[Row]:
    from curate.stages.detect import load_backend

    try:
        backend = load_backend(settings, CropSettings())
    except (CurateError, ImportError) as error:
        yield f"faces: {name}", "no", str(error)
        return
    identity = "identity space" if backend.identity_threshold is not None else "no identity space"
    yield f"faces: {name}", "ok", f"{identity}; on the {backend.device.upper()}"
    for model in backend.models:
        yield f"  {model.file}", model.task, f"{model.licence} ({model.url})"


def _version(distribution: str) -> str:
    return version_of(distribution) or "missing"
