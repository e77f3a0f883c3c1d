"""Scores of a model by every scheme, and normalised, each against a plain loop."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.mixture import UNSCORABLE, MixtureScores, schemes
from mee.ranking.normalise import DualSoftmaxScores, LastPlaced, ShiftedScores, nnn, qb_norm
from mee.ranking.rank import rank_queries
from mee.scoring import mee_scores
from tests.mee.whole_scores import (
    WholeScores,
    fill_missing,
    loop_scores,
    positives_of,
    random_text,
    random_video,
    unit_rows,
    whole_matrix,
    with_words,
)

LAYOUT = Layout(("appearance", "motion", "audio"), (4, 2, 3))
RULES = [replace(LAYOUT, missing=rule) for rule in ("evidence", "renormalise")]
by_rule = pytest.mark.parametrize("layout", RULES, ids=lambda layout: layout.missing)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    available = torch.tensor([[m == g % 3 or (g >> m) & 1 for m in range(3)] for g in range(10)]).bool()
    video = fill_missing(unit_rows(generator, 10, LAYOUT), available, LAYOUT, math.nan)
    return random_text(generator, 4, LAYOUT, 2.0), VideoEmbedding(video, available)


@pytest.mark.parametrize(
    ("layout", "scheme"), [(layout, scheme) for layout in RULES for scheme in schemes(layout)]
)
@pytest.mark.parametrize("removed", [(), *((name,) for name in LAYOUT.names)])
def test_every_scheme_equals_a_loop_with_nan_in_missing_slots(case, layout, scheme, removed):
    scores = MixtureScores(*case, layout, scheme=scheme, removed=removed)
    expected = loop_scores(*case, layout, scheme, removed)
    torch.testing.assert_close(whole_matrix(scores).double(), expected, atol=1e-6, rtol=0)
    block = scores.block(slice(1, 3)).double()
    torch.testing.assert_close(block, expected[1:3], atol=scores.margin + 1e-6, rtol=0)
    kept = case[1].available & torch.tensor([name not in removed for name in LAYOUT.names])
    assert (whole_matrix(scores)[:, ~kept.any(1)] == scores.nothing).all()


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_clips_without_any_stream_come_last(case, offset):
    text, video = case
    text = replace(text, offsets=torch.full((4, 3), offset))
    scores = MixtureScores(text, video, LAYOUT, without_stream=2)
    assert (scores.candidates, scores.nothing) == (12, UNSCORABLE - offset)
    for found in (whole_matrix(scores), scores.block(slice(0, 4))):
        assert (found[:, 10:] == scores.nothing).all()
        assert found[:, :10].min() > scores.nothing
    none = VideoEmbedding(video.packed[:0], video.available[:0])
    alone = MixtureScores(text, none, LAYOUT, without_stream=1)
    for found in (whole_matrix(alone), alone.block(slice(0, 4))):
        assert found.tolist() == [[UNSCORABLE - offset]] * 4
    evidence, renormalise = RULES
    assert schemes(evidence) == ("mixture", *LAYOUT.names, "uniform", "renormalise")
    assert schemes(renormalise) == ("mixture", *LAYOUT.names, "uniform", "evidence")


@by_rule
@given(seed=st.integers(0, 2**31))
def test_scores_that_rank_are_those_that_training_computes(layout, seed):
    generator = torch.Generator().manual_seed(seed)
    text, video = random_text(generator, 4, layout, 5.0), random_video(generator, 9, layout)
    video = VideoEmbedding(fill_missing(video.packed, video.available, layout, math.nan), video.available)
    scores = MixtureScores(text, video, layout)
    trained = mee_scores(text.packed, video.packed, text.logits, video.available, layout, text.offsets)
    torch.testing.assert_close(whole_matrix(scores), trained, atol=scores.margin + 1e-6, rtol=0)


WORDY = Layout(("labels", "speech", "motion", "text"), (4, 3, 2, 5), words=("speech", "text"))
PATTERNS = [pattern for pattern in product([False, True], repeat=4) if any(pattern)]


@pytest.mark.parametrize("missing", ["evidence", "renormalise"])
@given(data=st.data(), seed=st.integers(0, 2**31), scale=st.sampled_from([0.1, 3.0, 100.0]))
def test_scores_with_words_and_without_text_sides_equal_a_loop_for_every_pattern(missing, data, seed, scale):
    """Training, blocks and pairs: the best of a clip's rows, offsets, logits far apart, -inf of all or of one."""
    layout, generator = replace(WORDY, missing=missing), torch.Generator().manual_seed(seed)
    available = torch.tensor(PATTERNS)
    packed = fill_missing(unit_rows(generator, len(PATTERNS), layout), available, layout, math.nan)
    video = with_words(generator, VideoEmbedding(packed, available), layout)
    text = random_text(generator, 5, layout, scale)
    silent = data.draw(st.lists(st.booleans(), min_size=4, max_size=4))
    some = torch.rand(5, 4, generator=generator) < data.draw(st.sampled_from([0.0, 0.3]))
    text = replace(text, logits=text.logits.masked_fill(some | torch.tensor(silent), -torch.inf))
    scheme = data.draw(st.sampled_from(schemes(layout)))
    removed = data.draw(st.sampled_from([(), *((name,) for name in layout.names)]))
    scores, expected = (
        f(text, video, layout, scheme=scheme, removed=removed) for f in (MixtureScores, loop_scores)
    )
    torch.testing.assert_close(whole_matrix(scores).double(), expected, atol=1e-6, rtol=0)
    assert (scores.block(slice(0, 5)) - whole_matrix(scores)).abs().max() <= scores.margin
    if scheme == "mixture" and not removed:
        given = (text.packed, video.packed, text.logits, available, layout, text.offsets, video.words)
        expected = loop_scores(text, video, layout, nothing=0.0)  # where nothing is compared, nothing is added
        torch.testing.assert_close(mee_scores(*given).double(), expected, atol=1e-5, rtol=0)
    one_by_one = [[scores.pairs(torch.tensor([q]), torch.tensor([g])).item() for g in range(15)] for q in range(2)]
    assert whole_matrix(scores)[:2].tolist() == one_by_one
    order = torch.randperm(15, generator=generator)
    turned = MixtureScores(text, video[order], layout, scheme=scheme, removed=removed)
    assert whole_matrix(turned).equal(whole_matrix(scores)[:, order])


