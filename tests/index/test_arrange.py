"""Hits on a grid: every cell has one, alike ones lie side by side, in whatever order they come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.arrange import MOST, arrange, arranged
from tests.index.galleries import entries_of, in_memory, random_gallery


def made(count, seed=0, kinds=12, size=40):
    """Vectors around as many centres, of norm 1."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((kinds, size))[rng.integers(kinds, size=count)]
    vectors += 0.8 * rng.standard_normal((count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def beside(vectors, rows, columns):
    """The mean inner product of neighbours."""
    at = {place: n for n, place in enumerate(zip(rows.tolist(), columns.tolist()))}
    others = [(at[r, c], at.get((r + down, c + right))) for r, c in at for down, right in ((0, 1), (1, 0))]
    return np.mean([vectors[one] @ vectors[other] for one, other in others if other is not None])


@given(count=st.integers(0, MOST), seed=st.integers(0, 2**31))
def test_a_grid_that_is_nearly_square_filled_row_by_row(count, seed):
    rows, columns = arrange(made(count, seed))
    width = int(np.ceil(np.sqrt(count)))
    assert sorted((rows * max(width, 1) + columns).tolist()) == [*range(count)]
    assert not count or columns.max() < width


@given(count=st.integers(2, 90), seed=st.integers(0, 2**31))
def test_the_order_does_not_matter(count, seed):
    vectors, order = made(count, seed), np.random.default_rng(seed).permutation(count)
    for one, other in zip(arrange(vectors), arrange(vectors[order])):
        np.testing.assert_array_equal(one[order], other)


@pytest.mark.parametrize("seed", range(3))
def test_alike_ones_lie_side_by_side(seed):
    vectors = made(MOST, seed)
    centred = vectors - vectors.mean(0)
    first = np.argsort(centred @ np.linalg.svd(centred, full_matrices=False)[2][0])
    by_direction, cells = np.empty(MOST, int), np.arange(MOST)
    by_direction[first] = cells
    found, line, chance = (
        beside(vectors, *its) for its in (arrange(vectors), np.divmod(by_direction, 16), np.divmod(cells, 16))
    )
    assert found > 1.3 * line > 1.3 * chance


def test_equal_ones_and_too_many():
    rows, columns = arrange(np.zeros((10, 5), np.float32))
    assert len({*zip(rows.tolist(), columns.tolist())}) == 10
    with pytest.raises(ValueError, match="257"):
        arrange(made(MOST + 1))


def test_clips_lie_by_the_experts_that_count():
    gallery = random_gallery(60, 2)
    snapshot, ids = in_memory(entries_of(gallery)).snapshot, [*gallery.clip_ids, "gone"]
    by_audio, again, by_all = (arranged(ids, its, snapshot) for its in ({"audio": 1.0}, {"audio": 1.0}, {}))
    np.testing.assert_array_equal(by_audio, again)
    assert not np.array_equal(by_audio, by_all)
    audio, there = gallery.video.packed[:, 9:13].nan_to_num().numpy(), gallery.video.available[:, 2].numpy()
    audio[there] -= audio[there].mean(0)
    audio = np.concatenate([audio, np.zeros((1, 4))])
    assert beside(audio, *by_audio) > beside(audio, *by_all)
