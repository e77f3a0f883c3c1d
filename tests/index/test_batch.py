"""Batches: results that rounded products alone would get wrong."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from index.queries import Queries
from mee.encode import Gallery
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.scores import float32_product
from mee.ranking.top import Best
from tests.index.galleries import assert_best, loop_scores, random_gallery, random_text

HALF = 2.0**-8  # of the distance of two bfloat16 numbers, in terms of the lower: no number is rounded by more


def unit_vector(most, last=None):
    """(16,) the same number 15 times, and one that makes it a unit vector."""
    return torch.tensor([most] * 15 + [(1 - 15 * most**2) ** 0.5 if last is None else last])


def test_what_bfloat16_rounds_down_is_not_lost_to_what_it_rounds_up(make_index):
    """The better clip and its query lose all that rounding can take, the worse and its query gain all of it."""
    layout = Layout(("down", "up"), (16, 16))
    down, up = unit_vector(0.25 * (1 + HALF - 2**-16)), unit_vector(0.25 * (1 + HALF + 2**-16))
    worse = unit_vector(float(up[0]), last=float(up[15]) - 4e-3)  # of a score that is 1e-3 less
    packed = torch.zeros(2, 32)
    packed[0, :16], packed[1, 16:] = down, worse
    gallery = Gallery(("c0", "c1"), VideoEmbedding(packed, torch.eye(2, dtype=torch.bool)), ())
    text = TextEmbedding(torch.cat([down, up])[None], torch.zeros(1, 2))
    exact = [float(down.double() @ down.double()), float(up.double() @ worse.double())]
    rounded = [float(down.bfloat16().double() @ down.bfloat16().double())]
    rounded += [float(up.bfloat16().double() @ worse.bfloat16().double())]
    assert exact[0] > exact[1]
    assert rounded[0] < rounded[1] - 0.01
    video_index = make_index(gallery, layout=layout)
    many = TextEmbedding(text.packed.repeat(20, 1), text.logits.repeat(20, 1))
    for precision in ("float32", "bfloat16"):
        assert video_index.rank(many, 1, precision=precision).ids == [["c0"]] * 20


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_program_with_rough_products_gets_exact_results(make_index, precision):
    layout = Layout(("appearance", "motion"), (64, 64))
    gallery, text = random_gallery(2000, 1, layout=layout), random_text(40, 2, layout=layout)
    packed = gallery.video.packed
    for columns in layout.slices:  # all alike, so that a little error puts them in another order
        packed[:, columns] = F.normalize(packed[0, columns].nan_to_num(1) + 0.01 * packed[:, columns], dim=1)
    video_index = make_index(gallery, layout=layout)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ranked = video_index.rank(text, 10, precision=precision)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert_best(ranked, loop_scores(text, gallery, layout), gallery.clip_ids, 10)


def test_a_single_query_among_many_terms_is_as_it_is_alone(make_index):
    """Mixtures of several sentences, some of them against something."""
    gallery, text = random_gallery(500, 3, doubled=0.2), Queries.of(random_text(60, 4))
    shares = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    shares /= np.abs(shares).sum(1, keepdims=True)
    queries = Queries(text.packed.reshape(20, 3, -1), text.logits.reshape(20, 3, -1), shares)
    video_index = make_index(gallery)
    for precision in ("float32", "bfloat16"):
        ranked = video_index.rank(queries, 7, precision=precision)
        for query in (0, 9, 19):
            alone = video_index.rank(queries.part(slice(query, query + 1)), 7)
            assert ranked.ids[query] == alone.ids[0]
            np.testing.assert_array_equal(ranked.scores[query], alone.scores[0])


@given(
    seed=st.integers(0, 2**31),
    candidates=st.integers(1, 80),
    k=st.integers(1, 12),
    wide=st.integers(1, 40),
    shift=st.sampled_from([-3.0, 0.0, 3.0]),
)
def test_no_candidate_is_lost_to_the_rounding_of_estimates(seed, candidates, k, wide, shift):
    """Whose error grows with them: among scores near 0 and -3 as among those near 3."""
    generator = torch.Generator().manual_seed(seed)
    scores = 0.03 * torch.randn(4, candidates, generator=generator) + shift
    signs = torch.randint(0, 2, scores.shape, generator=generator) * 2 - 1
    best = Best(4, k, torch.full((4,), 1e-6), rounding=HALF)
    for start in range(0, candidates, wide):
        best.update((scores * (1 + HALF * signs))[:, start : start + wide], start)
    query, candidate, _ = best.candidates()
    for number in range(4):
        right = set(scores[number].topk(min(k, candidates)).indices.tolist())
        assert right <= set(candidate[query == number].tolist())


@given(rows=st.integers(0, 9), width=st.integers(1, 40), clips=st.integers(0, 40))
def test_the_float32_product_is_the_product(rows, width, clips):
    torch.manual_seed(rows * 31 + width)
    x, y = torch.randn(width, rows).T, torch.randn(clips, width)  # rows of x do not lie together
    torch.testing.assert_close(float32_product(x, y), x @ y.T, rtol=1e-5, atol=1e-5)
