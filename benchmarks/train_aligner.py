"""Trains the aligner (`curate/stages/aligner.py`) and writes its weights.

    python benchmarks/train_aligner.py DIR [--work DIR] [--steps 2000] [--out curate/stages/aligner.npz]

DIR holds the files of `aligner_pictures.json`, anywhere below; they are known by their sha256. Their faces are found
(CenterFace), cut out, and edited: re-encoded, shrunk, written over, made noisy. Two versions of one picture, shifted,
scaled and turned at random and lit otherwise, must be put in the same place: the loss is how far apart they are put,
and, with little weight, how far from where the landmarks have them. Half of the pictures are warped smoothly, both
versions alike, so that few people stand for many. A stopped run goes on from `--work`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.calibration.edits import reencode
from curate.hardware import limit_threads
from curate.recipe import CropSettings, FaceSettings
from curate.stages import align, aligner, decode
from curate.stages.detect import load_backend

SEED = 0
LISTED = Path(__file__).with_name("aligner_pictures.json")
FRAMES, RATE, FACES = 14, 2.0, 3
"""Frames of a video, frames a second, and faces of a frame that are taken at most."""
LONGEST = 1280
CROP, MARGIN = 224, 0.5
BATCH, RATE_OF_LEARNING, WARM_UP = 48, 2e-3, 100
APART = torch.tensor([0.03, 0.03, 0.04, math.radians(3.5)])
"""Deviations of the random shifts, log scales and turns; for half of the pairs a fifth, as in the second round."""
WARP = 0.035
"""Largest deviation of the smooth warps, in half widths of the plane."""
ANCHOR = 0.15
"""Weight of the distance to the landmarks' place, against that between both versions."""
POINTS = torch.from_numpy(align.ARCFACE / align.ARCFACE_SIDE - 0.5)
STEPS = ((torch.arange(aligner.SIDE) + 0.5) / aligner.SIDE - 0.5) * aligner.WINDOW
GRID = torch.stack(torch.meshgrid(STEPS, STEPS + aligner.LOWER, indexing="xy"), -1).reshape(1, -1, 2)


