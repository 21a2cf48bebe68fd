"""Pre-training on a GPU: one command that fills every figure that a machine without one leaves open.

parts   loader   pictures a second, read, decoded and shuffled: on all cores, and by nvImageCodec where it is installed;
                 how far its pictures are from libjpeg-turbo's, and what looking through them first takes
        step     whole steps (transfers, crops, forward, loss, backward, update) against bare forward and backward of
                 crops that lie on the device, for each method
        memory   most that is allocated, against the estimate before a run starts
        ddp      `curate pretrain` under torchrun on 1, 2, 4, 8 GPUs, as many as there are, pictures a second
        shard    MAE on a ViT-L on all GPUs, the weights in each and cut up (`shard`): pictures a second, memory
        losses   the first losses of every method on the GPU against those on the CPU: the check of this file

    python benchmarks/gpu.py [--quick] [--json FILE] [--device cuda]

`--device cpu` runs the same code with a small network, to see that it does; its figures say nothing of a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import measure
from pretrain import batches, load, write_build

from curate import hardware
from curate.choices import METHODS
from curate.pretrain import config, cost, distributed, gpu_jpeg, methods, pictures, survey
from curate.pretrain.backbones import build
from curate.pretrain.distributed import World
from curate.pretrain.faces import ManifestFaces
from curate.pretrain.monitor import read_metrics
from curate.pretrain.step import Stepper
from curate.storage.manifest import open_manifest

TOLERANCE = 0.02
"""Between first losses of GPU and CPU in float32: crops are rendered in floats on one, in bytes on the other."""
CHECKED = tuple(name for name in METHODS if name != "distillation")  # the one that asks for a teacher
TRANSFORMERS = ("mae", "dino", "dinov2", "mocov3")


def recipe_of(method: str, batch: int, small: bool, **keys: Any) -> config.PretrainRecipe:
    """The method's own recipe; a small network and small crops on demand."""
    usual: dict[str, Any] = {"method": method, "steps": 100, "batch": batch, "optimiser.warmup_epochs": 0}
    if small:
        usual |= {"crop_size": 64, "arch": "vit_s" if method in TRANSFORMERS else "resnet18"}
        usual |= {f"{method}.prototypes": 64} if method in ("swav", "dino", "dinov2") else {}
    return config.load(None, usual | keys)


def stepper_of(recipe: config.PretrainRecipe, device: torch.device) -> Stepper:
    """With the same fresh weights on any device."""
    torch.manual_seed(0)
    method = methods.build(build(recipe.arch), recipe, classes=100).to(device).train()
    return Stepper(method, recipe, World(0, 1, 0, device), 100, 10)


