"""What a model's parts are worth: against loops over the equation, one pair at a time."""

from dataclasses import replace
from functools import partial
from math import exp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.encode import Gallery
from mee.evaluation.ablation import Assessment
from mee.evaluation.metrics import expected_ranks, retrieval_metrics
from mee.evaluation.config import NormaliseConfig
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.mixture import MixtureScores
from mee.ranking.normalise import nnn, qb_norm
from mee.ranking.rank import CONVENTIONS, rank_queries
from mee.ranking.scores import Positives
from tests.mee.whole_scores import whole_matrix

SEEDS = st.integers(0, 2**31)
LAYOUT = Layout(("appearance", "motion", "audio"), (3, 2, 4))
METHODS = ("qb-norm", "nnn", "dsl")


def embeddings(generator, count, layout):
    parts = [torch.randn(count, size, generator=generator) for size in layout.sizes]
    return torch.cat([torch.nn.functional.normalize(part, dim=1) for part in parts], dim=1)


def sentences(generator, count, layout):
    return TextEmbedding(
        embeddings(generator, count, layout), torch.randn(count, len(layout.names), generator=generator)
    )


def problem(seed, layout=LAYOUT, **fields):
    """Clips with any streams, some with none; one to three captions each."""
    generator = torch.Generator().manual_seed(seed)
    clips, without = torch.randint(1, 9, (), generator=generator), torch.randint(3, (), generator=generator)
    clips, without = int(clips), int(without)
    available = torch.rand(clips, len(layout.names), generator=generator) < 0.6
    available[torch.arange(clips), torch.randint(len(layout.names), (clips,), generator=generator)] = True
    video = VideoEmbedding(embeddings(generator, clips, layout), available)
    gallery = Gallery(tuple(f"c{n}" for n in range(clips)), video, tuple(f"n{n}" for n in range(without)))
    own = torch.arange(clips + without).repeat_interleave(
        torch.randint(1, 4, (clips + without,), generator=generator)
    )
    positives = Positives(torch.arange(len(own)), own, len(own), clips + without)
    return Assessment(
        layout=layout,
        text=sentences(generator, len(own), layout),
        gallery=gallery,
        positives=positives,
        bank=sentences(generator, 9, layout),
        **fields,
    )


def score_by_hand(assessment, query, clip, weigh, removed):
    """Of one pair, the streams of `removed` being away; None where nothing is left to score."""
    layout, gallery = assessment.layout, assessment.gallery
    if clip >= len(gallery.clip_ids):
        return None
    there = [m for m, name in enumerate(layout.names) if gallery.video.available[clip, m] and name not in removed]
    text, video = assessment.text.packed[query].double(), gallery.video.packed[clip].double()
    similarity = {m: float(text[layout.slices[m]] @ video[layout.slices[m]]) for m in there}
    weights = weigh(assessment.text.logits[query].tolist(), there)
    counted = [m for m in there if m in weights]
    return sum(weights[m] * similarity[m] for m in counted) if counted else None


def mixture(logits, there):
    return {m: exp(logits[m]) / sum(exp(logits[n]) for n in there) for m in there}


def ignore_missing(logits, there):
    return {m: exp(logits[m]) / sum(map(exp, logits)) for m in there}


def uniform(logits, there):
    return {m: 1 / len(there) for m in there}


def lone(number):
    return lambda logits, there: {number: 1.0}


def figures_by_hand(assessment, weigh, removed=()):
    """Both ways; what cannot be scored is level with all else that cannot, and below the rest."""
    rows = [
        [score_by_hand(assessment, query, clip, weigh, removed) for clip in range(assessment.positives.candidates)]
        for query in range(assessment.positives.queries)
    ]
    matrix = torch.tensor([[-9.0 if score is None else score for score in row] for row in rows])
    right = torch.zeros(matrix.shape, dtype=torch.bool)
    right[assessment.positives.query, assessment.positives.candidate] = True
    return [
        retrieval_metrics(ranks) for ranks in (expected_ranks(matrix, right), expected_ranks(matrix.T, right.T))
    ]