class Network(nn.Sequential):
    """As `aligner._network` computes it: pictures [n, 1, SIDE, SIDE] to similarities [n, 4]."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for into, out, k, stride in zip((1, 16, 32, 48), (16, 32, 48, 64), (5, 3, 3, 3), aligner.STRIDES, strict=True):
            layers += [nn.Conv2d(into, out, k, stride, k // 2), nn.ReLU()]
        super().__init__(*layers, nn.Flatten(), nn.Linear(64 * 36, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, pictures: Tensor) -> Tensor:
        answer: Tensor = super().forward(pictures)
        return answer * aligner.SCALE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path)
    parser.add_argument("--work", type=Path, default=Path("aligner"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=aligner.WEIGHTS)
    options = parser.parse_args()
    limit_threads(1)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    planes, owners = gather(options.files, options.work / "planes.npz")
    weights = train(torch.from_numpy(planes), owners, options.steps, options.work / "checkpoint.pt")
    write(weights, options.out)


def write(weights: dict[str, Tensor], out: Path) -> None:
    """Weights and biases, numbered by layer, in half precision."""
    layers = [name[: -len(".weight")] for name in weights if name.endswith(".weight")]
    arrays = {f"{part}{k}": weights[f"{name}.{part}"] for k, name in enumerate(layers) for part in ("weight", "bias")}
    np.savez(out, **{name: values.numpy().astype(np.float16) for name, values in arrays.items()})
    print(f"{out}: {sum(values.numel() for values in arrays.values()):,} numbers")


def listed_files(listed: Path, folder: Path) -> dict[str, Path]:
    """SHA-256 -> file below a folder, of all that a list of pictures names, in its order."""
    names = {entry["sha256"]: f"{entry['repository']} {entry['path']}" for entry in json.loads(listed.read_text())}
    here = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    missing = [name for sha, name in names.items() if sha not in here]
    if missing:
        raise SystemExit(f"not below {folder}: {', '.join(missing)}")
    return {sha: here[sha] for sha in names}


def gather(folder: Path, stored: Path) -> tuple[np.ndarray, np.ndarray]:
    """Planes uint8 [faces, versions, PLANE, PLANE] and the file of each face."""
    if not stored.is_file():
        files = listed_files(LISTED, folder)
        rng = np.random.default_rng(SEED)
        faces = [(owner, crop) for owner, path in enumerate(files.values()) for crop in crops(path)]
        planes = [[_plane(version) for version in versions(crop, rng)] for _, crop in faces]
        np.savez(stored, planes=np.array(planes), owners=np.array([owner for owner, _ in faces]))
    with np.load(stored) as found:
        print(f"{len(found['planes'])} faces of {len(np.unique(found['owners']))} files")
        return found["planes"], found["owners"]


def crops(path: Path) -> Iterator[np.ndarray]:
    """The faces of a picture or a video."""
    backend = load_backend(FaceSettings(backend="centerface", min_size=48), CropSettings())
    if path.suffix in (".mp4", ".mov"):
        with decode.open_video(path) as video:
            frames = [frame.pixels for frame in video.frames(RATE)][:FRAMES]
    else:
        picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        by = min(1.0, LONGEST / max(picture.shape[:2]))
        frames = [cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_AREA)]
    for frame in frames:
        for face in backend.detect([np.ascontiguousarray(frame)])[0].faces[:FACES]:
            yield align.align(frame, face.landmarks, CROP, MARGIN)


def versions(crop: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """A crop and seven edits of it that leave the face where it is."""

    def at(side: int, edit: object = None) -> np.ndarray:
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) if side < CROP else crop
        edited = edit(small) if callable(edit) else small
        return cv2.resize(edited, (CROP, CROP), interpolation=cv2.INTER_CUBIC)

    found = [crop]
    for low, high in ((18, 28), (28, 36), (34, 42)):
        crf = int(rng.integers(low, high))
        found.append(at(int(rng.choice([72, 96, 128, 160, 224])), lambda one, crf=crf: reencode([one], crf)[0]))
    found.append(at(int(rng.choice([48, 64, 80]))))
    quality = int(rng.integers(15, 60))
    found.append(at(int(rng.choice([72, 112, 160])), lambda one: align.decode(align.encode(one, quality))))
    written, word = crop.copy(), "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWZ"), int(rng.integers(4, 9))))
    place, size = (int(rng.integers(-60, 60)), int(rng.integers(40, 200))), float(rng.uniform(1.2, 3.2))
    cv2.putText(written, word, place, cv2.FONT_HERSHEY_DUPLEX, size, (255,) * 3, int(rng.integers(2, 6)), cv2.LINE_AA)
    found.append(cv2.addWeighted(crop, 0.8, written, 0.2, 0))
    noise = rng.normal(0, rng.uniform(4, 14), crop.shape)
    found.append(np.clip(crop + noise, 0, 255).astype(np.uint8))
    return found


def _plane(crop: np.ndarray) -> np.ndarray:
    return np.clip(np.round(aligner.plane(crop, MARGIN)), 0, 255).astype(np.uint8)


def train(planes: Tensor, owners: np.ndarray, steps: int, checkpoint: Path) -> dict[str, Tensor]:
    """The weights, averaged over the last steps."""
    torch.manual_seed(SEED)
    network = Network().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), RATE_OF_LEARNING, (0.9, 0.98), weight_decay=1e-3)
    average = {name: values.clone() for name, values in network.state_dict().items()}
    first = 0
    if checkpoint.is_file():
        stored = torch.load(checkpoint)
        network.load_state_dict(stored["network"])
        optimiser.load_state_dict(stored["optimiser"])
        average, first = stored["average"], stored["step"]
    _, which, counts = np.unique(owners, return_inverse=True, return_counts=True)
    chances = 1 / np.sqrt(counts)[which]
    shown, started = np.zeros(2), time.process_time()
    for step in range(first, steps):
        rng = np.random.default_rng((SEED, step))
        torch.manual_seed(step)
        rate = RATE_OF_LEARNING * min(1, (step + 1) / WARM_UP)
        optimiser.param_groups[0]["lr"] = rate * (0.01 + 0.495 * (1 + math.cos(math.pi * step / steps)))
        chosen = torch.from_numpy(rng.choice(len(planes), BATCH, p=chances / chances.sum()))
        apart, off = _distances(network, planes, chosen)
        optimiser.zero_grad()
        (100 * (apart + ANCHOR * off)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 20.0)
        optimiser.step()
        keep = min(0.998, (step + 1) / (step + 10))
        for name, values in network.state_dict().items():
            average[name].mul_(keep).add_(values, alpha=1 - keep)
        shown += np.array([apart.item(), off.item()]) * align.ARCFACE_SIDE / 100
        if (step + 1) % 100 == 0:
            print(f"{step + 1}: {shown[0]:.3f} px of {align.ARCFACE_SIDE} apart, {shown[1]:.3f} from the landmarks' "
                  f"place; {time.process_time() - started:.0f} s", flush=True)  # fmt: skip
            shown[:] = 0
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "average": average}
            torch.save(state | {"step": step + 1}, checkpoint)
    return average


def _distances(network: Network, planes: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance of where two versions are put, and from the landmarks' place; in sides of ArcFace's square."""
    n, kinds = len(chosen), planes.shape[1]
    plain = torch.rand(n) < 0.4
    one = torch.where(plain, torch.zeros(n, dtype=torch.long), torch.randint(kinds, (n,)))
    pictures = planes[chosen.repeat(2), torch.cat([one, torch.randint(kinds, (n,))])][:, None].float()
    strength = WARP * torch.rand(n, 1, 1, 1) * (torch.rand(n, 1, 1, 1) < 0.8)
    warp = F.interpolate(torch.randn(n, 2, 5, 5), size=(24, 24), mode="bicubic", align_corners=True) * strength
    flip = torch.where(torch.rand(n) < 0.5, 1.0, -1.0)
    near = torch.where(torch.rand(n) < 0.5, 1.0, 0.2)[:, None]
    both = torch.randn(n, 4) * APART * 0.6 * (torch.rand(n, 1) < 0.5)
    places = torch.cat([_after(both, torch.randn(n, 4) * APART * near) for _ in range(2)])
    seen = _lit(_window(pictures, places, warp.repeat(2, 1, 1, 1), flip.repeat(2)))
    deviation, mean = torch.std_mean(seen, (2, 3), keepdim=True)
    seen = ((seen - mean) / (deviation + aligner.CONTRAST_FLOOR)).clamp(-aligner.CLIP, aligner.CLIP)
    answers = network(seen.contiguous(memory_format=torch.channels_last))
    goal = POINTS.expand(2 * n, -1, -1)
    put = _moved(places, _moved(answers, goal))
    return (put[:n] - put[n:]).norm(dim=-1).mean(), (put - goal).norm(dim=-1).mean()