def pictures_of(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures uint8 [batch, 224, 224, 3] that are smooth, as faces are, and labels."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.integers(0, 256, (batch, 3, 14, 14)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (224, 224), mode="bicubic").clamp(0, 255)
    return smooth.permute(0, 2, 3, 1).byte().contiguous(), torch.arange(batch) % 100


def seconds(work: Any, device: torch.device, repeats: int) -> float:
    """Of one call, median, the device waited for."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def loaders(faces: ManifestFaces, folder: Path, device: torch.device, batch: int) -> dict[str, Any]:
    """Pictures a second of both decoders, and how far they are from each other (mean and most, of 255).

    On a CPU the package decodes there, which says nothing of a GPU.
    """
    opened, count = pictures.open_pictures(faces, folder), len(faces)
    found: dict[str, Any] = {"cpu": rate(lambda: load(opened, count, batch), count, device)}
    if gpu_jpeg.version() is None:
        opened.close()
        return found | {"gpu": None, "why": "nvImageCodec is not installed"}
    found["looked_through"] = rate(lambda: survey.survey(faces, folder, hardware.cores()), count, device)
    kinds = survey.read(folder)

    def decoder() -> gpu_jpeg.GpuDecoder:
        return gpu_jpeg.GpuDecoder(opened, np.arange(count), kinds, device, hardware.cores())

    load(opened, count, batch, decoder())  # libraries are loaded
    found["gpu"] = rate(lambda: load(opened, count, batch, decoder()), count, device)
    ours, theirs = (next(iter(batches(opened, count, batch, one))).images.cpu() for one in (None, decoder()))
    difference = (ours.float() - theirs.float()).abs()
    opened.close()
    return found | {"difference": [round(float(difference.mean()), 3), float(difference.max())]}


def rate(work: Any, count: int, device: torch.device) -> float:
    """Pictures a second."""
    return round(count / seconds(work, device, 1), 1)


def step(method: str, device: torch.device, batch: int, small: bool) -> dict[str, Any]:
    """Whole steps against forward and backward alone; and memory against the estimate that a user sees."""
    precision = "bf16" if device.type == "cuda" else "fp32"
    recipe = recipe_of(method, batch, small, precision=precision)
    stepper = stepper_of(recipe, device)
    images, labels = pictures_of(batch)
    given = labels if recipe.kind.needs_labels else None
    need = cost.memory(stepper.method, recipe)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        images = images.pin_memory()
    at = iter(range(10_000))

    def whole() -> None:
        stepper(images.to(device, non_blocking=True), given, stepper.info(next(at)))

    def bare() -> None:
        for piece in held:
            outputs = stepper._forward(stepper.network, piece, stepper.info(0))
            torch.autograd.backward([stepper.method.loss(outputs, stepper.info(0))])
        stepper.optimiser.zero_grad(set_to_none=True)

    whole()
    whole_s = seconds(whole, device, 5)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    held = stepper.render(images.to(device), given, stepper.info(0))
    bare()
    bare_s = seconds(bare, device, 5)
    estimated = need.total(stepper.share, stepper.micro) if need is not None else 0
    return {
        "images_per_s": round(batch / whole_s, 1),
        "of_bare": round(bare_s / whole_s, 3),
        "peak_gib": round(peak / cost.GIB, 2),
        "told_gib": round(estimated / cost.GIB, 2),
    }


def losses(method: str, device: torch.device) -> dict[str, Any]:
    """First losses on the device and on the CPU, in float32 without TF32."""
    found = []
    for place in (torch.device("cpu"), device):
        stepper = stepper_of(recipe_of(method, 8, True), place)
        images, labels = pictures_of(8)
        given = labels if stepper.recipe.kind.needs_labels else None
        found.append(float(stepper(images.to(place), given, stepper.info(0))))
    return {"cpu": found[0], "device": found[1], "same": abs(found[0] - found[1]) <= TOLERANCE * max(1, abs(found[0]))}


def ddp(source: Path, folder: Path, count: int, batch: int) -> dict[str, float]:
    """Pictures a second of SwAV on ResNet-50 with 1, 2, 4 ... processes, `batch` pictures each."""
    rates = {}
    size = 1
    while size <= count:
        keys = {"batch": batch * size, "steps": 30, "swav.queue": 0}
        rates[str(size)] = launched(source, folder / f"ddp{size}", size, keys)["images_per_s"]
        size *= 2
    return rates


def sharded(source: Path, folder: Path, size: int, **keys: Any) -> dict[str, dict[str, float]]:
    """Pictures a second and memory of MAE on a ViT-L in so many processes: the weights in each, and cut up."""
    usual = {"method": "mae", "arch": "vit_l", "batch": 64 * size, "steps": 30} | keys
    return {
        name: launched(source, folder / name, size, usual | {"shard": shard})
        for name, shard in (("whole", False), ("sharded", True))
    }


def launched(source: Path, out: Path, size: int, keys: dict[str, Any]) -> dict[str, float]:
    """What `curate pretrain` logs in so many processes: median of pictures a second, and most memory of one."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", size, "-m", "curate", "pretrain"]
    command += ["--manifest", source, "--out", out]
    for key, value in ({"precision": "bf16", "log.every": 5, "probe.images": 0} | keys).items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    lines = [line for line in read_metrics(out / "metrics.jsonl") if line.get("loss") is not None]
    rate = float(np.median([line["images_per_s"] for line in lines[1:]]))
    return {"images_per_s": rate, "peak_gib": round(lines[-1]["peak_mb"] / 1024, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks, few pictures")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu.py: torch sees no GPU here; --device cpu runs the same code with a small network")
    device = torch.device(options.device)
    small = options.quick or device.type == "cpu"
    batch = 8 if small else 128
    shown = [*CHECKED[:2], "mae"] if small else list(CHECKED)
    work = {"batch": batch, "side": 224, "set": distributed.settings(device, True)}
    result: dict[str, Any] = {"name": "gpu", "work": work}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, _ = write_build(folder, 256 if small else 8192)
        faces = ManifestFaces(open_manifest(source))
        pictures.pack(faces, folder / "packed")
        result["loader_images_per_s"] = loaders(faces, folder / "packed", device, 64)
        result["step"] = {method: step(method, device, batch, small) for method in shown}
        if device.type == "cuda":
            count = torch.cuda.device_count()
            result["ddp"] = ddp(source, folder, count, batch)
            result["shard"] = sharded(source, folder, count) if count > 1 else {}
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    result["losses"] = {method: losses(method, device) for method in shown}
    for method, row in result["step"].items():
        print(f"{method:14} {row['images_per_s']:>9} images/s, {row['of_bare']:.0%} of bare, {row['peak_gib']} GiB "
              f"(estimated {row['told_gib']})")  # fmt: skip
    best = max(result["step"].values(), key=lambda row: row["images_per_s"])
    ours = batch / best["images_per_s"]
    floor = {"floor_s": ours * best["of_bare"], "floor": "forward, backward"}
    measure.report(result | {"ours_s": ours, "peers": {}} | floor, options.json)
    different = [method for method, row in result["losses"].items() if not row["same"]]
    if different:
        sys.exit(f"gpu.py: losses differ between CPU and {device.type}: {', '.join(different)}")


if __name__ == "__main__":
    main()
