"""Any backbone behind one face: pictures in, one vector and feature maps out.

spec                        becomes
`random`                    a fresh backbone of --arch, weights from the seed
backbone.pt, *.pth          curate's architectures with those weights (ours, the paper's, torchvision's, timm's)
a TorchScript file          run as it is; its output is the feature, or the map, or the tokens
*.onnx                      run by onnxruntime; frozen modes only
an nn.Module                curate's, torchvision's, timm's or any other whose output is a vector, a map or tokens
"""

from __future__ import annotations

import copy
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from curate.choices import ARCHITECTURES
from curate.errors import UsageError, one_line
from curate.pretrain import normalisation, weights
from curate.pretrain.backbones import Backbone, build
from curate.pretrain.normalisation import IMAGENET_MEAN, IMAGENET_STD, Channels
from curate.storage.files import sha256_file


@dataclass(frozen=True)
class Origin:
    """Where a backbone is from, as results name it.

    Attributes:
        name: what the user gave, or the class of a module with the beginning of its digest.
        method, manifest: of the run that trained it; None where that is not known.
        digest: names its weights in caches; of a module also what it makes of them.
        notes: what a reader of its results must know, for example which of several networks of a file it is.
    """

    name: str
    digest: str
    method: str | None = None
    manifest: str | None = None
    arch: str | None = None
    notes: tuple[str, ...] = ()


class Encoder(nn.Module):
    """A backbone with its normalisation.

    Args:
        network: see the module's table.
        origin: where it is from.
        mean, std: of the pictures in [0, 1] that it was trained with.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        origin: Origin,
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.network, self.origin = network, origin
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def trainable(self) -> bool:
        """Whether it can be fine-tuned."""
        return not isinstance(self.network, OnnxNetwork) and any(p.requires_grad for p in self.network.parameters())

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """uint8 [n, 3, S, S] -> features [n, D] and maps [n, C, h, w], finest first, maybe none."""
        images = (pictures.float() / 255 - self.mean) / self.std
        if isinstance(self.network, Backbone):
            return self.network.both(images)
        if all(hasattr(self.network, name) for name in ("conv1", "bn1", "maxpool", "layer1", "layer4")):
            return _residual(self.network, images)
        forward = getattr(self.network, "forward_features", self.network)
        return read_output(forward(images))

    def shapes(self, size: int) -> tuple[int, tuple[tuple[int, int], ...]]:
        """The feature's length, and (channels, side) of each map, for pictures of `size` pixels.

        Raises:
            UsageError: the network refuses pictures of this size.
        """
        with modes_kept(self), torch.inference_mode():
            self.eval()
            try:
                features, maps = self(torch.zeros(1, 3, size, size, device=self.mean.device))
            except (ValueError, RuntimeError) as error:
                raise UsageError(
                    f"--backbone {self.origin.name}: refuses pictures of {size} x {size} ({one_line(error, 120)}); "
                    "--set crop.size=..."
                ) from None
        return features.shape[1], tuple((m.shape[1], m.shape[2]) for m in maps)


@contextmanager
def modes_kept(network: object) -> Iterator[None]:
    """Puts every part of a module back into the mode, training or evaluation, that it is in; others are left alone."""
    modes = [(part, part.training) for part in network.modules()] if isinstance(network, nn.Module) else []
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def copied(encoder: Encoder) -> Encoder:
    """An encoder of its own with the same weights, to be trained."""
    shared: dict[int, object] = {}
    if isinstance(encoder.network, torch.jit.ScriptModule):  # a deep copy's parameters cannot be trained
        buffer = io.BytesIO()
        torch.jit.save(encoder.network, buffer)
        shared[id(encoder.network)] = _load_script(io.BytesIO(buffer.getvalue()))
    return copy.deepcopy(encoder, shared)


_load_script: Callable[..., nn.Module] = torch.jit.load  # torch does not type it


def _residual(network: Any, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The stages of a network laid out as torchvision's ResNet."""
    x = network.conv1(images)
    x = network.bn1(x)
    x = network.maxpool(network.relu(x) if hasattr(network, "relu") else network.act1(x))
    maps = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
        maps.append(x)
    return x.mean((2, 3)), maps


