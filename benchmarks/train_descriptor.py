"""Trains the appearance space's descriptor (`curate/stages/descriptor.py`) and writes its weights.

    python benchmarks/train_descriptor.py DIR [--work DIR] [--steps 800] [--out curate/stages/descriptor.npz]

DIR holds the files of `descriptor_pictures.json`, anywhere below; they are known by their sha256. Faces are found
(CenterFace), cut out and edited. Alike are versions of one picture: re-encoded, shrunk, written over, relit, cut out a
little elsewhere. Not alike are

    warped     the picture with another expression: 68 landmarks moved, the rest after them (`expressions.py`)
    changed    another frame of the same track, in which the expression has changed for certain
    others     every face of another file

A stopped run goes on from `--work`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import expressions
import numpy as np
import torch
import torch.nn.functional as F
import train_aligner
from torch import Tensor, nn

from curate.calibration import expression
from curate.calibration.edits import reencode
from curate.hardware import limit_threads
from curate.recipe import CropSettings, FaceSettings
from curate.stages import align, aligner, decode, descriptor
from curate.stages.backend_dlib import landmarks_68
from curate.stages.detect import load_backend

SEED = 0
LISTED = Path(__file__).with_name("descriptor_pictures.json")
RATE, FRAMES = 6.0, 22
"""Frames a second of a video that faces are taken from, and how many at most."""
CROP, MARGIN = train_aligner.CROP, train_aligner.MARGIN
GROUPS, RATE_OF_LEARNING, WARM_UP, DECAY = 16, 2e-3, 40, 1e-2
ROUND, FURTHER = 400, 1.8
"""Steps after which the rate of learning is at its highest again; from then on versions lie so much further apart."""
SHARPNESS, MIDDLE, GAP = 32.0, 0.88, 0.03
"""Of the loss: how steep it is in cosines, around which cosine, and how far from it both sides should be."""
APART = torch.tensor([0.008, 0.008, 0.010, math.radians(0.8)])
"""Deviations of random shifts, log scales and turns of a version; for a quarter of them twice as much."""
COMMON = torch.tensor([0.02, 0.02, 0.03, math.radians(2.5)])
"""The same for all versions of a picture and its changes alike."""
WARP = 0.03
"""Largest deviation of the smooth warps of a picture, all versions alike, in half widths of the plane."""
VIEWS = ("same", "same", "same", "warped", "warped", "warped again", "changed")
STEPS = ((torch.arange(descriptor.SIDE) + 0.5) / descriptor.SIDE - 0.5) * descriptor.WINDOW
GRID = torch.stack(torch.meshgrid(STEPS, STEPS + descriptor.LOWER, indexing="xy"), -1).reshape(1, -1, 2)


class Network(nn.Sequential):
    """As `descriptor.describe` computes it: pictures [n, 1, SIDE, SIDE] to unit vectors [n, DIMENSION]."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        widths = (1, 24, 32, 48, 64, 96, 96)
        for into, out, k, stride in zip(widths, widths[1:], (5, 3, 3, 3, 3, 3), descriptor.STRIDES, strict=False):
            convolution = nn.Conv2d(into, out, k, stride, k // 2)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
            layers += [convolution, nn.ReLU()]
        super().__init__(*layers, nn.Flatten(), nn.Linear(widths[-1] * 9, descriptor.DIMENSION))

    def forward(self, pictures: Tensor) -> Tensor:
        both = torch.cat([pictures, pictures.flip(3)]).contiguous(memory_format=torch.channels_last)
        picture, mirror = super().forward(both).chunk(2)
        half = descriptor.DIMENSION // 2
        return F.normalize(torch.cat([picture[:, :half] + mirror[:, :half], picture[:, half:] - mirror[:, half:]], 1))


@dataclass(frozen=True)
class Faces:
    """Everything that is learned from.

    Attributes:
        planes: uint8 [faces, versions, PLANE, PLANE]. points: float32 [faces, 68, 2], sides of ArcFace's square from
            its middle. owners: int64 [faces], the file of each. partners: of each face, those of its track that differ.
        chances: float64 [faces], how often each is drawn.
    """

    planes: Tensor
    points: Tensor
    owners: Tensor
    partners: list[np.ndarray]
    chances: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path)
    parser.add_argument("--work", type=Path, default=Path("descriptor"))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path, default=descriptor.WEIGHTS)
    options = parser.parse_args()
    limit_threads(1)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    faces = gather(options.files, options.work)
    weights = train(faces, options.steps, options.work / "checkpoint.pt")
    train_aligner.write(weights, options.out)


