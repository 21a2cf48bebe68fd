"""Pre-training: the loader against bare libjpeg-turbo, the input pipeline against PIL's and OpenCV's, the whole step
against bare forward and backward; two processes; memory a picture.

ours    `loader.batches` and `Stepper.crops` at the paper's crops (2 x 224 + 6 x 96), on all cores
peers   PIL      the same augmentations as the released script does them, in DataLoader workers, one a core
        OpenCV   the same by OpenCV
        lightly  its transform of PIL pictures, and whole steps of its SwAV around the same backbone
floor   libjpeg-turbo decoding the same bytes from memory, on all cores
parts   loader   read, decode, shuffle, collate against the floor
        step     SwAV on ResNet-50, loader and augmentation included, against forward and backward of the same crops
        two processes   `curate pretrain` under torchrun against one process, resnet18, pictures a second
        memory   of one more picture of a batch, from `curate pretrain` at two batches
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import skimage.data
import torch
from PIL import Image, ImageEnhance, ImageFilter

sys.path.insert(0, str(Path(__file__).parent))
import measure
import pretrain_lightly

from curate import hardware
from curate.pretrain import config, loader, methods, pictures
from curate.pretrain.backbones import build
from curate.pretrain.decoders import Decoder
from curate.pretrain.distributed import World
from curate.pretrain.faces import ManifestFaces
from curate.pretrain.monitor import read_metrics
from curate.pretrain.step import Stepper
from curate.storage.manifest import open_manifest
from curate.storage.parquet import write_table
from curate.storage.schemas import FACES, MANIFEST

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.228, 0.224, 0.225)


# -------------------------------------------------------------------------------------------------------------- work


def write_build(folder: Path, count: int) -> tuple[Path, list[bytes]]:
    """A manifest of turned and relit pictures of one face, and their JPEGs in its order."""
    random = np.random.default_rng(0)
    face = skimage.data.astronaut()[:300, 80:380]
    jpegs = []
    for _ in range(count):
        matrix = cv2.getRotationMatrix2D((150, 150), random.uniform(-30, 30), random.uniform(0.8, 1.6))
        picture = cv2.resize(cv2.warpAffine(face, matrix, (300, 300)), (SIDE, SIDE)) * random.uniform(0.6, 1.2)
        jpegs.append(simplejpeg.encode_jpeg(np.clip(picture, 0, 255).astype(np.uint8), quality=95))
    ids = [f"face{index:06d}" for index in range(count)]
    known = {
        "face_id": ids,
        "video_id": ["video"] * count,
        "image": pa.array([{"bytes": data, "path": None} for data in jpegs], FACES.field("image").type),
    }
    columns = [known.get(field.name, pa.nulls(count, field.type)) for field in FACES]
    (folder / "faces").mkdir(parents=True)
    pq.write_table(pa.table(columns, names=FACES.names).cast(FACES), folder / "faces/part.parquet", row_group_size=256)
    rows = {
        "face_id": ids,
        "video_id": ["video"] * count,
        "cluster": np.arange(count),
        "representative": [True] * count,
        "file": ["faces/part.parquet"] * count,
        "row": np.arange(count),
    }
    path = folder / "manifests/all.parquet"
    write_table(path, pa.table(rows).cast(MANIFEST), {"size": count})
    return path, jpegs


CPU = {"precision": "fp32", "micro_batch": None}
"""What the released script sets for GPUs alone."""


def recipe_of(batch: int, steps: int) -> config.PretrainRecipe:
    """SwAV as released, but for the batch."""
    file = Path(__file__).parents[1] / "pipelines/pretrain/swav_paper.yaml"
    return config.load(file, {"batch": batch, "steps": steps, "optimiser.warmup_epochs": 0, "device": "cpu"} | CPU)


# -------------------------------------------------------------------------------------------------------------- ours


def batches(
    opened: pictures.PackedPictures, count: int, batch: int, decoder: Decoder | None = None
) -> Iterator[loader.Batch]:
    """One pass in a shuffled order."""
    order, reading = loader.EpochOrder(np.arange(count), batch, 0), loader.ReadAhead(hardware.cores())
    return loader.batches(opened, order, range(count // batch), reading=reading, decoder=decoder)


def load(opened: pictures.PackedPictures, count: int, batch: int, decoder: Decoder | None = None) -> int:
    """Read, decode, shuffle, collate."""
    return sum(len(part.images) for part in batches(opened, count, batch, decoder))


def pipeline(opened: pictures.PackedPictures, count: int, stepper: Stepper) -> dict[str, float]:
    """The crops of one pass."""
    sums = np.zeros(3)
    for part in batches(opened, count, stepper.recipe.batch):
        for piece in stepper.render(part.images, None, stepper.info(part.step)):
            for crop in piece.crops:
                add(sums, crop)
    return spread(sums)


def add(sums: np.ndarray, crop: torch.Tensor) -> None:
    sums += (crop.numel(), float(crop.sum()), float(crop.square().sum()))


def spread(sums: np.ndarray) -> dict[str, float]:
    """Mean and deviation of all values: pipelines that do the same agree."""
    mean = sums[1] / sums[0]
    return {"mean": round(float(mean), 2), "deviation": round(float(np.sqrt(sums[2] / sums[0] - mean**2)), 2)}


# ------------------------------------------------------------------------------------------------------------- peers


class Peer(torch.utils.data.Dataset):
    """Decodes one picture and gives its eight crops."""

    def __init__(self, jpegs: list[bytes], views: tuple[config.View, ...]) -> None:
        self.jpegs = jpegs
        self.views = [view for view in views for _ in range(view.count)]

    def __len__(self) -> int:
        return len(self.jpegs)

    def box(self, random: np.random.Generator, scale: tuple[float, float]) -> tuple[int, int, int, int]:
        """top, left, height, width as torchvision's RandomResizedCrop draws them."""
        for _ in range(10):
            area, shape = SIDE**2 * random.uniform(*scale), np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
            w, h = round(np.sqrt(area * shape)), round(np.sqrt(area / shape))
            if 0 < w <= SIDE and 0 < h <= SIDE:
                return int(random.integers(SIDE - h + 1)), int(random.integers(SIDE - w + 1)), h, w
        return 0, 0, SIDE, SIDE


