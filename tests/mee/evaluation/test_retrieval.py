"""A model's captions against its gallery, and what each part of it contributes: loops over the equation."""

from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.data.pairs import Pairs, match_captions
from mee.encode import Gallery, encode_captions, encode_gallery
from mee.errors import InputError
from mee.evaluation.config import NormaliseConfig
from mee.evaluation.metrics import retrieval_metrics
from mee.evaluation.retrieval import Retrieval, right_clips
from mee.layout import Layout
from mee.model import VideoEmbedding
from mee.ranking.mixture import MixtureScores, schemes
from mee.ranking.normalise import nnn, qb_norm
from mee.ranking.rank import CONVENTIONS, group_bounds, rank_queries
from mee.ranking.scores import Positives
from tests.mee.whole_scores import expected_ranks, loop_scores, random_text, random_video, unit_rows, whole_matrix

SEEDS = st.integers(0, 2**31)
LAYOUT = Layout(("appearance", "motion", "audio"), (3, 2, 4))
METHODS = ("qb-norm", "nnn", "dsl")


def problem(seed, layout=LAYOUT, **fields):
    """Clips with any streams, some with none; one to three captions each."""
    generator = torch.Generator().manual_seed(seed)
    clips, without = (int(torch.randint(*span, (), generator=generator)) for span in ((1, 9), (0, 3)))
    video = random_video(generator, clips, layout)
    gallery = Gallery(tuple(f"c{n}" for n in range(clips)), video, tuple(f"n{n}" for n in range(without)))
    counts = torch.randint(1, 4, (clips + without,), generator=generator)
    own = torch.arange(clips + without).repeat_interleave(counts)
    text, bank = (random_text(generator, count, layout) for count in (len(own), 9))
    positives = Positives(torch.arange(len(own)), own, len(own), clips + without)
    return Retrieval(layout=layout, text=text, gallery=gallery, positives=positives, bank=bank, **fields)


def check(retrieval, row, scheme="mixture", removed=()):
    """Both ways by loops; what cannot be scored ties with all else that cannot, below the rest."""
    positives, nothing = retrieval.positives, -9.0
    matrix = torch.full((positives.queries, positives.candidates), nothing)
    found = loop_scores(retrieval.text, retrieval.gallery.video, retrieval.layout, scheme, removed, nothing)
    matrix[:, : found.shape[1]] = found
    right = torch.zeros(matrix.shape, dtype=torch.bool)
    right[positives.query, positives.candidate] = True
    for metrics, scores, own in ((row.text_to_video, matrix, right), (row.video_to_text, matrix.T, right.T)):
        figures = retrieval_metrics(expected_ranks(scores, own))
        assert {name: metrics[name] for name in figures} == pytest.approx(figures)
        assert "nDCG@10" in metrics


def test_rows_of_one_id_and_caption_are_one_query_with_all_of_their_clips(model, source):
    columns = {"query_id": ["q1", "q2", "q1", "q1"], "caption": ["rain", "rain", "rain", "a dog"]}
    table = pd.DataFrame({"video_id": [f"v{n:02d}.mp4" for n in (0, 1, 2, 3)], **columns})
    pairs, _ = match_captions(table, source, partial=False)
    numbers, positives = right_clips(pairs, gallery := encode_gallery(model, source, pairs.gallery))
    right = {number: set() for number in numbers.tolist()}
    for query, clip in zip(positives.query.tolist(), positives.candidate.tolist()):
        right[int(numbers[query])].add(gallery.names[clip])
    assert right == {0: {"v00.mp4", "v02.mp4"}, 1: {"v01.mp4"}, 3: {"v03.mp4"}}
    assert Retrieval.of(model, gallery, pairs).measure(answers=True).judgments == 4


@pytest.mark.parametrize("rule", ["evidence", "renormalise"])
@given(seed=SEEDS)
def test_removed_streams_and_schemes_are_scored_by_the_equation(rule, seed):
    retrieval = problem(seed, layout := replace(LAYOUT, missing=rule))
    video, without = retrieval.gallery.video, len(retrieval.gallery.without_stream)
    removed, others = ({row.name: row for row in rows} for rows in (retrieval.removed(), retrieval.schemes()))
    assert list(removed) == list(LAYOUT.names)
    for m, (name, row) in enumerate(removed.items()):
        check(retrieval, row, removed=(name,))
        available = video.available.clone()
        available[:, m] = False  # a gallery that never had it, to the last bit
        never = VideoEmbedding(video.packed, available)
        ranking = rank_queries(
            MixtureScores(retrieval.text, never, layout, without_stream=without), retrieval.positives
        )
        assert row.text_to_video == retrieval_metrics(ranking.t2v.rank, ranking.t2v.gain)
        assert row.video_to_text == retrieval_metrics(ranking.v2t.rank, ranking.v2t.gain)
    assert ("mixture", *others) == schemes(layout)
    for name, row in others.items():
        check(retrieval, row, name)


