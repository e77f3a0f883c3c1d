"""The score: against a float64 loop over the equation, and the laws it obeys."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.scoring import group_by_pattern, mee_scores, mixture_weights, weighted_query
from tests.mee.whole_scores import fill_missing, loop_scores, random_text, random_video, unit_rows

LAYOUT = Layout(("appearance", "motion", "audio", "face"), (7, 3, 5, 1))
PATTERNS = [pattern for pattern in product([False, True], repeat=4) if any(pattern)]
SEEDS = st.integers(0, 2**31)


def random_case(seed, queries=5, clips=11, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    video, text = random_video(generator, clips, LAYOUT), random_text(generator, queries, LAYOUT, scale)
    return text.packed, video.packed, text.logits, video.available


def by_loops(text, video, logits, available):
    return loop_scores(TextEmbedding(text, logits), VideoEmbedding(video, available), LAYOUT)


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_scores_equal_a_float64_loop_for_every_pattern(junk, scale):
    generator, available = torch.Generator().manual_seed(3), torch.tensor(PATTERNS)
    logits = torch.tensor(list(product([-scale, scale], repeat=4)))
    text, video = (unit_rows(generator, len(rows), LAYOUT) for rows in (logits, available))
    scores = mee_scores(text, fill_missing(video, available, LAYOUT, junk), logits, available, LAYOUT)
    torch.testing.assert_close(scores.double(), by_loops(text, video, logits, available), atol=1e-5, rtol=0)


@given(SEEDS, st.sampled_from([0.1, 3.0, 100.0]))
def test_scores_equal_a_float64_loop(seed, scale):
    case = random_case(seed, scale=scale)
    torch.testing.assert_close(mee_scores(*case, LAYOUT).double(), by_loops(*case), atol=1e-5, rtol=0)


@given(SEEDS, st.floats(width=32))
def test_missing_slots_are_never_read(seed, junk):
    text, video, logits, available = random_case(seed)
    expected = mee_scores(text, video, logits, available, LAYOUT)
    spoiled = fill_missing(video, available, LAYOUT, junk)
    assert mee_scores(text, spoiled, logits, available, LAYOUT).equal(expected)
    assert expected.abs().max() <= 1 + 1e-5
    own = mee_scores(text, text, logits, available[:5], LAYOUT)  # a clip that says the same scores one
    torch.testing.assert_close(own.diagonal(), torch.ones(5))


@given(SEEDS)
def test_gradients_ignore_missing_slots_and_agree_with_finite_differences(seed):
    text, video, logits, available = random_case(seed, 3, 6)
    spoiled = fill_missing(video.double(), available, LAYOUT, math.nan)
    inputs = [part.double().requires_grad_() for part in (text, spoiled, logits)]
    upstream = torch.linspace(-1, 1, 18, dtype=torch.float64).view(3, 6)
    gradients = torch.autograd.grad((mee_scores(*inputs, available, LAYOUT) * upstream).sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[1].equal(fill_missing(gradients[1], available, LAYOUT, 0.0))
    texts, spoiled, weights = (part.detach().requires_grad_(n != 1) for n, part in enumerate(inputs))
    assert torch.autograd.gradcheck(lambda t, w: mee_scores(t, spoiled, w, available, LAYOUT), (texts, weights))


@given(SEEDS, st.permutations(range(4)), st.permutations(range(5)), st.permutations(range(11)))
def test_the_order_of_experts_queries_and_clips_does_not_matter(seed, experts, queries, clips):
    text, video, logits, available = random_case(seed)
    expected = mee_scores(text, video, logits, available, LAYOUT)
    other = Layout(tuple(LAYOUT.names[m] for m in experts), tuple(LAYOUT.sizes[m] for m in experts))
    turned = (torch.cat([rows[:, LAYOUT.slices[m]] for m in experts], dim=1) for rows in (text, video))
    torch.testing.assert_close(mee_scores(*turned, logits[:, experts], available[:, experts], other), expected)
    permuted = mee_scores(text[queries], video[clips], logits[queries], available[clips], LAYOUT)
    torch.testing.assert_close(permuted, expected[queries][:, clips], atol=1e-6, rtol=0)


def test_an_empty_gallery_has_no_scores_and_a_clip_without_any_stream_is_refused():
    text, video, logits, available = random_case(0)
    assert mee_scores(text, video[:0], logits, available[:0], LAYOUT).shape == (5, 0)
    available[3] = False
    with pytest.raises(ValueError, match="without any stream"):
        mee_scores(text, video, logits, available, LAYOUT)


@given(SEEDS, st.sampled_from(PATTERNS), st.sampled_from([1.0, 100.0]))
def test_groups_are_a_partition_of_the_gallery_and_weights_sum_to_one_over_what_is_present(seed, pattern, scale):
    text, _, logits, available = random_case(seed, scale=scale)
    seen = []
    for group, rows in group_by_pattern(available):
        assert rows.tolist() == sorted(rows.tolist())
        assert all(tuple(available[row].tolist()) == group for row in rows)
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(available)))
    weights = mixture_weights(logits, pattern)
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    assert (weights[:, ~torch.tensor(pattern)] == 0).all()
    width = sum(size for size, there in zip(LAYOUT.sizes, pattern) if there)
    assert weighted_query(text, logits, pattern, LAYOUT).shape == (5, width)


# ---- columns of experts


@pytest.mark.parametrize("pattern", [p for p in product([False, True], repeat=3) if any(p)])
def test_slices_cut_a_packed_vector_into_its_experts(pattern):
    layout, packed = Layout(("a", "b", "c"), (2, 1, 3)), torch.arange(12).view(2, 6)
    assert (layout.total, [list(range(6))[s] for s in layout.slices]) == (6, [[0, 1], [2], [3, 4, 5]])
    columns = [c for c, m in enumerate([0, 0, 1, 2, 2, 2]) if pattern[m]]
    assert layout.take(packed, pattern).equal(packed[:, columns])
    for names, sizes in (((), ()), (("a", "a"), (1, 1)), (("a",), (1, 2)), (("a", "b"), (1, 0))):
        with pytest.raises(ValueError, match="expert"):
            Layout(names, sizes)
