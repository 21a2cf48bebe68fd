"""Identity vectors of a track are drawn together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.stages.backend import unit
from curate.stages.template import Templates


@given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_faces_come_nearer_to_their_track_however_they_are_handed_in(tracks, cut, seed):
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(3, 16))
    vectors = unit(people[tracks] + 0.5 * rng.normal(size=(len(tracks), 16)))
    together, apart = Templates(), Templates()
    drawn = together.add(tracks, vectors)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate([apart.add(tracks[:cut], vectors[:cut]), apart.add(tracks[cut:], vectors[cut:])]), drawn
    )
    for track in set(tracks):
        own = np.array(tracks) == track
        assert np.allclose(drawn[own][0], vectors[own][0], atol=1e-6), "nothing is known before the first face"
        before, after = (float((v[own] @ v[own].T).mean()) for v in (vectors, drawn))
        assert after >= before - 1e-6