@pytest.mark.parametrize("v2t", CONVENTIONS)
def test_the_convention_holds_for_every_row_and_a_lone_expert_is_not_removed(v2t):
    retrieval = problem(11, v2t=v2t)
    ranking = rank_queries(retrieval.scores("uniform"), retrieval.positives, v2t=v2t)
    row = next(row for row in retrieval.schemes() if row.name == "uniform")
    assert row.video_to_text == retrieval_metrics(ranking.v2t.rank, ranking.v2t.gain)
    lone = problem(3, Layout(("appearance",), (4,)), v2t=v2t)
    assert lone.removed() == ()
    assert [row.name for row in lone.schemes()] == ["appearance", "uniform", "renormalise"]


@given(SEEDS)
def test_patterns_divide_the_queries_among_them(seed):
    retrieval = problem(seed)
    ranking = rank_queries(retrieval.scores(), retrieval.positives)
    patterns = retrieval.patterns(ranking)
    available = retrieval.gallery.video.available.tolist()
    streams_of = [tuple(name for name, has in zip(LAYOUT.names, row) if has) for row in available]
    streams_of += [()] * len(retrieval.gallery.without_stream)
    assert {pattern.streams for pattern in patterns} == set(streams_of)
    assert sum(pattern.queries for pattern in patterns) == retrieval.positives.queries
    assert sum(pattern.clips for pattern in patterns) == len(streams_of)
    assert [-pattern.queries for pattern in patterns] == sorted(-pattern.queries for pattern in patterns)
    for pattern in patterns:
        mine = [streams_of[clip] == pattern.streams for clip in retrieval.positives.candidate.tolist()]
        ranks, gains = ranking.t2v.rank[torch.tensor(mine)], ranking.t2v.gain[torch.tensor(mine)]
        assert pattern.queries == sum(mine)
        assert pattern.clips == streams_of.count(pattern.streams)
        assert pattern.text_to_video == retrieval_metrics(ranks, gains)


def test_a_pattern_without_queries_is_left_out_and_the_first_right_clip_counts():
    generator = torch.Generator().manual_seed(1)
    available = torch.tensor([[True, True, True], [True, False, False], [False, False, True]])
    video = VideoEmbedding(unit_rows(generator, 3, LAYOUT), available)
    positives = Positives(torch.tensor([2, 0, 2]), torch.tensor([1, 0, 0]), 3, 3)  # query 1 has none
    changed = {"text": random_text(generator, 3, LAYOUT), "positives": positives}
    retrieval = replace(problem(0), gallery=Gallery(("a", "b", "c"), video, ()), **changed)
    patterns = retrieval.patterns(rank_queries(retrieval.scores(), positives))
    found = [(pattern.streams, pattern.queries) for pattern in patterns]
    assert found == [(("appearance",), 1), (("appearance", "motion", "audio"), 1)]


@given(SEEDS)
def test_weights_are_mean_softmaxes_in_percent(seed):
    retrieval = problem(seed)
    weights = retrieval.weights()
    softmaxes = (100 * retrieval.text.logits.double().softmax(1)).tolist()
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
    retrieval = problem(seed, normalise=NormaliseConfig(method=method, beta=20.0, neighbours=3, alpha=0.75))
    matrix = whole_matrix(retrieval.scores(scheme, removed=("audio",)))
    available = retrieval.gallery.video.available[:, 1 if scheme == "motion" else slice(0, 2)]
    found = available if scheme == "motion" else available.any(1)
    lost = torch.cat([~found, torch.ones(len(retrieval.gallery.without_stream), dtype=torch.bool)])
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
        retrieval = problem(seed, normalise=config)
        video, without = retrieval.gallery.video, len(retrieval.gallery.without_stream)
        settings = {"scheme": scheme, "removed": removed, "without_stream": without}
        plain = partial(MixtureScores, video=video, layout=LAYOUT, **settings)
        expected = make(plain(retrieval.bank))
        scores = retrieval.scores(scheme, removed)
        raw = whole_matrix(plain(retrieval.text))
        changes = torch.ones(len(raw)) if expected.active is None else expected.active[raw.argmax(1)].float()
        found = raw.amax(0) > -2
        shifted = raw - changes[:, None] * expected.offset
        torch.testing.assert_close(whole_matrix(scores)[:, found], shifted[:, found])


# ---- captions and their right clips

CLIPS = ("a", "b", "c", "d")


def gallery_of(clip_ids, without_stream=()):
    video = VideoEmbedding(torch.zeros(len(clip_ids), 1), torch.ones(len(clip_ids), 1, dtype=torch.bool))
    return Gallery(tuple(clip_ids), video, tuple(without_stream))


def pairs_of(*clip_ids):
    return Pairs(tuple(f"caption {n}" for n in range(len(clip_ids))), ("v",) * len(clip_ids), clip_ids)