class Pil(Peer):
    """As the released script: torchvision's transforms of PIL pictures, written out."""

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        random = np.random.default_rng(index)
        picture = Image.open(io.BytesIO(self.jpegs[index])).convert("RGB")
        return [self.crop(picture, view, random) for view in self.views]

    def crop(self, x: Image.Image, view: config.View, random: np.random.Generator) -> torch.Tensor:
        top, left, h, w = self.box(random, view.scale)
        x = x.crop((left, top, left + w, top + h)).resize((view.size, view.size), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            x = x.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < 0.8:
            for op in random.permutation(4):
                x = self.jitter(x, int(op), random)
        if random.random() < 0.2:
            x = x.convert("L").convert("RGB")
        if random.random() < view.blur_p:
            x = x.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
        tensor = torch.from_numpy(np.array(x)).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])

    def jitter(self, x: Image.Image, op: int, random: np.random.Generator) -> Image.Image:
        if op < 3:
            kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
            return kinds[op](x).enhance(random.uniform(0.2, 1.8))
        hue, saturation, value = x.convert("HSV").split()
        turned = np.array(hue) + np.uint8(int(random.uniform(-0.2, 0.2) * 255) % 256)
        return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


class OpenCv(Peer):
    """The same by OpenCV."""

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        random = np.random.default_rng(index)
        data = np.frombuffer(self.jpegs[index], np.uint8)
        picture = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return [self.crop(picture, view, random) for view in self.views]

    def crop(self, x: np.ndarray, view: config.View, random: np.random.Generator) -> torch.Tensor:
        top, left, h, w = self.box(random, view.scale)
        way = cv2.INTER_AREA if h > view.size else cv2.INTER_LINEAR
        x = cv2.resize(x[top : top + h, left : left + w], (view.size, view.size), interpolation=way)
        if random.random() < 0.5:
            x = cv2.flip(x, 1)
        if random.random() < 0.8:
            for op in random.permutation(4):
                x = self.jitter(x, int(op), random)
        if random.random() < 0.2:
            x = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if random.random() < view.blur_p:
            x = cv2.GaussianBlur(x, (17, 17), random.uniform(0.1, 2.0), borderType=cv2.BORDER_REPLICATE)
        scaled = (x.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))

    def jitter(self, x: np.ndarray, op: int, random: np.random.Generator) -> np.ndarray:
        factor = random.uniform(0.2, 1.8)
        if op == 0:
            return cv2.convertScaleAbs(x, alpha=factor)
        if op == 1:
            mean = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).mean()
            table = np.clip(np.arange(256) * factor + mean * (1 - factor), 0, 255).astype(np.uint8)
            return cv2.LUT(x, table)
        if op == 2:
            grey = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            return cv2.addWeighted(x, factor, grey, 1 - factor, 0)
        hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV_FULL)
        hsv[:, :, 0] += np.uint8(int(random.uniform(-0.2, 0.2) * 255) % 256)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def workers(dataset: torch.utils.data.Dataset, batch: int) -> torch.utils.data.DataLoader:
    """A DataLoader with a worker a core, which stay from pass to pass; starting them is not measured."""
    loaded = torch.utils.data.DataLoader(
        dataset,
        batch,
        shuffle=True,
        num_workers=hardware.cores(),
        drop_last=True,
        persistent_workers=True,
        multiprocessing_context="forkserver",  # a plain fork hangs where the parent has used threads
    )
    next(iter(loaded))
    return loaded