def test_words_of_long_clips_are_multiplied_some_at_a_time(monkeypatch):
    layout, generator = replace(WORDY, missing="renormalise"), torch.Generator().manual_seed(0)
    video = with_words(generator, random_video(generator, 40, layout), layout, most=30)
    text, expected = random_text(generator, 6, layout), []
    for rows, products in ((1, 1), (7, 50), (2**14, 2**22)):
        monkeypatch.setattr("mee.ranking.mixture.ROWS", rows)
        monkeypatch.setattr("mee.ranking.mixture.PRODUCTS", products)
        expected.append(MixtureScores(text, video, layout).block(slice(0, 6)))
    for block in expected[:2]:
        torch.testing.assert_close(block, expected[2], atol=1e-6, rtol=0)
    torch.testing.assert_close(expected[2].double(), loop_scores(text, video, layout), atol=1e-6, rtol=0)


@by_rule
@given(seed=st.integers(0, 2**31), size=st.sampled_from([3, 64, 700]), spread=st.sampled_from([0.1, 5.0, 80.0]))
def test_blocks_stay_within_the_margin(layout, seed, size, spread):
    generator = torch.Generator().manual_seed(seed)
    layout = Layout(("a", "b"), (size, size), layout.missing)
    text, video = (torch.randn(6, 2, size, generator=generator) for _ in range(2))
    text[0], video[0] = text[0].abs(), text[0].abs()  # nothing cancels: the sums are as large as they get
    text, video = (F.normalize(x, dim=-1).flatten(1) for x in (text, video))
    available = torch.tensor([[True, True], [True, False], [False, True]] * 2)
    logits = spread * torch.randn(6, 2, generator=generator)
    offsets = 30 * torch.randn(6, 2, generator=generator)
    scores = MixtureScores(TextEmbedding(text, logits, offsets), VideoEmbedding(video, available), layout)
    assert (scores.block(slice(0, 6)) - whole_matrix(scores)).abs().max() <= scores.margin
    shifted = ShiftedScores(scores, nnn(scores, 1, 1.0))
    assert (shifted.block(slice(0, 6)) - whole_matrix(shifted)).abs().max() <= shifted.margin


