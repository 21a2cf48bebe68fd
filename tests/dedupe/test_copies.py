from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.dedupe import copies, copy_candidates, copy_index
from curate.dedupe.copied_spans import Search
from curate.dedupe.copies import VideoCopy
from curate.dedupe.sampled_video import Mirror, SampledVideo

STEP = 0.2


def walk(seed: int, frames: int, step: float = 0.25) -> NDArray[np.float32]:
    """Unit vectors of a head that moves: neighbours in time are alike, moments apart are not."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(size=(frames, 64)) * step, axis=0) + rng.normal(size=64)
    return (path / np.linalg.norm(path, axis=1, keepdims=True)).astype(np.float32)


def video(name: str, vectors: NDArray[np.float32], first: float = 0.0, sha: str = "") -> SampledVideo:
    times = first + STEP * np.arange(len(vectors))
    return SampledVideo(name, sha or name, times - times[0] if len(times) else times, vectors.astype(np.float16))


def noisy(vectors: NDArray[np.float32], seed: int, amount: float = 0.02) -> NDArray[np.float32]:
    shaken = vectors + np.random.default_rng(seed).normal(size=vectors.shape) * amount
    return (shaken / np.linalg.norm(shaken, axis=1, keepdims=True)).astype(np.float32)


def search(videos: list[SampledVideo], mirror: Mirror | None = None, threshold: float = 0.9) -> list[VideoCopy]:
    return copies.find_copies(videos, Search(STEP, threshold), mirror)


def duplicates(videos: list[SampledVideo], mirror: Mirror | None = None, threshold: float = 0.9) -> dict[str, str]:
    """Each duplicate with its original."""
    found: dict[str, str] = {}
    for copy in search(videos, mirror, threshold):
        if copy.whole:
            found.setdefault(copy.video_id, copy.duplicate_of)
    return found


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 20), length=st.integers(10, 40))
def test_a_re_encoded_and_trimmed_copy_is_found_and_others_are_not(seed: int, cut: int, length: int) -> None:
    original, other = walk(seed, 60), walk(seed + 1, 60)
    copy = noisy(original, seed)[cut : cut + length]
    found = duplicates([video("a", original), video("b", other), video("c", copy)])
    assert found == {"c": "a"}


def test_a_copy_of_a_copy_names_the_first(seed: int = 3) -> None:
    original = walk(seed, 40)
    chain = [video(name, noisy(original, i)) for i, name in enumerate("abc")]
    assert duplicates(chain) == {"b": "a", "c": "a"}


def test_the_original_is_the_earliest_that_explains_as_much_as_any() -> None:
    talk = walk(13, 60)
    piece, again = noisy(talk[20:40], 1), noisy(talk, 2)
    listed = [video("piece", piece), video("talk", talk), video("again", again), video("other", noisy(talk[20:40], 3))]
    found = search(listed)
    assert {(c.video_id, c.duplicate_of, c.kind) for c in found if c.whole} == {
        ("again", "talk", "reupload"),
        ("other", "piece", "reupload"),
    }


def test_heads_tell_a_coarse_copy_from_another_take() -> None:
    rest, middle = walk(17, 1)[0], np.array([300, 200, 300, 260])
    heads = [middle + np.cumsum(np.random.default_rng(k).normal(size=(30, 2)), axis=0)[:, [0, 1, 0, 1]] for k in (1, 2)]
    first, coarse = moving(5, rest), noisy(moving(5, rest), 1, 0.025)
    other = noisy(moving(6, rest), 1, 0.005)

    def at(name: str, vectors: NDArray[np.float32], head: NDArray[np.float64]) -> SampledVideo:
        return replace(video(name, vectors), places=head.astype(np.float32))

    found = search(
        [at("a", first, heads[0]), at("b", coarse, 0.5 * heads[0] + 40), at("c", other, heads[1])], None, 0.97
    )
    assert [(c.video_id, c.duplicate_of, c.whole) for c in found] == [("b", "a", True)]
    assert search([at("a", first, heads[0]), at("b", coarse, heads[1])], None, 0.97) == []


def spoken(seed: int, share: float, frames: int = 80) -> SampledVideo:
    """One person who says what all takes say: a share of the motion is of the words, the rest of the take."""
    rest, place = walk(17, 1)[0], np.array([300, 200, 300, 260])
    words, own = (moving(k, 0 * rest + 1e-3, frames, unit=False) for k in (5, seed))
    path = share**0.5 * words + (1 - share) ** 0.5 * own + rest
    heads = place + np.cumsum(np.random.default_rng(seed).normal(size=(frames, 2)), axis=0)[:, [0, 1, 0, 1]]
    vectors = (path / np.linalg.norm(path, axis=1, keepdims=True)).astype(np.float32)
    return replace(video(f"take{seed}", vectors), places=heads.astype(np.float32))


def test_takes_of_the_same_words_are_no_copies_and_a_crop_that_wanders_is_one() -> None:
    first, second = spoken(1, 0.7), spoken(2, 0.7)
    unknown = [replace(take, places=None) for take in (first, second)]
    assert [c.duplicate_of for c in search(unknown, None, 0.97)] == ["take1"], "faces alone would be enough"
    assert search([first, second], None, 0.97) == []
    pan = np.linspace(0, 150, 80)[:, None] * np.array([1, 0, 1, 0]) + first.places
    again = replace(
        first, video_id="pan", content_sha256="pan", vectors=noisy(first.vectors, 3, 0.002).astype(np.float16)
    )
    found = search([first, replace(again, places=pan.astype(np.float32))], None, 0.97)
    assert [(c.video_id, c.duplicate_of, c.whole) for c in found] == [("pan", "take1", True)]


def test_frames_that_change_otherwise_speak_against_faces() -> None:
    first, second = (replace(spoken(k, 0.7), places=spoken(1, 0.7).places) for k in (1, 2))
    assert [c.duplicate_of for c in search([first, second], None, 0.97)] == ["take1"]
    wall = np.random.default_rng(0).uniform(40, 200, (1, 256))
    shown = [np.clip(wall + 400 * moving(k, np.zeros(256), 80, unit=False), 0, 255).astype(np.uint8) for k in (3, 4)]
    takes = [replace(take, views=lambda view=view: view) for take, view in zip((first, second), shown, strict=True)]
    assert search(takes, None, 0.97) == []


def test_what_is_much_like_its_mirror_image_is_called_what_fits_better() -> None:
    rest = walk(19, 1)[0]
    rest[FLIP < 0] *= 0.1
    first = moving(3, rest / np.linalg.norm(rest))
    own, turned = noisy(first, 1, 0.005), noisy(first, 2, 0.005) * FLIP
    found = search([video("a", first), video("own", own), video("turned", turned)], flipped, 0.7)
    assert [(c.video_id, c.duplicate_of, c.kind) for c in found] == [
        ("own", "a", "reupload"),
        ("turned", "a", "mirrored"),
    ]


def test_a_speed_that_a_short_copy_cannot_show_is_none() -> None:
    dense = walk(23, 400, 0.06)
    faster = replace(video("b", noisy(dense[100:190:10], 1)), times=STEP / 1.06 * np.arange(9))
    found = search([video("a", dense[::10]), faster])
    assert [(c.video_id, c.kind) for c in found] == [("b", "trimmed")]
    assert found[0].evidence is not None and abs(found[0].evidence.speed - 1.06) < 0.04


def test_the_same_bytes_are_a_copy_even_with_one_face_and_no_faces_are_none() -> None:
    one = walk(5, 1)
    found = duplicates([video("a", one, sha="x"), video("b", one, sha="x"), video("c", one[:0], sha="x")])
    assert found == {"b": "a"}


def test_the_same_person_in_another_order_is_no_copy() -> None:
    original = walk(9, 60)
    shuffled = original[np.random.default_rng(0).permutation(60)]
    assert duplicates([video("a", original), video("b", shuffled)]) == {}


def test_a_moment_quoted_in_a_longer_video_does_not_make_it_a_copy() -> None:
    quoted = np.concatenate([walk(1, 10), walk(2, 50)])
    assert duplicates([video("a", walk(1, 10)), video("b", quoted)]) == {}


def test_nothing_to_compare() -> None:
    assert duplicates([]) == {}
    assert duplicates([video("a", walk(1, 0))]) == {}


def test_a_copy_among_many_copies_and_still_videos_is_found() -> None:
    still = [video(f"still{i}", noisy(np.repeat(walk(50 + i, 1), 300, axis=0), i, 0.005)) for i in range(3)]
    talk = walk(7, 80)
    again = [video(f"copy{i}", noisy(talk, 100 + i)) for i in range(20)]
    found = duplicates([*still, video("talk", talk), *again])
    assert found == {one.video_id: "talk" for one in again}


def test_a_still_that_is_shown_again_is_a_copy_and_another_still_is_none() -> None:
    still, other = np.repeat(walk(1, 1), 40, axis=0), np.repeat(walk(2, 1), 40, axis=0)
    found = duplicates([video("a", still), video("b", other), video("c", noisy(still, 3, 0.005)[5:])])
    assert found == {"c": "a"}


def test_two_people_in_every_frame() -> None:
    left, right = walk(21, 50), walk(22, 50)
    both = np.stack([left, right], axis=1).reshape(-1, left.shape[1])
    times = np.repeat(STEP * np.arange(50), 2)
    tracks = np.tile([0, 1], 50)
    original = SampledVideo("a", "a", times, both.astype(np.float16), tracks)
    copy = SampledVideo("b", "b", times[20:] - times[20], noisy(both, 1)[20:].astype(np.float16), tracks[20:])
    one = SampledVideo("c", "c", STEP * np.arange(50), noisy(right, 2).astype(np.float16))
    assert duplicates([original, copy, one]) == {"b": "a", "c": "a"}


@pytest.mark.parametrize("phase", [-0.5, -0.25, 0.25, 0.5])
def test_a_copy_that_is_sampled_off_the_grid_of_the_original(phase: float) -> None:
    fine = walk(31, 400, step=0.06)  # four pictures an interval
    original = fine[::4]
    start = 40 + round(phase * 4)
    copy = noisy(fine[start : start + 160 : 4], 5)
    assert duplicates([video("a", original), video("b", copy)]) == {"b": "a"}


FLIP = np.where(np.arange(64) % 2, -1, 1).astype(np.float16)


def flipped(vectors: NDArray[np.float16]) -> NDArray[np.float16]:
    return vectors * FLIP


def moving(seed: int, rest: NDArray[np.floating], frames: int = 30, *, unit: bool = True) -> NDArray[np.float32]:
    """A person who moves a little around a rest position: all frames are within twice the angle of it."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(frames, len(rest))) / len(rest) ** 0.5
    path = np.stack([0.2 * np.convolve(one, np.ones(4) / 2, "same") for one in steps.T], axis=1) + rest
    if not unit:
        return path.astype(np.float32)
    return (path / np.linalg.norm(path, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 20), length=st.integers(10, 40))
