"""The spaces that every build gets."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import astronaut

from curate import recipe
from curate.recipe import USUAL_THRESHOLD, BuildRecipe
from curate.run.spaces.builtin import APPEARANCE, spaces_of, vectors
from curate.stages import align, appearance
from curate.stages.backend import Backend
from curate.stages.detect import load_backend

LANDMARKS = np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]], np.float32)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return load_backend(BuildRecipe().faces, BuildRecipe().crop)


def test_each_way_to_describe_is_a_version_of_its_own_and_claims_what_was_measured(backend: Backend) -> None:
    asked = [("spectrum", False), ("spectrum", True), ("network", False)]
    recipes = [recipe.load(None, {"embed.descriptor": kind, "embed.aligner": on}) for kind, on in asked]
    spaces = [spaces_of(backend, one)[0] for one in recipes]
    assert [space.name for space in spaces] == [APPEARANCE] * 3
    assert [space.version for space in spaces] == [space.version for space in appearance.SPACES]
    assert len({space.key for space in spaces}) == len({space.description for space in spaces}) == 3
    assert [bool(space.more) for space in spaces] == [True, False, True]
    assert [space.threshold for space in spaces] == [USUAL_THRESHOLD[kind] for kind, _ in asked]
    crop = align.align(astronaut(), LANDMARKS, recipes[0].crop.size, recipes[0].crop.margin)[None]
    plain, aligned, learned = (vectors(APPEARANCE, crop, backend, one)[0] for one in recipes)
    assert plain @ aligned < 0.9999
    np.testing.assert_allclose(learned[:128] * 2**0.5, aligned, atol=1e-6)
    assert vectors(APPEARANCE, crop, backend, recipes[2]).shape == (1, spaces[2].dimension)
