"""Scoring schemes, each against a plain loop."""

import math

import pytest
import torch
from torch.nn import functional as F

from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.schemes import UNSCORABLE, schemes, score_by

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
    scores = score_by(scheme, *case, LAYOUT)
    torch.testing.assert_close(scores.double(), loop(scheme, *case), atol=1e-5, rtol=0)


def test_all_schemes_are_named_the_mixture_first():
    assert schemes(LAYOUT) == ("mixture", "appearance", "motion", "audio", "uniform", "ignore-missing")


def test_clips_without_the_stream_share_the_last_place(case):
    text, video = case
    scores = score_by("motion", text, video, LAYOUT)
    there = video.available[:, 1]
    assert scores[:, ~there].unique().numel() == 1
    assert scores[:, there].min() > scores[:, ~there].max()


def test_schemes_agree_where_nothing_is_missing(case):
    text, video = case
    whole = VideoEmbedding(video.packed.nan_to_num(0.5), torch.ones_like(video.available))
    torch.testing.assert_close(
        score_by("mixture", text, whole, LAYOUT), score_by("ignore-missing", text, whole, LAYOUT)
    )