def gather(folder: Path, work: Path) -> Faces:
    """Finds and edits the faces, a file at a time, or reads what an earlier run made of them."""
    files = train_aligner.listed_files(LISTED, folder)
    parts = []
    for owner, (sha, path) in enumerate(files.items()):
        stored = work / f"{sha[:16]}.npz"
        if not stored.is_file():
            print(f"{owner + 1} of {len(files)}: {path}", flush=True)
            _gather(path, stored, np.random.default_rng((SEED, owner)))
        with np.load(stored) as found:
            parts.append((owner, found["planes"], found["points"], found["tracks"], found["changed"]))
    planes = torch.from_numpy(np.concatenate([part[1] for part in parts]))
    owners = np.concatenate([np.full(len(part[1]), part[0]) for part in parts])
    partners: list[np.ndarray] = []
    for _, own, _, _, changed in parts:
        start = len(partners)
        partners += [np.flatnonzero(row) + start for row in changed.reshape(len(own), len(own))]
    _, which, counts = np.unique(owners, return_inverse=True, return_counts=True)
    chances = 1 / np.sqrt(counts)[which]
    print(f"{len(planes)} faces of {len(counts)} files, {sum(map(bool, map(len, partners)))} with changes", flush=True)
    points = torch.from_numpy(np.concatenate([part[2] for part in parts]))
    return Faces(planes, points, torch.from_numpy(owners), partners, chances / chances.sum())


def _gather(path: Path, stored: Path, rng: np.random.Generator) -> None:
    found = list(_crops(path))
    tracks = np.array([track for track, _ in found], np.int64)
    crops = np.array([crop for _, crop in found], np.uint8).reshape(-1, CROP, CROP, 3)
    planes = np.zeros((0, 1, aligner.PLANE, aligner.PLANE), np.uint8)
    points, changed = np.zeros((0, 68, 2), np.float32), np.zeros((0, 0), bool)
    if len(crops):
        points = (landmarks_68(crops, MARGIN) - (CROP - 1) / 2) * (1 + MARGIN) / CROP
        measures = expression.measures(crops, MARGIN)
        left, right = (side.ravel() for side in np.indices((len(crops), len(crops))))
        differs = np.any(list(expression.changed(measures, left, right).values()), axis=0)
        changed = (differs & (tracks[left] == tracks[right])).reshape(len(crops), len(crops))
        edited = zip(*versions(list(crops), rng), strict=True)
        planes = np.array([[train_aligner._plane(version) for version in one] for one in edited])
    if planes.shape[1] == 1:
        planes = np.zeros((0, VERSIONS, aligner.PLANE, aligner.PLANE), np.uint8)
    np.savez(stored, planes=planes, points=points.astype(np.float32), tracks=tracks, changed=changed)


def _crops(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """The faces of a picture, or the largest of each frame of a video, with the number of its track."""
    if path.suffix not in (".mp4", ".mov"):
        yield from enumerate(train_aligner.crops(path))
        return
    backend = load_backend(FaceSettings(backend="centerface", min_size=40), CropSettings())
    with decode.open_video(path) as video:
        frames = [frame.pixels for frame in video.frames(RATE)]
    frames = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))]
    track, last = 0, None
    for frame in frames:
        faces = backend.detect([np.ascontiguousarray(frame)])[0].faces
        if not faces:
            last = None
            continue
        face = max(faces, key=lambda face: face.bbox[2] - face.bbox[0])
        if last is None or np.abs(face.landmarks - last).max() > np.ptp(last, axis=0).max():
            track += 1
        last = face.landmarks
        yield track, align.align(frame, face.landmarks, CROP, MARGIN)


VERSIONS = 10
"""Of each face, with the face itself."""