def test_a_mirrored_copy_is_found_where_it_is_looked_for(seed: int, cut: int, length: int) -> None:
    original, other = walk(seed, 60), walk(seed + 1, 60)
    copy = flipped(noisy(original, seed)[cut : cut + length].astype(np.float16)).astype(np.float32)
    listed = [video("a", original), video("b", other), video("c", copy)]
    assert duplicates(listed, flipped) == {"c": "a"}
    assert duplicates(listed) == {}


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_a_copy_that_is_aligned_otherwise_moves_as_its_original_and_another_take_does_not(seed: int) -> None:
    rest, error = (walk(seed + i, 1)[0] for i in range(2))
    original = moving(seed, rest)
    off = original + 0.22 * error
    off /= np.linalg.norm(off, axis=1, keepdims=True)
    assert (np.einsum("nd,nd->n", original, off) < 0.985).mean() > 0.5
    takes = [video("a", original), video("b", off), video("c", moving(seed + 7, rest))]
    assert duplicates(takes, threshold=0.985) == {"b": "a"}


def test_a_longer_cut_is_no_copy_of_a_shorter_one() -> None:
    talk = walk(41, 80)
    assert duplicates([video("a", talk[:40]), video("b", noisy(talk, 1))]) == {}


def test_a_copy_by_its_bytes_names_the_first_of_all() -> None:
    talk = walk(5, 40)
    again = noisy(talk, 1)
    chain = [video("a", talk), video("b", again, sha="same"), video("c", again, sha="same")]
    assert duplicates(chain) == {"b": "a", "c": "a"}


