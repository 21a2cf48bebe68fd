"""The spaces that every build gets."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import astronaut

from curate import recipe
from curate.recipe import BuildRecipe
from curate.run.spaces.builtin import APPEARANCE, spaces_of, vectors
from curate.stages import align, appearance
from curate.stages.backend import Backend
from curate.stages.detect import load_backend

LANDMARKS = np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]], np.float32)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return load_backend(BuildRecipe().faces, BuildRecipe().crop)


def test_the_aligner_makes_another_version_of_the_space_and_no_claim_that_was_not_measured(backend: Backend) -> None:
    plain, aligned = (recipe.load(None, {"embed.aligner": on}) for on in (False, True))
    spaces = [spaces_of(backend, one)[0] for one in (plain, aligned)]
    assert [space.name for space in spaces] == [APPEARANCE] * 2
    assert [space.version for space in spaces] == [appearance.APPEARANCE.version, appearance.ALIGNED.version]
    assert len({space.key for space in spaces}) == len({space.description for space in spaces}) == 2
    assert spaces[0].more and not spaces[1].more
    crop = align.align(astronaut(), LANDMARKS, plain.crop.size, plain.crop.margin)[None]
    found = [vectors(APPEARANCE, crop, backend, one) for one in (plain, aligned)]
    assert float((found[0] @ found[1].T)[0, 0]) < 0.9999
