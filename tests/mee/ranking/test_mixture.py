"""Scores of a model by every scheme, each against a plain loop."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.mixture import UNSCORABLE, MixtureScores, schemes
from tests.mee.whole_scores import fill_missing, loop_scores, random_rows, random_text, whole_matrix

LAYOUT = Layout(("appearance", "motion", "audio"), (4, 2, 3))


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    available = torch.tensor([[m == g % 3 or (g >> m) & 1 for m in range(3)] for g in range(10)]).bool()
    video = fill_missing(random_rows(generator, 10, LAYOUT), available, LAYOUT, math.nan)
    return random_text(generator, 4, LAYOUT, 2.0), VideoEmbedding(video, available)


@pytest.mark.parametrize("scheme", schemes(LAYOUT))
@pytest.mark.parametrize("removed", [(), *((name,) for name in LAYOUT.names)])
def test_every_scheme_equals_a_loop_with_nan_in_missing_slots(case, scheme, removed):
    scores = MixtureScores(*case, LAYOUT, scheme=scheme, removed=removed)
    expected = loop_scores(*case, LAYOUT, scheme, removed)
    torch.testing.assert_close(whole_matrix(scores).double(), expected, atol=1e-6, rtol=0)
    block = scores.block(slice(1, 3)).double()
    torch.testing.assert_close(block, expected[1:3], atol=scores.margin + 1e-6, rtol=0)
    kept = case[1].available & torch.tensor([name not in removed for name in LAYOUT.names])
    assert (whole_matrix(scores)[:, ~kept.any(1)] == UNSCORABLE).all()


def test_clips_without_any_stream_come_last(case):
    text, video = case
    scores = MixtureScores(*case, LAYOUT, without_stream=2)
    assert scores.candidates == 12
    for found in (whole_matrix(scores), scores.block(slice(0, 4))):
        assert (found[:, 10:] == UNSCORABLE).all()
        assert found[:, :10].min() > UNSCORABLE
    none = VideoEmbedding(video.packed[:0], video.available[:0])
    alone = MixtureScores(text, none, LAYOUT, without_stream=1)
    for found in (whole_matrix(alone), alone.block(slice(0, 4))):
        assert found.tolist() == [[UNSCORABLE]] * 4
    assert schemes(LAYOUT) == ("mixture", *LAYOUT.names, "uniform", "ignore-missing")


@given(seed=st.integers(0, 2**31), size=st.sampled_from([3, 64, 700]), spread=st.sampled_from([0.1, 5.0, 80.0]))
def test_blocks_stay_within_the_margin(seed, size, spread):
    generator = torch.Generator().manual_seed(seed)
    layout = Layout(("a", "b"), (size, size))
    text, video = (torch.randn(6, 2, size, generator=generator) for _ in range(2))
    text[0], video[0] = text[0].abs(), text[0].abs()  # nothing cancels: the sums are as large as they get
    text, video = (F.normalize(x, dim=-1).flatten(1) for x in (text, video))
    available = torch.tensor([[True, True], [True, False], [False, True]] * 2)
    logits = spread * torch.randn(6, 2, generator=generator)
    scores = MixtureScores(TextEmbedding(text, logits), VideoEmbedding(video, available), layout)
    assert (scores.block(slice(0, 6)) - whole_matrix(scores)).abs().max() <= scores.margin


def test_pairs_do_not_depend_on_what_they_are_computed_with(case):
    """So that equal pairs tie, whatever block or process they come from."""
    scores = MixtureScores(*case, LAYOUT)
    matrix = whole_matrix(scores)
    one_by_one = [[scores.pairs(torch.tensor([q]), torch.tensor([g])).item() for g in range(10)] for q in range(4)]
    assert matrix.tolist() == one_by_one


def test_blocks_do_not_trust_what_the_program_lets_torch_do(case):
    scores = MixtureScores(*case, LAYOUT)
    expected = scores.block(slice(0, 4))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = scores.block(slice(0, 4))
        assert torch.get_float32_matmul_precision() == "medium"  # left as it was
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