def read_output(output: Any) -> tuple[Tensor, list[Tensor]]:
    """A network's output as features and maps: [n, D] is a feature, [n, C, h, w] a map, [n, T, C] tokens.

    Tokens are the class token and a square grid of patches, or the grid alone; the feature is the first token, or the
    mean.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(output, dict):
        output = next(iter(output.values()), None)
    if isinstance(output, list | tuple) and output:
        output = output[0]
    if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(
            f"the backbone gives {what}; a vector [n, D], a map [n, C, h, w] or tokens [n, T, C] is needed"
        )
    if output.ndim == 2:
        return output, []
    if output.ndim == 4:
        return output.mean((2, 3)), [output]
    side = int((output.shape[1]) ** 0.5)
    extra = output.shape[1] - side * side
    patches = output[:, extra:].transpose(1, 2).reshape(output.shape[0], -1, side, side)
    return (output[:, 0] if extra else output.mean(1)), [patches]


class OnnxNetwork(nn.Module):
    """An ONNX file with one picture input, run on the CPU by onnxruntime.

    Raises:
        UsageError: it cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own unrelated classes
            raise UsageError(f"{path}: onnxruntime cannot load it ({one_line(error, 120)})") from None
        entry = self.session.get_inputs()[0]
        self.input = entry.name
        self.fixed = entry.shape[0] if isinstance(entry.shape[0], int) else None

    def forward(self, images: Tensor) -> Tensor:
        """float [n, 3, S, S] -> the file's first output."""
        step = self.fixed or len(images)
        parts = []
        for start in range(0, len(images), step):
            part = images[start : start + step].cpu().numpy()
            missing = step - len(part)  # a fixed batch must be full
            part = np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)))
            try:
                output = self.session.run(None, {self.input: part})[0]
            except Exception as error:  # as above
                raise UsageError(
                    f"the ONNX backbone refuses {part.shape}: {one_line(error, 120)}; --set crop.size=..."
                ) from None
            parts.append(torch.from_numpy(output)[: step - missing])
        return torch.cat(parts).to(images.device)


def load(
    spec: str | Path | nn.Module,
    arch: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    name: str | None = None,
) -> Encoder:
    """The encoder for what the user names.

    Args:
        spec: see the module's table.
        arch: for `random` (default resnet50); else checked against the file.
        seed: of `random`'s weights.
        name: what results call it, instead of the `Origin.name` that is its own.

    Raises:
        UsageError: the file is missing or cannot be used, or the architecture is not known.
    """
    if isinstance(spec, nn.Module):
        encoder = spec if isinstance(spec, Encoder) else Encoder(spec, _origin_of(spec))
    elif str(spec) == "random":
        encoder = _random(arch or "resnet50", seed)
    else:
        if not str(spec).strip():
            raise UsageError("--backbone: no file is named (a backbone.pt, a checkpoint, an ONNX file, or `random`)")
        encoder = _from_file(Path(spec), arch)
    if name is not None:
        encoder = copy.copy(encoder)  # the caller's keeps its name
        encoder.origin = replace(encoder.origin, name=name)
    return encoder.to(device).eval()


def _random(arch: str, seed: int) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = build(arch)
        except UsageError as error:
            raise UsageError(f"--arch {arch}: none of {', '.join(ARCHITECTURES)} ({error})") from None
    return Encoder(network, Origin("random", digest_of(network), "random", None, arch))


