"""The recipe of an evaluation: every choice of a protocol, typed, the same for every backbone.

`pipelines/evaluate/` holds one for each task; `--set section.key=value` overrides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from curate import recipe_files
from curate.recipe_files import Section

Strength = Annotated[float, Field(gt=0)]


class CropSize(Section):
    """The crop; each data set has its own."""

    size: int | None = Field(None, ge=32, le=1024, description="side, pixels; null: the data set's own")


class DataOptions(Section):
    """How a data set is read, where there are several ways."""

    labels: Literal["intensity", "occurrence"] = Field(
        "intensity",
        description="action units: their intensities, or whether they are there (BP4D's own codes, DISFA's level 2 and "
        "above, 0 and 1 in a csv)",
    )
    mirrored: bool = Field(
        False,
        description="300w: mirrored copies (NAME_mirror.*) beside training pictures are trained on, with the points of "
        "their originals, mirrored; false: left out, since fine-tuning mirrors anyway",
    )
    classes: Literal[7, 8] = Field(8, description="affectnet: expressions, without or with contempt")
    scale: tuple[float, float] | None = Field(
        None,
        description="csv: lowest and highest label; null: 0 to 5 for action units, -1 to 1 for valence and arousal, "
        "unless the file declares it (docs/evaluate.md)",
    )

    @model_validator(mode="after")
    def _scale_rises(self) -> DataOptions:
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError(f"data.scale = {list(self.scale)}: the first number must be below the second")
        return self


class Split(Section):
    """Parts of the training data."""

    validation: float = Field(
        0.1, gt=0, lt=1, description="share of the training samples that chooses hyper-parameters and when to stop"
    )
    folds: int = Field(5, ge=2, le=20, description="folds of a data set that comes without a test part")
    balance: bool = Field(False, description="expressions: classes weigh alike in training, however often they occur")


class Frames(Section):
    """Which frames of videos are trained on."""

    rule: Literal["all", "random", "uniform", "cover"] = Field(
        "all", description="all, a random share, every n-th, or the representatives of curate's own cover"
    )
    share: float | None = Field(None, gt=0, le=1, description="share of the training frames that is kept")
    threshold: float | None = Field(
        None, gt=0, le=1, description="cover only: cosine of near-duplicates; null: what gives the share"
    )


class Extract(Section):
    """Running a frozen backbone."""

    batch: int = Field(32, ge=1, le=4096, description="pictures the backbone takes at once")
    cache: Path | None = Field(None, description="folder for features; null: features/ beside the results")
    chunk: int = Field(1024, ge=1, description="pictures whose features are stored in one file")
    mean: tuple[float, float, float] | None = Field(
        None,
        description="mean of red, green and blue, of [0, 1], that pictures are normalised with; null: as a file beside "
        "the backbone says, else ImageNet's",
    )
    std: tuple[float, float, float] | None = Field(None, description="likewise the standard deviation")
    flip_average: bool = Field(
        False, description="predictions for a picture and its mirror image are averaged, where a task can be mirrored"
    )
    mirror: bool = Field(True, description="recognition: features of the picture and of its mirror image are added")


class TemplateWeights(Section):
    """IJB: how the pictures of a template are weighed; insightface's default is N1 D1."""

    norm: bool = Field(
        True, description="N1: features keep their length, which is low for bad pictures; false (N0): unit"
    )
    detector: bool = Field(True, description="D1: features times the detector's score, where the folder has it")


