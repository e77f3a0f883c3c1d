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
from tests.mee.whole_scores import whole_matrix

LAYOUT = Layout(("appearance", "motion", "audio"), (4, 2, 3))


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)

    def packed(count):
        parts = [torch.randn(count, size, generator=generator) for size in LAYOUT.sizes]
        return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)

    available = torch.tensor([[m == g % 3 or (g >> m) & 1 for m in range(3)] for g in range(10)]).bool()
    columns = torch.repeat_interleave(torch.arange(3), torch.tensor(LAYOUT.sizes))
    video = packed(10).masked_fill(~available[:, columns], math.nan)
    return TextEmbedding(packed(4), 2 * torch.randn(4, 3, generator=generator)), VideoEmbedding(video, available)


def loop(scheme, text, video):
    scores = torch.empty(len(text.packed), len(video.packed), dtype=torch.float64)
    for q in range(len(text.packed)):
        logits = text.logits[q].double()
        for g in range(len(video.packed)):
            present = [m for m in range(3) if video.available[g, m]]
            inner = {
                m: float(text.packed[q, LAYOUT.slices[m]].double() @ video.packed[g, LAYOUT.slices[m]].double())
                for m in present
            }
            if scheme in LAYOUT.names:
                scores[q, g] = inner.get(LAYOUT.names.index(scheme), UNSCORABLE)
                continue
            if scheme == "uniform":
                weight = {m: 1 / len(present) for m in present}
            else:
                counted = range(3) if scheme == "ignore-missing" else present
                total = sum(math.exp(logits[m]) for m in counted)
                weight = {m: math.exp(logits[m]) / total for m in present}
            scores[q, g] = sum(weight[m] * inner[m] for m in present)
    return scores


@pytest.mark.parametrize("scheme", schemes(LAYOUT))
def test_every_scheme_equals_a_loop_with_nan_in_missing_slots(case, scheme):
    scores = MixtureScores(*case, LAYOUT, scheme=scheme)
    expected = loop(scheme, *case)
    torch.testing.assert_close(whole_matrix(scores).double(), expected, atol=1e-6, rtol=0)
    block = scores.block(slice(1, 3)).double()
    torch.testing.assert_close(block, expected[1:3], atol=scores.margin + 1e-6, rtol=0)


@pytest.mark.parametrize("scheme", schemes(LAYOUT))
@pytest.mark.parametrize("removed", LAYOUT.names)
def test_a_removed_stream_is_scored_as_if_no_clip_had_it(case, scheme, removed):
    text, video = case
    masked = video.available.clone()
    masked[:, LAYOUT.names.index(removed)] = False
    scores = whole_matrix(MixtureScores(text, video, LAYOUT, scheme=scheme, removed=(removed,)))
    some = masked.any(1)
    expected = loop(scheme, text, VideoEmbedding(video.packed[some], masked[some]))
    torch.testing.assert_close(scores[:, some].double(), expected, atol=1e-6, rtol=0)
    assert (scores[:, ~some] == UNSCORABLE).all()


def test_clips_without_any_stream_come_last(case):
    scores = MixtureScores(*case, LAYOUT, without_stream=2)
    assert scores.candidates == 12
    assert (whole_matrix(scores)[:, 10:] == UNSCORABLE).all()
    assert (scores.block(slice(0, 4))[:, 10:] == UNSCORABLE).all()
    assert scores.block(slice(0, 4))[:, :10].min() > UNSCORABLE


def test_no_clip_at_all(case):
    text, video = case
    none = VideoEmbedding(video.packed[:0], video.available[:0])
    scores = MixtureScores(text, none, LAYOUT, without_stream=1)
    assert scores.pairs(*torch.zeros(2, 1).long()).tolist() == [UNSCORABLE]
    assert scores.block(slice(0, 2)).tolist() == [[UNSCORABLE], [UNSCORABLE]]


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


def test_all_schemes_are_named_the_mixture_first():
    assert schemes(LAYOUT) == ("mixture", "appearance", "motion", "audio", "uniform", "ignore-missing")


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