def played(name: str, fine: NDArray[np.float32], speed: float, start_s: float, length_s: float) -> SampledVideo:
    """A video that shows a path, given every STEP / 10, at another speed; sampled every STEP."""
    moments = start_s + speed * np.arange(0, length_s, STEP)
    rows = np.round(moments / (STEP / 10)).astype(int)
    return video(name, noisy(fine[rows[rows < len(fine)]], 3, 0.005))


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000), speed=st.floats(0.6, 1.7), start_s=st.floats(0, 2))
def test_a_copy_at_another_speed_is_found_with_its_span(seed: int, speed: float, start_s: float) -> None:
    fine = walk(seed, 1000, step=0.05)  # 20 seconds
    copy = played("c", fine, speed, start_s, 8.0)
    (found,) = search([played("a", fine, 1.0, 0.0, 20.0), video("b", walk(seed + 1, 60)), copy])
    assert (found.duplicate_of, found.whole) == ("a", True)
    assert found.evidence is not None
    assert abs(found.evidence.speed / speed - 1) < 1.25 * STEP / 8.0  # a drift of about a frame over the copy
    (span,) = found.spans
    assert abs(span.of_start_s - start_s) < 2 * STEP
    assert abs(span.of_end_s - (start_s + speed * copy.times[-1])) < 2 * STEP