def peer(loaded: torch.utils.data.DataLoader) -> dict[str, float]:
    """One pass."""
    sums = np.zeros(3)
    for crops in loaded:
        for crop in crops:
            add(sums, crop)
    return spread(sums)


# ------------------------------------------------------------------------------------------------------------ floors


def decode(jpegs: list[bytes]) -> None:
    """libjpeg-turbo on all cores, into memory that is used again."""

    def some(part: list[bytes]) -> None:
        out = np.empty((SIDE, SIDE, 3), np.uint8)
        for data in part:
            simplejpeg.decode_jpeg(data, "RGB", buffer=out)

    with ThreadPoolExecutor(hardware.cores()) as pool:
        list(pool.map(some, [jpegs[at : at + 32] for at in range(0, len(jpegs), 32)]))


def train(opened: pictures.PackedPictures, count: int, stepper: Stepper, steps: int) -> None:
    """Whole steps: loader, crops, forward, loss, backward, update."""
    order = loader.EpochOrder(np.arange(count), stepper.recipe.batch, 0)
    for part in loader.batches(opened, order, range(steps), reading=loader.ReadAhead(hardware.cores())):
        stepper(part.images, None, stepper.info(part.step))


def bare(stepper: Stepper, crops: list[torch.Tensor], steps: int) -> None:
    """Forward and backward of crops that lie in memory."""
    for step in range(steps):
        method = stepper.method
        torch.autograd.backward([method.loss(method(crops), stepper.info(step))])
        stepper.optimiser.zero_grad(set_to_none=True)


# ------------------------------------------------------------------------------------------------------------- parts