class Linear(Section):
    """Closed-form and convex probes on frozen features."""

    strengths: tuple[Strength, ...] = Field(
        (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        min_length=1,
        description="strengths of the penalty to choose from, in hundredths of the features' mean squared length",
    )
    grid: int = Field(7, ge=1, le=32, description="cells a side to which feature maps are averaged (landmarks, shapes)")
    width: int = Field(8192, ge=16, description="longest feature; maps beyond are cut to their leading channels by PCA")
    whitening: float = Field(
        0.3, gt=0, le=1, description="recognition: how far the covariance is shrunk towards its mean eigenvalue"
    )


class Knn(Section):
    """Nearest neighbours among the training features."""

    k: int = Field(20, ge=1, description="neighbours")
    temperature: float = Field(0.07, gt=0, description="neighbours weigh exp(cosine / temperature)")


class Finetune(Section):
    """Training head and backbone."""

    epochs: int = Field(30, ge=1, description="passes at most")
    patience: int = Field(8, ge=1, description="passes without a better validation score after which training stops")
    batch: int = Field(32, ge=2, description="pictures an update")
    lr: float = Field(1e-3, gt=0, description="highest learning rate of the head (AdamW, one warm-up pass, cosine)")
    backbone_lr: float = Field(0.1, ge=0, description="the backbone's learning rate as a share of the head's")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="each layer of the backbone learns at this share of the rate of the one above it"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the network's products while it trains and predicts (bfloat16: autocast)"
    )
    weight_decay: float = Field(0.05, ge=0, description="weight decay")
    rotate: float = Field(20.0, ge=0, description="augmentation: largest rotation, degrees")
    zoom: float = Field(0.15, ge=0, lt=1, description="augmentation: largest change of scale, as a share")
    move: float = Field(0.05, ge=0, lt=1, description="augmentation: largest shift, as a share of the crop's side")
    flip: bool = Field(True, description="augmentation: mirror half of the pictures, where targets can be mirrored")
    colour: float = Field(0.3, ge=0, lt=1, description="augmentation: largest change of brightness and contrast")


class Heads(Section):
    """Heads and losses of fine-tuning."""

    channels: int = Field(256, ge=8, description="channels of the heatmap decoder")
    sigma: float = Field(1.5, gt=0, description="standard deviation of target heatmaps, cells")
    linear_landmarks: Literal["coordinates", "heatmap"] = Field(
        "coordinates", description="landmarks, frozen: regress coordinates in closed form, or train the heatmap decoder"
    )
    action_units: Literal["ordinal", "regression"] = Field("ordinal", description="loss of action-unit intensities")
    scale: float = Field(32.0, gt=0, description="recognition: scale of CosFace")
    margin: float = Field(0.35, ge=0, lt=1, description="recognition: margin of CosFace, a cosine")


class EvaluateRecipe(Section):
    """Everything that a protocol chooses."""

    seed: int = Field(0, ge=0, description="first seed; further seeds count up from it")
    train: Path | None = Field(
        None,
        description="recognition: folder of VGGFace2, or with train/PERSON/, to learn from before testing elsewhere",
    )
    data: DataOptions = DataOptions()
    crop: CropSize = CropSize()
    split: Split = Split()
    frames: Frames = Frames()
    extract: Extract = Extract()
    templates: TemplateWeights = TemplateWeights()
    linear: Linear = Linear()
    knn: Knn = Knn()
    finetune: Finetune = Finetune()
    heads: Heads = Heads()

    @model_validator(mode="after")
    def _frames_have_one_number(self) -> EvaluateRecipe:
        frames = self.frames
        if frames.share is not None and frames.threshold is not None:
            raise ValueError("frames.share and frames.threshold both say how many frames are kept; give one")
        if frames.rule != "all" and frames.share is None and (frames.rule != "cover" or frames.threshold is None):
            wanted = "frames.share or frames.threshold" if frames.rule == "cover" else "frames.share"
            raise ValueError(f"frames.rule = {frames.rule}: needs {wanted}, for example --set frames.share=0.02")
        return self


def changed(keys: EvaluateRecipe) -> dict[str, Any]:
    """The keys that differ from the default, by their dotted names, sorted, with values as JSON has them."""
    given, usual = (_flat(recipe.model_dump(mode="json")) for recipe in (keys, EvaluateRecipe()))
    return {name: value for name, value in sorted(given.items()) if value != usual[name]}


def _flat(sections: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sections.items():
        found |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


def load(path: Path | None = None, overrides: dict[str, Any] | None = None) -> EvaluateRecipe:
    """Reads a recipe: a YAML file, or the defaults, with dotted keys over it.

    Raises:
        UsageError: the file is missing or no YAML, a key is unknown, or a value is wrong.
    """
    return recipe_files.load_as(EvaluateRecipe, path, overrides, "evaluate")