@settings(max_examples=5)
@given(seed=st.integers(0, 10_000))
@example(seed=574)  # lines that bring the other parts of a window along
@example(seed=576)  # a wrong speed that is copied well enough
def test_a_compilation_names_all_its_parts_and_a_part_is_no_duplicate(seed: int) -> None:
    talks = [walk(seed + i, 60) for i in range(4)]
    listed = [video(f"v{i}", talk) for i, talk in enumerate(talks[:3])]
    cut = video("cut", noisy(np.concatenate([talks[0][10:30], talks[1][5:25], talks[2][40:]]), 1))
    quote = video("quote", noisy(np.concatenate([talks[3][:40], talks[0][20:40]]), 2))
    found = search([*listed, cut, quote])
    assert {c.duplicate_of for c in found if c.video_id == "cut" and c.kind == "compilation"} == {"v0", "v1", "v2"}
    assert all(c.whole for c in found if c.video_id == "cut")
    (part,) = (c for c in found if c.video_id == "quote")
    assert (part.duplicate_of, part.kind, part.whole) == ("v0", "part", False)
    assert abs(part.spans[0].start_s - 8) < 2 * STEP and abs(part.spans[0].of_start_s - 4) < 2 * STEP


def test_an_inset_beside_a_new_face_is_known_and_no_duplicate() -> None:
    talk, host = walk(3, 50), walk(4, 50)
    both = np.stack([host, noisy(talk, 1)], axis=1).reshape(-1, talk.shape[1])
    inset = SampledVideo("b", "b", np.repeat(STEP * np.arange(50), 2), both.astype(np.float16), np.tile([0, 1], 50))
    (found,) = search([video("a", talk), inset])
    assert (found.duplicate_of, found.kind, found.whole) == ("a", "inset", False)


def test_more_uploads_of_one_clip_than_neighbours_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_index, "NEIGHBOURS", 4)
    monkeypatch.setattr(copy_candidates, "BLOCK", 8)
    talk, other = walk(7, 40), walk(8, 40)
    uploads = [video(f"c{i}", noisy(talk, i)) for i in range(30)]
    found = duplicates([video("talk", talk), video("other", other), *uploads, video("again", noisy(other, 99))])
    assert found == {f"c{i}": "talk" for i in range(30)} | {"again": "other"}


def test_another_take_of_one_person_is_no_copy_at_any_threshold_of_the_build() -> None:
    rest = walk(11, 1)[0]
    takes = [video(f"take{seed}", moving(seed, rest, 12)) for seed in range(12)]
    assert search(takes, flipped, 0.985) == []