def check(row, expected):
    for found, figures in zip((row.text_to_video, row.video_to_text), expected):
        assert {name: found[name] for name in figures} == pytest.approx(figures)
        assert "nDCG@10" in found


@given(SEEDS)
def test_removing_a_stream_is_scoring_again_with_the_mask(seed):
    assessment = problem(seed)
    rows = assessment.removed()
    assert [row.name for row in rows] == list(LAYOUT.names)
    for row in rows:
        check(row, figures_by_hand(assessment, mixture, removed={row.name}))


@given(SEEDS)
def test_removing_a_stream_is_a_gallery_that_never_had_it(seed):
    assessment = problem(seed)
    video, without = assessment.gallery.video, assessment.gallery.without_stream
    for m, row in enumerate(assessment.removed()):
        available = video.available.clone()
        available[:, m] = False
        scores = MixtureScores(
            assessment.text, VideoEmbedding(video.packed, available), LAYOUT, without_stream=len(without)
        )
        ranking = rank_queries(scores, assessment.positives)
        assert row.text_to_video == retrieval_metrics(ranking.t2v.rank, ranking.t2v.gain)
        assert row.video_to_text == retrieval_metrics(ranking.v2t.rank, ranking.v2t.gain)


@given(SEEDS)
def test_schemes_are_those_of_the_equation(seed):
    assessment = problem(seed)
    rows = {row.name: row for row in assessment.schemes()}
    assert list(rows) == [*LAYOUT.names, "uniform", "ignore-missing"]
    check(rows["uniform"], figures_by_hand(assessment, uniform))
    check(rows["ignore-missing"], figures_by_hand(assessment, ignore_missing))
    for m, name in enumerate(LAYOUT.names):
        check(rows[name], figures_by_hand(assessment, lone(m)))


def test_a_lone_expert_is_not_removed():
    assessment = problem(3, Layout(("appearance",), (4,)))
    assert assessment.removed() == ()
    assert [row.name for row in assessment.schemes()] == ["appearance", "uniform", "ignore-missing"]


@pytest.mark.parametrize("v2t", CONVENTIONS)
def test_the_convention_holds_for_every_row(v2t):
    assessment = problem(11, v2t=v2t)
    ranking = rank_queries(assessment.scores("uniform"), assessment.positives, v2t=v2t)
    row = next(row for row in assessment.schemes() if row.name == "uniform")
    assert row.video_to_text == retrieval_metrics(ranking.v2t.rank, ranking.v2t.gain)


@given(SEEDS)
def test_patterns_divide_the_queries_among_them(seed):
    assessment = problem(seed)
    ranking = rank_queries(assessment.scores(), assessment.positives)
    patterns = assessment.patterns(ranking)
    available = assessment.gallery.video.available.tolist()
    streams_of = [tuple(name for name, has in zip(LAYOUT.names, row) if has) for row in available]
    streams_of += [()] * len(assessment.gallery.without_stream)
    assert {pattern.streams for pattern in patterns} == set(streams_of)
    assert sum(pattern.queries for pattern in patterns) == assessment.positives.queries
    assert sum(pattern.clips for pattern in patterns) == len(streams_of)
    assert [-pattern.queries for pattern in patterns] == sorted(-pattern.queries for pattern in patterns)
    for pattern in patterns:
        mine = [streams_of[clip] == pattern.streams for clip in assessment.positives.candidate.tolist()]
        ranks, gains = ranking.t2v.rank[torch.tensor(mine)], ranking.t2v.gain[torch.tensor(mine)]
        assert pattern.queries == sum(mine)
        assert pattern.clips == streams_of.count(pattern.streams)
        assert pattern.text_to_video == retrieval_metrics(ranks, gains)