def run_command(source: Path, out: Path, processes: int, batch: int, arch: str, steps: int) -> list[dict[str, Any]]:
    """The log lines of `curate pretrain` with the paper's crops in so many processes that share the cores."""
    options = ["--manifest", source, "--out", out, "--arch", arch, "--batch", batch, "--steps", steps]
    settings = ["log.every=1", "probe.images=0", "swav.queue=0", "swav.freeze_prototypes_steps=0"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", processes, "-m", "curate", "pretrain"]
    given = [*options, "--device", "cpu", *(part for text in settings for part in ("--set", text))]
    threads = max(1, hardware.cores() // processes)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([str(part) for part in [*command, *given]], check=True, env=environment, capture_output=True)
    return [line for line in read_metrics(out / "metrics.jsonl") if line.get("loss") is not None]


def processes(source: Path, folder: Path, quick: bool) -> dict[str, Any]:
    """Pictures a second of one and of two processes, all cores each time, medians without the first step."""
    rates = {}
    for count in (1, 2):
        lines = run_command(source, folder / f"ddp{count}", count, 8, "resnet18", 3 if quick else 6)
        rates[count] = float(np.median([line["images_per_s"] for line in lines[1:]]))
    return {"one": round(rates[1], 2), "two": round(rates[2], 2), "ratio": round(rates[2] / rates[1], 3)}


def memory(source: Path, folder: Path) -> dict[str, Any]:
    """Peak memory of a ResNet-50 step at two batches."""
    peaks = {}
    for batch in (4, 12):
        lines = run_command(source, folder / f"mem{batch}", 1, batch, "resnet50", 2)
        peaks[batch] = lines[-1]["peak_mb"]
    return {"peak_mb": {str(batch): round(peak) for batch, peak in peaks.items()},
            "mb_a_picture": round((peaks[12] - peaks[4]) / 8)}  # fmt: skip


def main() -> None:
    """Measures and prints."""
    arguments = measure.arguments(__doc__.splitlines()[0])
    quick = arguments.quick
    count, batch, steps = (256, 4, 1) if quick else (1024, 16, 2)
    torch.set_num_threads(hardware.cores())
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, jpegs = write_build(folder / "build", count)
        found = ManifestFaces(open_manifest(source))
        pictures.pack(found, folder / "packed")
        opened = pictures.open_pictures(found, folder / "packed")
        recipe = recipe_of(batch, steps)
        world = World(0, 1, 0, torch.device("cpu"))
        stepper = Stepper(methods.build(build("resnet50"), recipe).train(), recipe, world, steps, count // batch)
        wide = Stepper(methods.build(build("resnet18"), recipe_of(32, 1)), recipe_of(32, 1), world, 1, count // 32)
        first = next(iter(batches(opened, count, batch))).images
        crops = [crop for piece in stepper.render(first, None, stepper.info(0)) for crop in piece.crops]
        few = jpegs[: len(jpegs) // 4]
        load_s, _ = measure.alternate(
            {"floor": partial(decode, jpegs), "ours": partial(load, opened, count, 32)}, 3 if quick else 9
        )
        absent = pretrain_lightly.missing()
        inputs = {
            "ours": partial(pipeline, opened, len(few), wide),
            "PIL": partial(peer, workers(Pil(few, recipe.views()), 32)),
            "OpenCV": partial(peer, workers(OpenCv(few, recipe.views()), 32)),
        }
        whole = {"floor": partial(bare, stepper, crops, steps), "ours": partial(train, opened, count, stepper, steps)}
        if not absent:
            theirs = pretrain_lightly.Swav(build("resnet50"), 2048)
            loaded = pretrain_lightly.forever(workers(pretrain_lightly.Crops(jpegs), batch))
            inputs["lightly"] = partial(peer, workers(pretrain_lightly.Crops(few), 32))
            whole["lightly"] = partial(pretrain_lightly.train, theirs, loaded, steps)
        input_s, quality = measure.alternate(inputs)
        bare(stepper, crops, 1)
        step_s, _ = measure.alternate(whole, 3 if quick else 5)
        opened.close()
        parts: dict[str, Any] = {
            "loader": {"ours_s": load_s["ours"], "floor_s": load_s["floor"], "pictures": count},
            "step": {"pictures": batch * steps} | {f"{name}_s": seconds for name, seconds in step_s.items()},
        }
        for part, bar in (("loader", 0.85), ("step", 0.90)):
            parts[part] |= {"ratio": round(parts[part]["floor_s"] / parts[part]["ours_s"], 3), "bar": bar}
        parts["two processes"] = processes(source, folder, quick)
        if not quick:
            parts["memory"] = memory(source, folder)
    for part, figures in parts.items():
        print(f"{part}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))
    measure.report(
        {
            "name": "pretrain",
            "work": f"input pipeline: {len(few)} JPEGs of {SIDE} px to 2 x 224 + 6 x 96 crops; parts: see the script",
            "ours_s": input_s["ours"],
            "quality": quality["ours"],
            "peers": {name: {"seconds": input_s[name], "quality": quality[name]} for name in inputs if name != "ours"},
            "floor_s": load_s["floor"] * len(few) / count,
            "floor": "libjpeg-turbo decode",
            "parts": parts,
            "left_out": f"lightly: {', '.join(absent)} not installed" if absent else "",
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