@by_rule
def test_scores_do_not_depend_on_what_they_are_computed_with_nor_on_torchs_settings(case, layout):
    """So that equal pairs tie, whatever block or process they come from."""
    scores = MixtureScores(*case, layout)
    one_by_one = [[scores.pairs(torch.tensor([q]), torch.tensor([g])).item() for g in range(10)] for q in range(4)]
    assert whole_matrix(scores).tolist() == one_by_one
    expected, before = scores.block(slice(0, 4)), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = scores.block(slice(0, 4))
        assert torch.get_float32_matmul_precision() == "medium"  # unchanged
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


# ---- normalisation

SEEDS = st.integers(0, 2**31)
MARGINS = st.sampled_from([0.0, 1e-5])


def matrices(seed):
    generator = torch.Generator().manual_seed(seed)
    bank, queries, clips = torch.randint(1, 8, (3,), generator=generator).tolist()
    return (torch.randint(-9, 9, (count, clips), generator=generator) / 10 for count in (bank, queries))


@given(seed=SEEDS, margin=MARGINS)
def test_qb_norm_is_the_dynamic_inverted_softmax(seed, margin):
    bank, matrix = matrices(seed)
    beta = 5.0
    scores = ShiftedScores(WholeScores(matrix, margin), qb_norm(WholeScores(bank, margin), beta))
    first = {row.tolist().index(max(row.tolist())) for row in bank}  # of equals, the one that comes first
    for row, given_row in zip(matrix.tolist(), whole_matrix(scores).tolist()):
        expected = list(row)
        if row.index(max(row)) in first:
            for j in range(len(row)):
                inverted = math.exp(beta * row[j]) / sum(math.exp(beta * each[j]) for each in bank.tolist())
                expected[j] = math.log(inverted) / beta
            lifted = [math.log(sum(math.exp(beta * each[j]) for each in bank.tolist())) for j in range(len(row))]
            expected = [score + sum(lifted) / len(row) / beta for score in expected]  # less the mean over clips
        assert given_row == pytest.approx(expected, abs=2e-5)


@given(seed=SEEDS, neighbours=st.integers(1, 9), alpha=st.floats(0, 2))
def test_nnn_takes_the_mean_of_the_nearest_of_the_bank(seed, neighbours, alpha):
    bank, matrix = matrices(seed)
    scores = ShiftedScores(WholeScores(matrix), nnn(WholeScores(bank), neighbours, alpha))
    for j in range(matrix.shape[1]):
        nearest = sorted(bank[:, j].tolist(), reverse=True)[:neighbours]
        expected = matrix[:, j] - alpha * sum(nearest) / len(nearest)
        torch.testing.assert_close(whole_matrix(scores)[:, j], expected, atol=1e-6, rtol=0)


@given(seed=SEEDS, margin=MARGINS)
def test_dsl_is_the_softmax_over_all_test_queries(seed, margin):
    _, matrix = matrices(seed)
    scores = DualSoftmaxScores(WholeScores(matrix, margin), 10.0)
    expected = matrix.double() * (10 * matrix.double()).softmax(0)
    torch.testing.assert_close(whole_matrix(scores).double(), expected, atol=10 * margin + 1e-6, rtol=1e-5)


@given(seed=SEEDS)
def test_normalised_blocks_stay_within_the_margin(seed):
    bank, matrix = matrices(seed)
    for make in (
        lambda scores: ShiftedScores(scores, qb_norm(WholeScores(bank, 1e-5), 5.0)),
        lambda scores: ShiftedScores(scores, nnn(WholeScores(bank, 1e-5), 3, 0.75)),
        lambda scores: DualSoftmaxScores(scores, 10.0),
    ):
        scores = make(WholeScores(matrix, 1e-5, seed))
        assert (scores.block(slice(0, scores.queries)) - whole_matrix(scores)).abs().max() <= scores.margin


def test_clips_that_nothing_can_find_tie_in_both_directions():
    matrix = torch.tensor([[0.1, 0.9, 0.8], [0.2, 0.5, 0.6], [0.3, 0.7, 0.9]])
    scores = LastPlaced(WholeScores(matrix), torch.tensor([False, True, True]), -2.0)
    ranking = rank_queries(scores, positives_of(torch.eye(3).bool()))
    assert ranking.t2v.rank.tolist() == [1, 2.5, 2.5]
    assert ranking.v2t.rank.tolist() == [3, 2, 2]