@pytest.mark.parametrize(
    ("ranges", "kinds"),
    [
        (((0, 4), (4, 8)), []),
        (((0, 4), (0, 4)), [("same_bytes", True)]),
        (((0, 4), (3, 7)), [("same_bytes", False)]),
        (((0, None), (2, 6)), [("same_bytes", True)]),
        (((2, 6), (0, None)), [("same_bytes", False)]),
    ],
)
def test_ranges_of_one_source_are_copies_as_far_as_they_overlap(ranges, kinds) -> None:
    talk = walk(5, 50)
    parts = []
    for name, (start, end) in zip("ab", ranges, strict=True):
        times = STEP * np.arange(50)
        inside = (times >= start) & (times < (end or 99))
        rows = talk[inside].astype(np.float16)
        parts.append(SampledVideo(name, "same", times[inside], rows, None, start, end))
    found = search(parts)
    assert [(copy.kind, copy.whole) for copy in found] == kinds
    if kinds:
        low, high = max(r[0] for r in ranges), min(r[1] or times[-1] for r in ranges)
        span = found[0].spans[0]
        assert (span.start_s, span.of_start_s) == (low, low) and abs(span.end_s - high) <= STEP


def test_long_lists_are_searched_by_cells_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    talks = [walk(seed, 60) for seed in range(30)]
    listed = [video(f"talk{seed}", talk) for seed, talk in enumerate(talks)]
    listed += [video(f"copy{seed}", noisy(talks[seed], seed)[seed : seed + 30]) for seed in range(0, 30, 3)]
    exact = duplicates(listed)
    assert exact == {f"copy{seed}": f"talk{seed}" for seed in range(0, 30, 3)}
    monkeypatch.setattr(copy_candidates, "BLOCK", 3)
    assert duplicates(listed) == exact
    monkeypatch.setattr(copy_index, "EXACT_UP_TO", 0)
    assert duplicates(listed) == exact


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    talks = [walk(seed, 50) for seed in range(8)]
    listed = [video(f"talk{seed}", talk) for seed, talk in enumerate(talks)]
    listed += [video(f"copy{seed}", noisy(talks[seed], seed)[seed : seed + 30]) for seed in range(0, 8, 3)]
    found = []
    for size in (1, 3, 64):
        monkeypatch.setattr(copy_candidates, "BLOCK", size)
        found.append(search(listed))
    assert found[0] == found[1] == found[2] and len(found[0]) == 3


@given(st.integers(0, 200), st.sampled_from([0.01, 0.05, 0.3]), st.integers(0, 9))
def test_what_repeats_the_last_face_that_was_kept_is_not_kept(count: int, step: float, seed: int) -> None:
    faces = np.cumsum(np.random.default_rng(seed).standard_normal((count, 8)) * [step], axis=0) + 1
    faces = (faces / np.linalg.norm(faces, axis=1, keepdims=True)).astype(np.float32)
    kept: list[int] = []
    for row in range(count):
        if not kept or faces[row] @ faces[kept[-1]] < 0.985:
            kept.append(row)
    assert copy_index.distinct(faces, 0.985).tolist() == kept


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=50), st.integers(100, 20_000))
def test_an_index_keeps_no_more_than_it_may_and_some_of_each(faces: list[int], most: int) -> None:
    counts = np.array(faces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_index, "MOST_KEPT", most)
        kept = copy_index.kept_of(counts, copy_index.thinned(counts))
    least = np.minimum(counts, copy_index.LEAST_KEPT)
    assert kept.sum() <= max(most, least.sum()) and (least <= kept).all() and (kept <= counts).all()


def test_copies_of_whole_videos_are_found_in_a_thinned_index(monkeypatch: pytest.MonkeyPatch) -> None:
    talks = [walk(seed, 120) for seed in range(6)]
    listed = [video(f"talk{seed}", talk) for seed, talk in enumerate(talks)]
    listed += [video(f"copy{seed}", noisy(talks[seed], seed)) for seed in range(6)]
    monkeypatch.setattr(copy_index, "MOST_KEPT", 400)
    assert duplicates(listed) == {f"copy{seed}": f"talk{seed}" for seed in range(6)}
