"""The recipe of a pre-training run: every choice, typed, with its default and its unit.

Written as YAML; `--set section.key=value` and the options of `curate pretrain` override it. What a recipe leaves out
takes the default of its method (`defaults` in the method's file), then the default below.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from curate import recipe_files
from curate.choices import ARCHITECTURES, METHODS, Arch, Device, Method
from curate.errors import UsageError
from curate.pretrain.backbones import patch_of
from curate.pretrain.methods import CATALOGUE, Setup
from curate.pretrain.methods import Method as MethodClass
from curate.recipe_files import Section

BUDGETS = ("epochs", "steps", "images")
INDIFFERENT = (
    *("log", "probe", "device", "checkpoint_steps", "keep_epochs", "recompute", "shard"),
    *("init", "provenance"),  # known by what they hold
)
"""Keys that decide no weights, up to rounding."""

Chance = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class View(Section):
    """One kind of crop of a picture."""

    count: int = Field(2, ge=1, description="crops of this kind")
    size: int = Field(224, ge=16, le=1024, description="side, pixels")
    scale: tuple[Positive, Positive] = Field((0.2, 1.0), description="smallest and largest share of the picture's area")
    blur_p: Chance = Field(0.5, description="chance of blur")
    solarize_p: Chance = Field(0.0, description="chance of solarisation (tones above one half inverted)")

    @model_validator(mode="after")
    def _ordered(self) -> View:
        if self.scale[0] > self.scale[1] or self.scale[1] > 1:
            raise ValueError("scale is smallest, largest, both in (0, 1]")
        return self


class Augment(Section):
    """What is done to every crop."""

    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="how crops are resized")
    ratio: tuple[Positive, Positive] = Field(
        (3 / 4, 4 / 3), description="narrowest and widest shape of a crop, width by height"
    )
    flip_p: Chance = Field(0.5, description="chance of mirroring")
    jitter: tuple[float, float, float, float] = Field(
        (0.8, 0.8, 0.8, 0.2), description="strength of brightness, contrast, saturation, hue"
    )
    jitter_p: Chance = Field(0.8, description="chance of colour jitter")
    grey_p: Chance = Field(0.2, description="chance of losing all colour")
    blur_sigma: tuple[Positive, Positive] = Field(
        (0.1, 2.0), description="smallest and largest blur, pixels of the crop"
    )
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="mean taken off red, green, blue")
    std: tuple[Positive, Positive, Positive] = Field(
        (0.228, 0.224, 0.225), description="by which they are then divided (the paper's)"
    )


class Optimiser(Section):
    """How weights are updated."""

    name: Literal["sgd", "adamw", "lars"] = Field("sgd", description="sgd (with momentum), adamw or lars")
    larc: bool = Field(False, description="sgd only: layer-wise rates of LARC, without clipping")
    lr: float = Field(0.05, gt=0, description="highest learning rate, at a batch of lr_batch")
    lr_batch: int | None = Field(
        256,
        ge=1,
        description="batch for which the rates are meant; they are scaled to the batch (lr_scaling). null: never",
    )
    lr_scaling: Literal["linear", "sqrt"] = Field(
        "linear", description="rates grow in proportion to the batch, or to its square root"
    )
    final_lr: float = Field(0.0, ge=0, description="learning rate at the end of the cosine")
    scale_final_lr: bool = Field(True, description="final_lr is scaled to the batch with lr (DINO's code does not)")
    warmup_lr: float = Field(0.0, ge=0, description="learning rate at the beginning of the warm-up")
    warmup_epochs: float = Field(0.0, ge=0, description="passes over which the rate rises in a line")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and lars")
    betas: tuple[Chance, Chance] = Field((0.9, 0.999), description="of adamw")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    final_weight_decay: float | None = Field(
        None, ge=0, description="weight decay at the end of its cosine; null: constant"
    )
    exclude_1d: bool = Field(
        False, description="biases and norms get no weight decay and, under larc and lars, no layer-wise rate"
    )
    trust: float = Field(0.001, gt=0, description="trust coefficient of larc and lars")
    clip_grad: float | None = Field(
        None, gt=0, description="each parameter's gradient is cut to this norm; null: never"
    )


class Data(Section):
    """Where pictures come from."""

    build: str | None = Field(
        None, description="folder or URL of the manifest's build; null: where it lay when the manifest was cut"
    )
    labels: str = Field(
        "identity",
        description="supervised: a column of the manifest or faces, or `identity`: the build's identity clusters; of "
        "--data, the folder a picture lies in, or the key or column of that name",
    )
    side: int | None = Field(
        None,
        ge=32,
        le=2048,
        description="--data: pixels to which pictures are cut square and resized; null: as the first one, at most 512",
    )
    workers: int | None = Field(
        None, ge=1, description="threads that read and decode; null: the cores shared among the processes"
    )
    prefetch: int = Field(3, ge=1, description="batches made ready ahead")
    decode: Literal["cpu", "gpu", "auto"] = Field(
        "cpu",
        description="where JPEGs become pixels, which differ by rounding: cpu, gpu (an NVIDIA one, by nvImageCodec) or "
        "auto (gpu where it can be); a run that is resumed stays where it began",
    )
    cache: Path | None = Field(
        None,
        description="folder for the packed copy of the chosen pictures, which a finished run removes; null: RUN/cache",
    )


class Log(Section):
    """What a run says of itself."""

    every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    tensorboard: bool = Field(False, description="also write events for TensorBoard, below RUN/tensorboard")
    wandb: str | None = Field(None, description="also log to Weights & Biases: name of the project")
    mlflow: str | None = Field(None, description="also log to MLflow: name of the experiment")


class ProbeSettings(Section):
    """How features are tested while they are learned."""

    images: int = Field(
        1000, ge=0, description="faces among which neighbours are looked for, and pictures of `data`; 0: no faces"
    )
    epochs: float = Field(1.0, gt=0, description="passes between probes")
    data: Path | None = Field(
        None,
        description="pictures with labels of your choice for a linear probe: a folder with one folder a class, or with "
        "labels.csv (image,label and perhaps split: train or test)",
    )


class Provenance(Section):
    """What a run was made from. A run writes it; it is not read back."""

    manifest: str = Field(description="path or URL of the manifest, or of the pictures of --data")
    manifest_sha256: str = Field(description="of the manifest's bytes, or of the pictures' names, labels and sizes")
    build: str | None = Field(description="content hash of the build")
    build_path: str | None = Field(description="folder or URL of the build; null: of none")
    data: bool = Field(False, description="pictures of --data, not a manifest")
    faces: int = Field(description="rows of the manifest")
    damaged: int = Field(description="of these, pictures that are no JPEG")
    init_sha256: str | None = Field(description="of the initial weights' bytes")
    decode: Literal["cpu", "gpu"] = Field("cpu", description="where JPEGs became pixels")
    lengthened: list[int] = Field([], description="steps at which the run was finished, and lengthened afterwards")
    curate: str = Field(description="version of curate")
    torch: str = Field(description="version of torch")


class _Recipe(Section):
    """Everything that decides the weights but for the methods' own sections."""

    method: Method = Field("swav", description="what is learned from pictures alone, or `supervised`")
    arch: Arch = Field(
        "resnet50",
        description=f"backbone: {', '.join(ARCHITECTURES)}, vit_s/PATCH, MODULE:FUNCTION (yours), or a name of timm",
    )
    init: Path | None = Field(
        None, description="weights to begin with: a backbone.pt, the paper's checkpoint, torchvision's or timm's"
    )
    seed: int = Field(0, ge=0, description="seed of every random choice")
    epochs: float | None = Field(None, gt=0, description="budget: passes over the manifest")
    steps: int | None = Field(None, ge=1, description="budget: updates of the weights")
    images: int | None = Field(None, ge=1, description="budget: pictures seen, repeats counted")
    batch: int = Field(256, ge=2, description="pictures an update, all processes together")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="pictures a process takes through the net at once (losses still see the whole batch); null: all",
    )
    crop_size: int | None = Field(
        None,
        ge=16,
        le=1024,
        description="side of the largest crop, pixels; the other crops follow in proportion. null: sizes as in crops",
    )
    crops: tuple[View, ...] = Field(
        (View(),), min_length=1, description="kinds of crops; the first kinds come first wherever order counts"
    )
    augment: Augment = Augment()
    optimiser: Optimiser = Optimiser()
    data: Data = Data()
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="numbers of the forward pass; fp16 with loss scaling, on a GPU only"
    )
    compile: bool = Field(False, description="torch.compile the networks (every method's, whole)")
    tf32: bool = Field(True, description="fp32 products on a GPU in TF32 (ten bits of mantissa), as is usual there")
    channels_last: bool = Field(True, description="keep pictures in the memory order that convolutions like")
    sync_bn: bool = Field(True, description="batch norm over all processes, or over groups of them")
    sync_bn_group: int | None = Field(
        None, ge=1, description="processes that share a batch norm, neighbours by rank; null: all"
    )
    device: Device = Field("auto", description="where the network runs")
    checkpoint_steps: int | None = Field(None, ge=1, description="steps between checkpoints; null: a pass")
    keep_epochs: float | None = Field(
        None, gt=0, description="passes between checkpoints that are kept, as checkpoints/step-N.pt; null: none"
    )
    recompute: bool = Field(
        False,
        description="compute blocks again in the backward pass instead of keeping what they made: less memory, one "
        "forward pass more (transformers, ConvNeXts)",
    )
    shard: bool = Field(
        False,
        description="each process holds a part of weights, gradients and the optimiser's numbers (FSDP): less memory, "
        "more traffic (transformers)",
    )
    log: Log = Log()
    probe: ProbeSettings = ProbeSettings()
    provenance: Provenance | None = Field(None, description="written by a run, which see; not an option")

    @model_validator(mode="before")
    @classmethod
    def _method_defaults(cls, values: Any) -> Any:
        """Lays the values over those that are usual for the method."""
        if not isinstance(values, dict):
            return values
        values = _renamed(values)
        known = CATALOGUE.get(str(values.get("method", "swav")))
        base = copy.deepcopy(known.defaults) if known is not None else {}
        if any(values.get(name) is not None for name in BUDGETS):
            base.pop("epochs", None)
        return _over(base, values)

    @model_validator(mode="after")
    def _fits_together(self) -> _Recipe:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(BUDGETS)}; given: {', '.join(given) or 'none'}")
        patch = patch_of(self.arch)
        if self.kind.needs_transformer and patch is None:
            raise ValueError(
                f"method {self.method} needs a transformer; use arch vit_s, vit_b or vit_l, not {self.arch}"
            )
        odd = [view.size for view in self.views() if patch and view.size % patch]
        if odd:
            raise ValueError(f"{self.arch} cuts crops into patches of {patch} pixels, which do not divide {odd[0]}")
        count, least, most = sum(view.count for view in self.crops), self.kind.least_crops, self.kind.most_crops
        if count < least or (most is not None and count > most):
            wanted = f"{least} crop{'s' * (least > 1)}" if least == most else f"at least {least} crops"
            raise ValueError(f"method {self.method} takes {wanted} of a picture; crops has {count}")
        if self.shard and self.compile:
            raise ValueError("shard does not go with compile; leave one of them out")
        mistake = self.kind.mistake(self.settings, count)
        if mistake is not None:
            raise ValueError(mistake)
        return self

    @property
    def kind(self) -> type[MethodClass]:
        """The method's class."""
        return CATALOGUE[self.method]

    @property
    def settings(self) -> Any:
        """The method's own section."""
        return getattr(self, self.method)

    def setup(self, classes: int = 0) -> Setup:
        """What the method must know of the run beside its own section."""
        return Setup(
            batch=self.batch,
            crop_size=self.views()[0].size,
            crops=sum(view.count for view in self.crops),
            classes=classes,
            fresh=self.init is None,
            sync_bn=self.sync_bn,
            normalisation=(self.augment.mean, self.augment.std),
        )

    def chance_loss(self, classes: int = 0) -> float | None:
        """The loss of a network that finds all its choices equally likely; None where there is no such number."""
        return self.kind.chance_loss(self.settings, self.setup(classes))

    def views(self) -> tuple[View, ...]:
        """The kinds of crops at the sizes that are used."""
        if self.crop_size is None:
            return self.crops
        largest = max(view.size for view in self.crops)
        grain = patch_of(self.arch) or 1
        return tuple(
            view.model_copy(
                update={
                    "size": self.crop_size
                    if view.size == largest
                    else max(grain, grain * round(view.size * self.crop_size / largest / grain))
                }
            )
            for view in self.crops
        )

    def total_steps(self, pictures: int) -> int:
        """Updates in the whole run on a manifest of `pictures` faces."""
        if self.steps is not None:
            return self.steps
        if self.images is not None:
            return math.ceil(self.images / self.batch)
        return max(1, round((self.epochs or 0) * (pictures // self.batch)))

    def decisive(self) -> dict[str, Any]:
        """What decides the weights, as plain values: a run may only be resumed where all of this is the same."""
        values = self.model_dump(mode="json")
        for key in INDIFFERENT:
            values.pop(key)
        decode = {} if self.data.decode == "cpu" else {"decode": self.data.decode}
        values["data"] = {key: values["data"][key] for key in ("labels", "side")} | decode
        for method in METHODS:
            if method != self.method:
                values.pop(method)
        return values


if TYPE_CHECKING:
    PretrainRecipe = _Recipe
else:  # a section for each method of the catalogue
    PretrainRecipe = create_model(
        "PretrainRecipe",
        __base__=_Recipe,
        __doc__="Everything that decides the weights, and a few things that do not (see `decisive`).",
        **{name: (method.section, method.section()) for name, method in CATALOGUE.items()},
    )


def load(path: Path | None = None, overrides: dict[str, Any] | None = None) -> PretrainRecipe:
    """Reads a recipe of pre-training; a budget among the overrides takes the place of the file's.

    Args:
        path: a YAML file; None for the method's defaults.
        overrides: dotted keys to values, over what the file says.

    Raises:
        UsageError: the file is missing or no YAML, a key is unknown or a value is wrong.
    """
    overrides = dict(overrides or {})
    given = [name for name in BUDGETS if overrides.get(name) is not None]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]}: give one budget only")
    if given:
        overrides |= {name: None for name in BUDGETS if name not in given}
    return recipe_files.load_as(PretrainRecipe, path, overrides, "pretrain")


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """Keys that an earlier version had elsewhere, where they are now."""
    log = values.get("log")
    if not isinstance(log, dict):
        return values
    moved = {new: log[old] for old, new in (("probe_images", "images"), ("probe_epochs", "epochs")) if old in log}
    kept = {key: value for key, value in log.items() if not key.startswith("probe_")}
    return values | {"log": kept, "probe": moved | (values.get("probe") or {})} if moved else values


def _over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`values` laid over `base`, section by section."""
    merged = dict(base)
    for key, value in values.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
