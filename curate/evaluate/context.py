"""What a measurement is made of: the context that a whole call shares, and one backbone with a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.choices import Mode
from curate.evaluate import frames, protocol
from curate.evaluate.config import EvaluateRecipe
from curate.evaluate.encoders import Encoder
from curate.evaluate.features import Extractor, FeatureKind, Features
from curate.evaluate.protocol import LabelBudget
from curate.evaluate.results import Result
from curate.evaluate.samples import Dataset, Sample
from curate.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class RunContext:
    """What all seeds and budgets of one call share.

    Attributes:
        data: the data set's folder, as it was given.
        folder: where results lie, with subsets and curves beside them; None: nothing is written.
        cache: folder of features.
    """

    dataset: Dataset
    data: Path
    mode: Mode
    recipe: EvaluateRecipe
    folder: Path | None
    cache: Path
    progress: Progress = silent

    @property
    def trains_network(self) -> bool:
        """Whether a network is trained, so that features of frozen crops are of no use."""
        return protocol.trains(self.mode, self.dataset.task, self.recipe)

    def extractor(self, cache: Path | None) -> Extractor:
        """Makes features of this data set's crops."""
        return Extractor(self.dataset.crop, self.recipe, cache, self.progress)


@dataclass(frozen=True, eq=False)
class Measurement:
    """One backbone with one seed."""

    context: RunContext
    encoder: Encoder
    seed: int

    def features(self, samples: Sequence[Sample], kind: FeatureKind) -> Features:
        """Features of samples, kept beside the results."""
        return self.context.extractor(self.context.cache).extract(self.encoder, samples, kind)

    def result(self, budget: LabelBudget, seconds: float, train_ids: Sequence[str], part: str) -> Result:
        """A result with all but its metric and counts; the list of training ids is published.

        Args:
            seconds: wall clock.
            train_ids: ids of the samples that train.
            part: what these are, see `protocol.publish`.
        """
        context, origin = self.context, self.encoder.origin
        dataset, recipe = context.dataset, context.recipe
        subset = None
        if context.folder is not None and train_ids:
            subset = protocol.publish(context.folder / "subsets", dataset, train_ids, budget, self.seed, part)
        return Result(
            backbone=origin.name, method=origin.method, manifest=origin.manifest, task=dataset.task,
            dataset=dataset.name, split="test", metric="", value=float("nan"), fraction=budget.fraction,
            mode=context.mode, seed=self.seed, n_train=0, n_test=0, seconds=round(seconds, 3), shots=budget.shots,
            arch=origin.arch, backbone_digest=origin.digest, subset=subset, crop=dataset.crop.describe(),
            frames=frames.name_of(dataset, recipe.frames), device=self.encoder.mean.device.type,
            notes=[*dataset.notes, *origin.notes], data=str(context.data),
            recipe=protocol.decisive_keys(context.mode, dataset.task, recipe),
        )  # fmt: skip
