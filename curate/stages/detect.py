"""Chooses the face backend that a recipe asks for.

`insightface` (SCRFD and ArcFace) distinguishes people best, but its model files come with conditions and must be given
(`--models`). `centerface` and `dlib` need nothing but the packages that curate installs; the first finds small, turned
and partly hidden faces, the second does not.
"""

from __future__ import annotations

from pathlib import Path

from curate.errors import UsageError
from curate.hardware import check_onnxruntime
from curate.recipe import CropSettings, FaceSettings
from curate.stages.backend import Backend, Detected, ModelFile

__all__ = ["Backend", "Detected", "ModelFile", "find_pack", "load_backend"]


def load_backend(settings: FaceSettings, crop: CropSettings, device: str = "cpu", threads: int = 1) -> Backend:
    """Loads the networks of a backend.

    Args:
        settings: which backend, where its models are, and what counts as a face.
        crop: the geometry of the crops that `identity` will be given.
        device: `cpu` or `cuda`, for networks that can use it.
        threads: threads a network may use.

    Raises:
        UsageError: insightface is asked for and its models are missing, unclear or damaged.
    """
    check_onnxruntime()
    if settings.backend == "dlib":
        from curate.stages.backend_dlib import Dlib

        return Dlib(settings, crop)
    if settings.backend == "centerface" or (settings.backend == "auto" and settings.models is None):
        from curate.stages.backend_centerface import CenterFace

        return CenterFace(settings, crop, device, threads)
    if settings.models is None:
        raise UsageError(
            "--faces insightface needs --models DIR, with a pack at DIR/models/PACK/*.onnx; or use --faces centerface"
        )
    pack = find_pack(settings.models, settings.pack)
    from curate.stages.backend_insightface import InsightFace

    return InsightFace(pack, settings, crop, device, threads)


def find_pack(root: Path, name: str | None = None) -> Path:
    """The folder of the pack `name` below an insightface root, or of the only one that is there.

    Raises:
        UsageError: there is no such folder, no pack in it, no pack of that name, or several and no name.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise UsageError(
            f"{root}: there is no such model folder; --models takes an insightface root, or use --faces centerface"
        )
    packs = {folder.name: folder for folder in sorted((root / "models").glob("*/")) if any(folder.glob("*.onnx"))}
    if not packs:
        raise UsageError(
            f"{root}: no models here; a pack belongs at {root}/models/PACK/*.onnx{_hint(root)}, "
            "or use --faces centerface"
        )
    if name is not None and name not in packs:
        raise UsageError(f"{root}: faces.pack = {name}: there is no such pack; here are {', '.join(packs)}")
    if name is None and len(packs) > 1:
        raise UsageError(f"{root}: several packs ({', '.join(packs)}); name one with --set faces.pack=NAME")
    return packs[name] if name is not None else next(iter(packs.values()))


def _hint(root: Path) -> str:
    """Names the root that was probably meant, where `root` is a folder inside it."""
    for candidate in (root.parent, root.parent.parent):
        if candidate.name and any((candidate / "models").glob("*/*.onnx")):
            return f" (did you mean --models {candidate}?)"
    return ""
