"""The score: against a float64 loop over the equation, and the laws it obeys."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.scoring import group_by_pattern, mee_scores, mixture_weights
from tests.mee.whole_scores import fill_missing, loop_scores, random_text, random_video, unit_rows

LAYOUT = Layout(("appearance", "motion", "audio", "face"), (7, 3, 5, 1))
RULES = [replace(LAYOUT, missing=rule) for rule in ("evidence", "renormalise")]
by_rule = pytest.mark.parametrize("layout", RULES, ids=lambda layout: layout.missing)
PATTERNS = [pattern for pattern in product([False, True], repeat=4) if any(pattern)]
SEEDS = st.integers(0, 2**31)


def random_case(seed, queries=5, clips=11, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    video, text = random_video(generator, clips, LAYOUT), random_text(generator, queries, LAYOUT, scale)
    return text.packed, video.packed, text.logits, video.available, text.offsets


def by_loops(text, video, logits, available, offsets, layout):
    return loop_scores(TextEmbedding(text, logits, offsets), VideoEmbedding(video, available), layout)


def scored(text, video, logits, available, offsets, layout):
    return mee_scores(text, video, logits, available, layout, offsets)


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scale", [1.0, 100.0])
@by_rule
def test_scores_equal_a_float64_loop_for_every_pattern(junk, scale, layout):
    generator, available = torch.Generator().manual_seed(3), torch.tensor(PATTERNS)
    logits = torch.tensor(list(product([-scale, scale], repeat=4)))
    text, video = (unit_rows(generator, len(rows), LAYOUT) for rows in (logits, available))
    offsets = torch.randn(logits.shape, generator=generator)
    scores = scored(text, fill_missing(video, available, LAYOUT, junk), logits, available, offsets, layout)
    expected = by_loops(text, video, logits, available, offsets, layout)
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=0)


@by_rule
@given(seed=SEEDS, scale=st.sampled_from([0.1, 3.0, 100.0]))
def test_scores_equal_a_float64_loop(layout, seed, scale):
    case = random_case(seed, scale=scale)
    torch.testing.assert_close(scored(*case, layout).double(), by_loops(*case, layout), atol=1e-5, rtol=0)


@by_rule
@given(seed=SEEDS, junk=st.floats(width=32))
def test_missing_slots_are_never_read_and_without_offsets_scores_are_bounded(layout, seed, junk):
    text, video, logits, available, offsets = random_case(seed)
    spoiled = fill_missing(video, available, LAYOUT, junk)
    expected = scored(text, video, logits, available, offsets, layout)
    assert scored(text, spoiled, logits, available, offsets, layout).equal(expected)
    plain = mee_scores(text, spoiled, logits, available, layout)
    assert plain.equal(scored(text, spoiled, logits, available, 0 * offsets, layout))
    assert plain.abs().max() <= 1 + 1e-5
    own = mee_scores(text, text, logits, available[:5], layout).diagonal()  # a clip that says the same
    share = (logits.softmax(1) * available[:5]).sum(1)  # of the weights, that it has the experts of
    torch.testing.assert_close(own, share if layout.missing == "evidence" else torch.ones(5))


@given(seed=SEEDS)
def test_the_rules_agree_where_nothing_is_missing_and_evidence_adds_up_stream_by_stream(seed):
    text, video, logits, available, offsets = random_case(seed)
    one, other = (scored(text, video, logits, torch.ones_like(available), offsets, layout) for layout in RULES)
    torch.testing.assert_close(one, other)
    alone = sum(
        scored(text, video, logits, (torch.arange(4) == m).expand(11, 4), offsets, RULES[0]) * available[:, m]
        for m in range(4)
    )
    together = scored(text, video, logits, available, offsets, RULES[0])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


@by_rule
@given(seed=SEEDS)
def test_gradients_ignore_missing_slots_and_agree_with_finite_differences(layout, seed):
    text, video, logits, available, offsets = random_case(seed, 3, 6)
    spoiled = fill_missing(video.double(), available, LAYOUT, math.nan)
    inputs = [part.double().requires_grad_() for part in (text, spoiled, logits, offsets)]

    def score(text, video, logits, offsets):
        return mee_scores(text, video, logits, available, layout, offsets)

    upstream = torch.linspace(-1, 1, 18, dtype=torch.float64).view(3, 6)
    gradients = torch.autograd.grad((score(*inputs) * upstream).sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[1].equal(fill_missing(gradients[1], available, LAYOUT, 0.0))
    texts, spoiled, weights, zeros = (part.detach().requires_grad_(n != 1) for n, part in enumerate(inputs))
    assert torch.autograd.gradcheck(lambda t, w, o: score(t, spoiled, w, o), (texts, weights, zeros))


@by_rule
@given(data=st.data(), seed=SEEDS)
def test_the_order_of_experts_queries_and_clips_does_not_matter(layout, data, seed):
    experts, queries, clips = (data.draw(st.permutations(range(count))) for count in (4, 5, 11))
    text, video, logits, available, offsets = random_case(seed)
    expected = mee_scores(text, video, logits, available, layout, offsets)
    names, sizes = (tuple(column[m] for m in experts) for column in (LAYOUT.names, LAYOUT.sizes))
    other = Layout(names, sizes, layout.missing)
    turned = (torch.cat([rows[:, LAYOUT.slices[m]] for m in experts], dim=1) for rows in (text, video))
    logit, there, offset = (columns[:, experts] for columns in (logits, available, offsets))
    torch.testing.assert_close(mee_scores(*turned, logit, there, other, offset), expected, atol=1e-6, rtol=0)
    permuted = scored(text[queries], video[clips], logits[queries], available[clips], offsets[queries], layout)
    torch.testing.assert_close(permuted, expected[queries][:, clips], atol=1e-6, rtol=0)


@by_rule
def test_an_empty_gallery_has_no_scores_and_a_clip_without_any_stream_is_refused(layout):
    text, video, logits, available, _ = random_case(0)
    assert mee_scores(text, video[:0], logits, available[:0], layout).shape == (5, 0)
    available[3] = False
    with pytest.raises(ValueError, match="without any stream"):
        mee_scores(text, video, logits, available, layout)


@given(SEEDS, st.sampled_from(PATTERNS), st.sampled_from([1.0, 100.0]))
def test_groups_are_a_partition_of_the_gallery_and_absent_experts_have_no_weight(seed, pattern, scale):
    _, _, logits, available, _ = random_case(seed, scale=scale)
    seen = []
    for group, rows in group_by_pattern(available):
        assert rows.tolist() == sorted(rows.tolist())
        assert all(tuple(available[row].tolist()) == group for row in rows)
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(available)))
    there = torch.tensor(pattern)
    evidence, renormalised = (mixture_weights(logits, there, rule) for rule in ("evidence", "renormalise"))
    torch.testing.assert_close(renormalised.sum(1), torch.ones(5))
    for weights in (evidence, renormalised):
        assert (weights[:, ~there] == 0).all()
    assert evidence[:, there].equal(logits.softmax(1)[:, there])  # whatever the clip has not
    for rule in ("evidence", "renormalise"):
        assert (mixture_weights(logits, torch.zeros(4, dtype=torch.bool), rule) == 0).all()


# ---- columns of experts


def test_slices_cut_a_packed_vector_into_its_experts():
    layout = Layout(("a", "b", "c"), (2, 1, 3))
    assert (layout.total, [list(range(6))[s] for s in layout.slices]) == (6, [[0, 1], [2], [3, 4, 5]])
    assert layout.spread(torch.tensor([[5, 6, 7], [1, 2, 3]])).tolist() == [[5, 5, 6, 7, 7, 7], [1, 1, 2, 3, 3, 3]]
    for wrong in (((), ()), (("a", "a"), (1, 1)), (("a",), (1, 2)), (("a", "b"), (1, 0)), (("a",), (1,), "drop")):
        with pytest.raises(ValueError, match=r"expert|missing must be evidence or renormalise, got .drop."):
            Layout(*wrong)