def _moved(places: Tensor, points: Tensor) -> Tensor:
    """Points [n, m, 2] under similarities [n, 4]."""
    scale = places[:, 2].exp()
    across, down = scale * places[:, 3].cos(), scale * places[:, 3].sin()
    matrix = torch.stack([torch.stack([across, -down], -1), torch.stack([down, across], -1)], 1)
    return points @ matrix.transpose(1, 2) + places[:, None, :2]


def _after(first: Tensor, second: Tensor) -> Tensor:
    shift = _moved(first, second[:, None, :2])[:, 0]
    return torch.cat([shift, first[:, 2:] + second[:, 2:]], 1)


def _window(pictures: Tensor, places: Tensor, warp: Tensor, flip: Tensor) -> Tensor:
    n = len(pictures)
    grid = _moved(places, GRID.expand(n, -1, -1)) * torch.stack([flip, torch.ones(n)], 1)[:, None] / aligner.REACH
    grid = grid.view(n, aligner.SIDE, aligner.SIDE, 2)
    moved = F.grid_sample(warp, grid, align_corners=True, padding_mode="border").permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid + moved, align_corners=False, padding_mode="border")


def _lit(pictures: Tensor) -> Tensor:
    """Another gamma, contrast and brightness, and a little noise."""

    def each() -> Tensor:
        return torch.randn(len(pictures), 1, 1, 1)

    lit = 255 * (pictures / 255).clamp(1e-3, 1) ** (0.3 * each()).exp()
    lit = lit * (1 + 0.2 * each()) + 20 * each()
    return (lit + torch.randn_like(lit) * 3 * torch.rand(len(lit), 1, 1, 1)).clamp(0, 255)


if __name__ == "__main__":
    main()