def versions(crops: list[np.ndarray], rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """The crops and edits of all of them that leave the faces where they are, one kind of edit after the other."""

    def at(side: int, picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if side < CROP else cv2.INTER_CUBIC)

    def back(picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, (CROP, CROP), interpolation=cv2.INTER_CUBIC) if len(picture) != CROP else picture

    yield crops
    for sides, low, high in (((128, 160, 224), 18, 28), ((72, 96, 128, 160, 224), 26, 34), ((96, 128, 224), 34, 41),
                             ((48, 64, 80, 112), 28, 36)):  # fmt: skip
        coded: list[np.ndarray] = []
        for start in range(0, len(crops), 6):  # another strength every few faces
            side, crf = int(rng.choice(sides)), int(rng.integers(low, high))
            levels = np.clip(np.arange(256) * rng.uniform(0.85, 1.15) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)
            some = [levels[at(side, crop)] for crop in crops[start : start + 6]]
            coded += [back(picture) for picture in reencode(some, crf)]
        yield coded
    yield [back(at(int(rng.choice([40, 48, 64, 80])), crop)) for crop in crops]
    yield [back(align.decode(align.encode(at(int(rng.choice([72, 112, 160])), crop), int(rng.integers(15, 60)))))
           for crop in crops]  # fmt: skip
    yield [np.clip(crop + rng.normal(0, rng.uniform(5, 14), crop.shape), 0, 255).astype(np.uint8) for crop in crops]
    for _ in range(2):
        yield [_written(crop, rng) for crop in crops]


def _written(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With a faint word across it, in letters of any size."""
    written, word = crop.copy(), "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWZ"), int(rng.integers(3, 9))))
    size = float(rng.uniform(1.2, 6))
    place = int(rng.integers(-80 * size, 120)), int(rng.integers(40, 200 + 10 * size))
    level = 255 if rng.random() < 0.85 else 0
    cv2.putText(
        written, word, place, int(rng.choice([0, 2, 3])), size, (level,) * 3, max(1, round(size * 1.8)), cv2.LINE_AA
    )
    share = float(rng.uniform(0.12, 0.28))
    return cv2.addWeighted(crop, 1 - share, written, share, 0)


def train(faces: Faces, steps: int, checkpoint: Path) -> dict[str, Tensor]:
    """The weights, averaged over the last steps."""
    torch.manual_seed(SEED)
    network = Network().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), RATE_OF_LEARNING, (0.9, 0.98), weight_decay=DECAY)
    average = {name: values.clone() for name, values in network.state_dict().items()}
    first = 0
    if checkpoint.is_file():
        stored = torch.load(checkpoint)
        network.load_state_dict(stored["network"])
        optimiser.load_state_dict(stored["optimiser"])
        average, first = stored["average"], stored["step"]
    shown, started = np.zeros(4), time.process_time()
    for step in range(first, steps):
        rng = np.random.default_rng((SEED, step))
        torch.manual_seed(step)
        rate = RATE_OF_LEARNING * min(1, (step + 1) / WARM_UP)
        optimiser.param_groups[0]["lr"] = rate * (0.01 + 0.495 * (1 + math.cos(math.pi * (step % ROUND) / ROUND)))
        pictures, owners = batch(faces, rng, APART * (1 if step < ROUND else FURTHER))
        loss, seen = judge(network(pictures), owners)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        keep = min(0.995, (step + 1) / (step + 10))
        for name, values in network.state_dict().items():
            average[name].mul_(keep).add_(values, alpha=1 - keep)
        shown += np.array([loss.item(), *seen])
        if (step + 1) % 50 == 0:
            loss_, same, other, missed = shown / 50
            print(f"{step + 1}: loss {loss_:.3f}, cosine of versions {same:.3f}, of changed faces {other:.3f}, "
                  f"equal error {missed:.3f}; {time.process_time() - started:.0f} s", flush=True)  # fmt: skip
            shown[:] = 0
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "average": average}
            torch.save(state | {"step": step + 1}, checkpoint)
    return average


def batch(faces: Faces, rng: np.random.Generator, apart: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures float32 [GROUPS * len(VIEWS), 1, SIDE, SIDE], `VIEWS` of a group together, and the file of each."""
    chosen = rng.choice(len(faces.planes), GROUPS, False, faces.chances)
    others = [faces.partners[k] for k in chosen]
    partner = np.array([rng.choice(found) if len(found) else k for k, found in zip(chosen, others, strict=True)])
    real = torch.tensor([len(found) > 0 for found in others])
    rows = np.stack([chosen] * (len(VIEWS) - 1) + [partner], 1)
    version = rng.integers(0, VERSIONS, rows.shape)
    version[rng.random(rows.shape) < 0.25] = 0
    pictures = faces.planes[torch.from_numpy(rows), torch.from_numpy(version)].float().flatten(0, 1)[:, None]
    points = faces.points[torch.from_numpy(chosen)].repeat(3, 1, 1)
    once, again, last = expressions.field(points, expressions.moved(points, rng), aligner.REACH).chunk(3)
    # where no other frame is known to differ, the last view is one more expression
    last = last * ~real[:, None, None, None]
    field = torch.stack([torch.zeros_like(once)] * 3 + [once, once, again, last], 1).flatten(0, 1)
    return _seen(pictures, field, apart), faces.owners[torch.from_numpy(chosen)].repeat_interleave(len(VIEWS))


def _seen(pictures: Tensor, field: Tensor, apart: Tensor) -> Tensor:
    """As the network sees them: warped, moved, lit and normalised.

    Args:
        field: float32 [n, 2, h, w], where each place of the plane is taken from, relative to itself.
        apart: deviations of shifts, log scale and turn of a version.
    """
    n, views = len(pictures), len(VIEWS)
    groups = n // views

    def alike(values: Tensor) -> Tensor:
        return values.repeat_interleave(views, 0)

    strength = WARP * torch.rand(groups, 1, 1, 1) * (torch.rand(groups, 1, 1, 1) < 0.6)
    smooth = F.interpolate(torch.randn(groups, 2, 5, 5), size=(24, 24), mode="bicubic", align_corners=True) * strength
    flip = alike(torch.where(torch.rand(groups) < 0.5, 1.0, -1.0))
    near = torch.where(torch.rand(n) < 0.25, 2.0, 0.7)[:, None]
    common = torch.randn(groups, 4) * COMMON * (torch.rand(groups, 1) < 0.5)
    places = train_aligner._after(alike(common), torch.randn(n, 4) * apart * near)
    grid = train_aligner._moved(places, GRID.expand(n, -1, -1)) * torch.stack([flip, torch.ones(n)], 1)[:, None]
    grid = (grid / aligner.REACH).view(n, descriptor.SIDE, descriptor.SIDE, 2)
    for warp in (alike(smooth), field):
        grid = grid + F.grid_sample(warp, grid, align_corners=True, padding_mode="border").permute(0, 2, 3, 1)
    seen = F.grid_sample(pictures, grid, align_corners=False, padding_mode="border")
    seen = torch.where(torch.rand(n, 1, 1, 1) < 0.7, _lit(seen), seen)
    deviation, mean = torch.std_mean(seen, (2, 3), keepdim=True)
    return ((seen - mean) / (deviation + descriptor.CONTRAST_FLOOR)).clamp(-descriptor.CLIP, descriptor.CLIP)


def _lit(pictures: Tensor) -> Tensor:
    """Another gamma, contrast and brightness, cut off where a picture's levels end."""

    def each() -> Tensor:
        return torch.randn(len(pictures), 1, 1, 1)

    lit = 255 * (pictures / 255).clamp(1e-3, 1) ** (0.3 * each()).exp()
    return ((lit - 128) * (0.25 * each()).exp() + 128 + 24 * each()).clamp(0, 255)


def judge(vectors: Tensor, owners: Tensor) -> tuple[Tensor, tuple[float, float, float]]:
    """The loss; mean cosines of versions and of changed faces, and the error where as many of both are wrong."""
    n, views = len(vectors), len(VIEWS)
    kind = torch.tensor([0, 0, 0, 1, 1, 2, 3]).repeat(n // views)
    group = torch.arange(n // views).repeat_interleave(views)
    together = group[:, None] == group
    same = together & (kind[:, None] == kind) & ~torch.eye(n, dtype=torch.bool)
    # of two changes it is not known whether they differ from each other
    changed = together & (kind[:, None] != kind) & ((kind[:, None] == 0) | (kind == 0))
    other = changed | (owners[:, None] != owners)
    cosines = vectors @ vectors.T
    pull = torch.where(same, SHARPNESS * (MIDDLE + GAP - cosines), -torch.inf)
    push = torch.where(other, SHARPNESS * (cosines - MIDDLE + GAP), -torch.inf)
    paired = same.any(1)
    loss = F.softplus(pull[paired].logsumexp(1)).mean() + F.softplus(push.logsumexp(1)).mean()
    with torch.no_grad():
        one, two = cosines[same], cosines[changed]
        middle = torch.quantile(torch.cat([one, two]), len(two) / (len(one) + len(two)))
        wrong = ((one < middle).float().mean() + (two >= middle).float().mean()) / 2
    return loss, (one.mean().item(), two.mean().item(), wrong.item())


if __name__ == "__main__":
    main()