def test_a_pattern_that_nobody_asks_for_is_left_out_and_the_first_right_clip_counts():
    assessment = problem(0)
    available = torch.tensor([[True, True, True], [True, False, False], [False, False, True]])
    video = VideoEmbedding(embeddings(torch.Generator(), 3, LAYOUT), available)
    gallery = Gallery(("a", "b", "c"), video, ())
    positives = Positives(torch.tensor([2, 0, 2]), torch.tensor([1, 0, 0]), 3, 3)  # query 1 has none
    text = sentences(torch.Generator().manual_seed(1), 3, LAYOUT)
    assessment = replace(assessment, gallery=gallery, text=text, positives=positives)
    patterns = assessment.patterns(rank_queries(assessment.scores(), positives))
    assert [(pattern.streams, pattern.queries) for pattern in patterns] == [
        (("appearance",), 1),
        (("appearance", "motion", "audio"), 1),
    ]


@given(SEEDS)
def test_weights_are_mean_softmaxes_in_percent(seed):
    assessment = problem(seed)
    weights = assessment.weights()
    softmaxes = [
        [100 * exp(logit) / sum(map(exp, logits)) for logit in logits]
        for logits in assessment.text.logits.tolist()
    ]
    rows = {"all queries": softmaxes}
    for m, name in enumerate(LAYOUT.names):
        rows[f"most to {name}"] = [softmax for softmax in softmaxes if softmax[m] == max(softmax)]
    rows = {name: mine for name, mine in rows.items() if mine}
    assert weights.experts == LAYOUT.names
    assert [name for name, _, _ in weights.rows] == list(rows)
    for name, count, means in weights.rows:
        assert count == len(rows[name])
        assert means == pytest.approx([sum(column) / count for column in zip(*rows[name])], rel=1e-6)
        assert sum(means) == pytest.approx(100)


@given(seed=SEEDS, method=st.sampled_from(METHODS), scheme=st.sampled_from(["mixture", "motion"]))
def test_what_nothing_can_find_stays_last_whatever_is_normalised(seed, method, scheme):
    assessment = problem(seed, normalise=NormaliseConfig(method=method, neighbours=3))
    matrix = whole_matrix(assessment.scores(scheme, removed=("audio",)))
    available = assessment.gallery.video.available[:, 1 if scheme == "motion" else slice(0, 2)]
    found = available if scheme == "motion" else available.any(1)
    lost = torch.cat([~found, torch.ones(len(assessment.gallery.without_stream), dtype=torch.bool)])
    if lost.any():
        assert len(matrix[:, lost].unique()) == 1
        if not lost.all():
            assert matrix[:, lost].max() < matrix[:, ~lost].min()


@given(seed=SEEDS, scheme=st.sampled_from(["mixture", "audio"]), removed=st.sampled_from([(), ("motion",)]))
def test_the_bank_is_scored_as_the_queries_are(seed, scheme, removed):
    for config, make in (
        (NormaliseConfig(method="qb-norm", beta=5.0), lambda bank: qb_norm(bank, 5.0)),
        (NormaliseConfig(method="nnn", neighbours=4, alpha=0.5), lambda bank: nnn(bank, 4, 0.5)),
    ):
        assessment = problem(seed, normalise=config)
        video, without = assessment.gallery.video, len(assessment.gallery.without_stream)
        settings = {"scheme": scheme, "removed": removed, "without_stream": without}
        plain = partial(MixtureScores, video=video, layout=LAYOUT, **settings)
        expected = make(plain(assessment.bank))
        scores = assessment.scores(scheme, removed)
        raw = whole_matrix(plain(assessment.text))
        changes = torch.ones(len(raw)) if expected.active is None else expected.active[raw.argmax(1)].float()
        found = raw.amax(0) > -2
        shifted = raw - changes[:, None] * expected.offset
        torch.testing.assert_close(whole_matrix(scores)[:, found], shifted[:, found])


@pytest.mark.parametrize("method", METHODS)
def test_normalised_blocks_stay_within_the_margin(method):
    scores = problem(5, normalise=NormaliseConfig(method=method)).scores()
    assert (scores.block(slice(0, scores.queries)) - whole_matrix(scores)).abs().max() <= scores.margin