def _from_file(path: Path, arch: str | None) -> Encoder:
    weights.refuse_folder(path)
    if not path.is_file():
        raise UsageError(
            f"--backbone {path}: there is no such file (a backbone.pt, a checkpoint, an ONNX file, or `random`)"
        )
    if path.suffix.lower() == ".onnx" or _is_torchscript(path):
        network = OnnxNetwork(path) if path.suffix.lower() == ".onnx" else _scripted(path)
        declared = normalisation.declared_normalisation(path)
        notes = () if declared else (f"{path}: {_UNDECLARED}",)
        origin = Origin(str(path), sha256_file(path)[:16], notes=notes)
        return Encoder(network, origin, *(declared or (IMAGENET_MEAN, IMAGENET_STD)))
    backbone, note = weights.backbone_and_note(path, arch)
    run = normalisation.run_of(path)
    provenance = run.get("provenance")
    manifest = provenance.get("manifest") if isinstance(provenance, dict) else None
    origin = Origin(
        str(path), digest_of(backbone), _text(run.get("method")), _text(manifest),
        arch or weights.architecture(backbone.state_dict()), (note,) if note else (),
    )  # fmt: skip
    return Encoder(backbone, origin, *normalisation.normalisation_of(path))


_UNDECLARED = (
    "pictures are normalised with ImageNet's mean and deviation, since no file beside it and no "
    "--set extract.mean=[R,G,B] --set extract.std=[R,G,B] says otherwise"
)


def _scripted(path: Path) -> nn.Module:
    try:
        return _load_script(str(path), map_location="cpu")
    except RuntimeError as error:
        raise UsageError(f"{path}: torch cannot load this TorchScript file ({one_line(error, 120)})") from None


def normalised(encoder: Encoder, mean: Sequence[float] | None, std: Sequence[float] | None) -> Encoder:
    """An encoder that normalises pictures as the recipe says; None: as before.

    Raises:
        UsageError: one of the two is missing, or they are not of pictures in [0, 1].
    """
    if mean is None and std is None:
        return encoder
    if mean is None or std is None:
        raise UsageError("extract.mean and extract.std: give both")
    numbers = normalisation.channels(mean, "extract.mean", False), normalisation.channels(std, "extract.std", True)
    origin = replace(encoder.origin, notes=tuple(n for n in encoder.origin.notes if not n.endswith(_UNDECLARED)))
    return Encoder(encoder.network, origin, *numbers).to(encoder.mean.device).eval()


def _text(value: object) -> str | None:
    """What a `config.yaml` says, if it is a name; that of another trainer may hold anything there."""
    return value if isinstance(value, str) else None


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _origin_of(network: nn.Module) -> Origin:
    """Where a module is from: two of one class and with the same weights may still do different things with them."""
    described = re.sub(r" at 0x[0-9a-f]+", "", repr(network))  # addresses change from run to run
    digest = hashlib.sha256(f"{digest_of(network)}:{described}:{_answer_of(network)}".encode()).hexdigest()[:16]
    return Origin(f"{type(network).__name__}@{digest[:6]}", digest)


def _answer_of(network: nn.Module) -> list[str]:
    """What a module makes of one picture of noise: its output in four random directions, rounded.

    Computed on the CPU and to three digits, so that it is the same on another machine. A module that takes none of the
    usual sizes gives none.
    """
    for size in (112, 224, 64, 32):
        noise = torch.Generator().manual_seed(0)
        picture = torch.rand(1, 3, size, size, generator=noise)
        with modes_kept(network), torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            network.cpu().eval()
            try:
                features, maps = Encoder(network, Origin("", ""), (0, 0, 0), (1, 1, 1))(255 * picture)
            except (ValueError, RuntimeError):
                continue
        parts = [part.double().flatten() for part in (features, *maps)]
        directions = [torch.randn(4, len(part), generator=noise, dtype=torch.float64) for part in parts]
        return [f"{value:.2e}" for d, part in zip(directions, parts, strict=True) for value in (d @ part).tolist()]
    return []


def digest_of(network: nn.Module) -> str:
    """Names a module's weights: a hash of every parameter and buffer with its name."""
    result = hashlib.sha256(type(network).__name__.encode())
    for name, value in sorted(network.state_dict().items()):
        result.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        result.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return result.hexdigest()[:16]
