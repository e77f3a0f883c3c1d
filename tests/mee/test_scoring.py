"""The score: against a float64 loop over the equation, and the laws it obeys."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mee.layout import Layout
from mee.scoring import group_by_pattern, mee_scores, mixture_weights, weighted_query

LAYOUT = Layout(("appearance", "motion", "audio", "face"), (7, 3, 5, 1))
PATTERNS = [pattern for pattern in product([False, True], repeat=4) if any(pattern)]
SEEDS = st.integers(0, 2**31)


def packed_rows(count, generator):
    parts = [torch.randn(count, size, generator=generator) for size in LAYOUT.sizes]
    return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)


def fill_missing(video, available, junk):
    """Put junk into every slot whose expert is missing."""
    columns = torch.repeat_interleave(torch.arange(4), torch.tensor(LAYOUT.sizes))
    return torch.where(available[:, columns], video, torch.as_tensor(junk, dtype=video.dtype))


def random_case(seed, queries=5, clips=11, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    available = torch.rand(clips, 4, generator=generator) > 0.4
    available[torch.arange(clips), torch.randint(4, (clips,), generator=generator)] = True
    logits = scale * torch.randn(queries, 4, generator=generator)
    return packed_rows(queries, generator), packed_rows(clips, generator), logits, available


def loop_scores(text, video, logits, available):
    """The equation of mee.scoring in plain Python floats."""
    scores = []
    for t, logit in zip(text.tolist(), logits.tolist()):
        row = []
        for x, there in zip(video.tolist(), available.tolist()):
            present = [m for m in range(4) if there[m]]
            top = max(logit[m] for m in present)
            total = sum(math.exp(logit[m] - top) for m in present)
            score = 0.0
            for m in present:
                start = sum(LAYOUT.sizes[:m])
                inner = sum(t[c] * x[c] for c in range(start, start + LAYOUT.sizes[m]))
                score += math.exp(logit[m] - top) / total * inner
            row.append(score)
        scores.append(row)
    return torch.tensor(scores, dtype=torch.float64)


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_scores_equal_a_float64_loop_for_every_pattern(junk, scale):
    generator = torch.Generator().manual_seed(3)
    available = torch.tensor(PATTERNS)
    logits = torch.tensor(list(product([-scale, scale], repeat=4)))
    text, video = packed_rows(len(logits), generator), packed_rows(len(available), generator)
    expected = loop_scores(text, video, logits, available)
    scores = mee_scores(text, fill_missing(video, available, junk), logits, available, LAYOUT)
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=0)


@given(SEEDS, st.sampled_from([0.1, 3.0, 100.0]))
def test_scores_equal_a_float64_loop(seed, scale):
    case = random_case(seed, scale=scale)
    torch.testing.assert_close(mee_scores(*case, LAYOUT).double(), loop_scores(*case), atol=1e-5, rtol=0)


@given(SEEDS, st.floats(width=32))
def test_what_stands_in_a_missing_slot_is_never_read(seed, junk):
    text, video, logits, available = random_case(seed)
    spoiled = fill_missing(video, available, junk)
    assert mee_scores(text, spoiled, logits, available, LAYOUT).equal(
        mee_scores(text, video, logits, available, LAYOUT)
    )


@given(SEEDS)
def test_gradients_ignore_missing_slots_and_agree_with_finite_differences(seed):
    text, video, logits, available = (
        part.double() if part.is_floating_point() else part for part in random_case(seed, 3, 6)
    )
    spoiled = fill_missing(video, available, math.nan)
    inputs = [part.requires_grad_() for part in (text, spoiled, logits)]
    upstream = torch.linspace(-1, 1, 18, dtype=torch.float64).view(3, 6)
    scores = mee_scores(inputs[0], inputs[1], inputs[2], available, LAYOUT)
    gradients = torch.autograd.grad((scores * upstream).sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[1].equal(fill_missing(gradients[1], available, 0.0))
    step, probe = 1e-6, torch.sign(torch.sin(torch.arange(12.0, dtype=torch.float64))).view(3, 4)
    with torch.no_grad():
        above, below = (
            (mee_scores(text, spoiled, logits + side * step * probe, available, LAYOUT) * upstream).sum()
            for side in (1, -1)
        )
    torch.testing.assert_close((gradients[2] * probe).sum(), (above - below) / (2 * step), atol=1e-7, rtol=1e-5)


@given(SEEDS, st.permutations(range(4)))
def test_the_order_of_experts_does_not_matter(seed, order):
    text, video, logits, available = random_case(seed)
    other = Layout(tuple(LAYOUT.names[m] for m in order), tuple(LAYOUT.sizes[m] for m in order))

    def moved(packed):
        return torch.cat([packed[:, LAYOUT.slices[m]] for m in order], dim=1)

    scores = mee_scores(moved(text), moved(video), logits[:, order], available[:, order], other)
    torch.testing.assert_close(scores, mee_scores(text, video, logits, available, LAYOUT))


@given(SEEDS, st.permutations(range(5)), st.permutations(range(11)))
def test_permuting_queries_and_gallery_permutes_the_scores(seed, queries, clips):
    text, video, logits, available = random_case(seed)
    scores = mee_scores(text[queries], video[clips], logits[queries], available[clips], LAYOUT)
    expected = mee_scores(text, video, logits, available, LAYOUT)[queries][:, clips]
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)


@given(SEEDS)
def test_scores_lie_between_minus_one_and_one_and_a_clip_that_says_the_same_scores_one(seed):
    text, video, logits, available = random_case(seed)
    assert mee_scores(text, video, logits, available, LAYOUT).abs().max() <= 1 + 1e-5
    own = mee_scores(text, text, logits, available[:5], LAYOUT)
    torch.testing.assert_close(own.diagonal(), torch.ones(5))


def test_availability_is_the_candidates_and_not_the_querys_own_clips():
    text, video, logits, available = random_case(4, queries=6, clips=6)
    right = mee_scores(text, video, logits, available, LAYOUT)
    wrong = torch.cat(
        [
            mee_scores(text[[q]], video, logits[[q]], available[[q]].expand(6, 4).contiguous(), LAYOUT)
            for q in range(6)
        ]
    )
    torch.testing.assert_close(right.diagonal(), wrong.diagonal())
    apart = (right - wrong).abs()
    assert apart.max() > 0.05
    torch.testing.assert_close(right.double(), loop_scores(text, video, logits, available), atol=1e-5, rtol=0)


def test_a_clip_without_any_stream_is_refused():
    text, video, logits, available = random_case(0)
    available[3] = False
    with pytest.raises(ValueError, match="without any stream"):
        mee_scores(text, video, logits, available, LAYOUT)


def test_an_empty_gallery_has_no_scores():
    text, video, logits, available = random_case(0)
    assert mee_scores(text, video[:0], logits, available[:0], LAYOUT).shape == (5, 0)


@given(SEEDS)
def test_groups_are_a_partition_of_the_gallery(seed):
    available = random_case(seed)[3]
    seen = []
    for pattern, rows in group_by_pattern(available):
        assert rows.tolist() == sorted(rows.tolist())
        assert all(tuple(available[row].tolist()) == pattern for row in rows)
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(available)))


@given(SEEDS, st.sampled_from(PATTERNS), st.sampled_from([1.0, 100.0]))
def test_weights_sum_to_one_and_are_exactly_zero_where_absent(seed, pattern, scale):
    text, _, logits, _ = random_case(seed, scale=scale)
    weights = mixture_weights(logits, pattern)
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    assert (weights[:, ~torch.tensor(pattern)] == 0).all()
    assert weighted_query(text, logits, pattern, LAYOUT).shape == (
        5,
        sum(size for size, there in zip(LAYOUT.sizes, pattern) if there),
    )