@given(
    st.lists(st.lists(st.sampled_from((*CLIPS, "elsewhere")), min_size=1, max_size=3, unique=True), max_size=12),
    st.integers(0, len(CLIPS)),
)
def test_every_caption_with_a_clip_in_the_gallery_is_ranked_once(rights, count):
    gallery, pairs = gallery_of(CLIPS[:count], CLIPS[count:]), pairs_of(*map(tuple, rights))
    expected = [n for n, right in enumerate(rights) if set(right) & set(CLIPS)]
    if not expected:
        with pytest.raises(InputError, match="none of the captions"):
            right_clips(pairs, gallery)
        return
    numbers, positives = right_clips(pairs, gallery)
    assert sorted(numbers.tolist()) == expected
    assert (positives.queries, positives.candidates) == (len(expected), len(CLIPS))
    found = [set() for _ in expected]
    for query, candidate in zip(positives.query.tolist(), positives.candidate.tolist()):
        found[query].add(CLIPS[candidate])
    assert found == [set(rights[number]) & set(CLIPS) for number in numbers.tolist()]
    group_bounds(positives)  # captions of the same clips are side by side, or this refuses
    for one, other in zip(numbers.tolist(), numbers.tolist()[1:]):
        assert one < other or rights[one] != rights[other]  # captions of one clip keep their order
    numbers, positives = right_clips(pairs_of(("b",), ("a",), ("b",), ("a",)), gallery_of(["a", "b"]))
    assert (numbers.tolist(), positives.candidate.tolist()) == ([1, 3, 0, 2], [0, 0, 1, 1])


# ---- a model's captions and gallery


@pytest.fixture
def long_source(make_source):
    return make_source([f"v{number}.mp4" for number in range(5)], clips_of_video=3, seed=2)


@pytest.fixture
def pairs(long_source):
    """Whole videos and single clips, several captions each, one sentence twice."""
    rows = [(f"v{number % 5}", f"a dog number {number % 7}") for number in range(9)]
    rows += [("v1.mp4#t=10,20", "a red circle"), ("v2.mp4#t=0,10", "a dog number 2")]
    return match_captions(pd.DataFrame(rows, columns=["video_id", "caption"]), long_source, partial=False)[0]


def whole_matrix_figures(model, gallery, pairs, scheme="mixture"):
    """Both ways, by the definition of ranks on the whole matrix."""
    text = encode_captions(model, pairs.captions)
    matrix = whole_matrix(MixtureScores(text, gallery.video, model.layout, scheme=scheme))
    positive = torch.tensor([[clip_id in own for clip_id in gallery.clip_ids] for own in pairs.clip_ids])
    ranked, captioned = positive.any(1), positive.any(0)
    matrix, positive = matrix[ranked], positive[ranked]
    back = expected_ranks(matrix.T[captioned], positive.T[captioned])
    return [retrieval_metrics(ranks) for ranks in (expected_ranks(matrix, positive), back)]


@pytest.mark.parametrize(("captioned", "shown"), [("01234", "01234"), ("01234", "13"), ("0", "01234")])
def test_figures_equal_those_of_the_whole_matrix(model, long_source, pairs, captioned, shown):
    """Captions whose clips are not in the gallery are left out; clips without captions are no queries."""
    gallery = encode_gallery(model, long_source, [i for i in long_source.clips.index if i[1] in shown])
    pairs = pairs.of_videos({f"v{number}.mp4" for number in captioned})
    retrieval = Retrieval.of(model, gallery, pairs)
    plain = retrieval.measure()
    assert plain.t2v.queries == sum(video[1] in shown for video in pairs.videos)
    assert plain.t2v.candidates == 3 * len(shown)
    for scheme in schemes(model.layout):
        measured = retrieval.measure(scheme)
        expected = whole_matrix_figures(model, gallery, pairs, scheme)
        for ours, figures in zip((measured.t2v, measured.v2t), expected):
            assert {name: ours.metrics[name] for name in figures} == pytest.approx(figures)


def test_a_clip_without_any_stream_is_not_found_and_its_caption_counts(model, source):
    for streams in source.streams.values():
        streams.pop("v03.mp4", None)
    table = pd.DataFrame({"video_id": source.clips["video"], "caption": "a dog"})
    pairs, _ = match_captions(table, source, partial=False)
    gallery = encode_gallery(model, source, pairs.gallery)
    text = encode_captions(model, pairs.captions)
    measured = Retrieval.of(model, gallery, pairs, text=text, clips=source.clips).measure(answers=True)
    assert (measured.t2v.queries, measured.t2v.candidates, gallery.without_stream) == (12, 12, ("v03.mp4",))
    assert measured.v2t.metrics["MeanR"] == 6.5  # one sentence for all: every caption ties with every other
    worst = measured.answers.examples(descending=True)[0]
    assert (worst.rank, worst.right.clip_id, worst.right.video) == (12, "v03.mp4", "v03.mp4")
    unnamed = measured.t2v.model_copy(update={"ranks": ()})
    assert Retrieval.of(model, gallery, pairs).measure().t2v == unnamed
