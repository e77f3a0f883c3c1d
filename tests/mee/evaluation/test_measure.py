"""One ranking and what is made of it: directions, right answers, the best and the worst queries."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.measure import EXAMPLES, Names, direction_of, measure
from mee.evaluation.metrics import expected_ranks
from mee.ranking.rank import CONVENTIONS, rank
from tests.mee.whole_scores import WholeScores, positives_of

SEEDS = st.integers(0, 2**31)


def names_of(queries, count, clips=None):
    return Names(
        query_ids=[f"q{n}" for n in range(queries)],
        captions=[f"caption {n}" for n in range(queries)],
        clip_ids=[f"c{n}" for n in range(count)],
        clips=clips,
    )


def problem(seed):
    """Few distinct scores, captions of a video side by side, some queries without a right answer."""
    generator = torch.Generator().manual_seed(seed)
    queries, clips = torch.randint(1, 16, (2,), generator=generator).tolist()
    matrix = torch.randint(4, (queries, clips), generator=generator) / 4
    right = torch.rand(queries, clips, generator=generator) < 0.2
    right[-1, int(torch.randint(clips, (), generator=generator))] = True
    return matrix, right


def measured_of(matrix, right, names=None, **options):
    names = names or names_of(*matrix.shape)
    return measure(WholeScores(matrix), positives_of(right), names, **{"resamples": 0, **options})


@given(SEEDS)
def test_every_ranked_query_has_its_best_scored_right_clip_and_its_first_answers(seed):
    matrix, right = problem(seed)
    measured = measured_of(matrix, right)
    asked = right.any(1).nonzero().flatten().tolist()
    assert measured.query_ids == [f"q{query}" for query in asked]
    assert measured.ranking.t2v.rank.equal(expected_ranks(matrix[asked], right[asked]))
    for row, query in enumerate(asked):
        own = right[query].nonzero().flatten().tolist()
        assert int(measured.right[row]) == max(own, key=lambda clip: (matrix[query, clip].item(), -clip))
        assert measured.right_scores[row] == matrix[query, own].max()
        order = sorted(range(matrix.shape[1]), key=lambda clip: (-matrix[query, clip].item(), clip))[:10]
        assert measured.top.candidate[row].tolist() == order
        assert measured.top.score[row].equal(matrix[query, order])


@given(SEEDS)
def test_best_and_worst_are_those_by_rank(seed):
    matrix, right = problem(seed)
    measured = measured_of(matrix, right)
    ranks = measured.ranking.t2v.rank.tolist()
    rising = sorted(range(len(ranks)), key=lambda row: (ranks[row], row))[:EXAMPLES]
    falling = sorted(range(len(ranks)), key=lambda row: (-ranks[row], row))[:EXAMPLES]
    for examples, rows in ((measured.best, rising), (measured.worst, falling)):
        assert [query.query_id for query in examples] == [measured.query_ids[row] for row in rows]
        assert [query.rank for query in examples] == [ranks[row] for row in rows]
        for query, row in zip(examples, rows):
            assert query.caption == f"caption {query.query_id[1:]}"
            assert query.right.clip_id == f"c{int(measured.right[row])}"
            assert query.right.score == measured.right_scores[row]
            assert [clip.clip_id for clip in query.top] == [f"c{n}" for n in measured.top.candidate[row]]
            assert [clip.score for clip in query.top] == measured.top.score[row].tolist()


@pytest.mark.parametrize("v2t", CONVENTIONS)
def test_directions_are_those_of_the_ranking(v2t):
    matrix = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    right = torch.eye(3).bool().repeat_interleave(2, dim=0)
    measured = measured_of(matrix, right, v2t=v2t, resamples=20, seed=5)
    ranking = rank(WholeScores(matrix), positives_of(right), v2t=v2t)
    assert measured.t2v == direction_of(ranking.t2v, resamples=20, seed=5)
    assert measured.v2t == direction_of(ranking.v2t, resamples=20, seed=5)
    assert measured.v2t.candidates == {"closest": 6, "video": 3, "each": 6}[v2t]
    assert measured.v2t.queries == {"closest": 3, "video": 3, "each": 6}[v2t]
    assert measured.t2v.intervals.keys() == measured.t2v.metrics.keys()


def test_one_query_and_one_clip():
    measured = measured_of(torch.tensor([[-0.5]]), torch.tensor([[True]]), resamples=10)
    for direction in (measured.t2v, measured.v2t):
        assert (direction.queries, direction.candidates) == (1, 1)
        assert direction.metrics["R@1"] == direction.metrics["MRR"] == direction.metrics["nDCG@10"] == 100
        assert direction.metrics["MedR"] == direction.metrics["MeanR"] == 1
        assert direction.recall == ((1, 100),)
        assert direction.histogram == (("1", 1),)
    assert measured.best == measured.worst
    assert [answer.clip_id for answer in measured.best[0].top] == ["c0"]


@pytest.mark.parametrize("size", [2, 7, 40])
def test_ties_everywhere_are_chance_both_ways(size):
    measured = measured_of(torch.full((size, size), 0.3), torch.eye(size).bool())
    for direction in (measured.t2v, measured.v2t):
        assert direction.metrics["R@1"] == 0
        assert direction.metrics["MedR"] == direction.metrics["MeanR"] == (size + 1) / 2
    assert [query.query_id for query in measured.best] == [f"q{n}" for n in range(min(size, EXAMPLES))]
    assert measured.best == measured.worst


def test_ten_answers_are_kept_for_each_query():
    measured = measured_of(torch.rand(2, 13), torch.eye(2, 13).bool())
    assert measured.top.candidate.shape == (2, 10)
    assert len(measured.best[0].top) == 10


def test_answers_say_where_to_look_as_far_as_that_is_known():
    clips = pd.DataFrame(
        {"video": ["film.mkv", "other.mkv"], "start_s": [10, 0], "end_s": [20.5, 3]}, index=["c1", "elsewhere"]
    )
    matrix, right = torch.tensor([[0.1, 0.9]]), torch.tensor([[False, True]])
    query = measured_of(matrix, right, names_of(1, 2, clips)).best[0]
    assert query.right.model_dump() == query.top[0].model_dump()
    assert query.right.video == "film.mkv"
    assert (query.right.start_s, query.right.end_s) == (10.0, 20.5)
    assert query.right.score == pytest.approx(0.9)
    assert (query.top[1].video, query.top[1].start_s, query.top[1].end_s) == (None, None, None)


def test_captions_may_be_unknown():
    names = Names(query_ids=["q"], captions=None, clip_ids=["c"])
    assert measured_of(torch.ones(1, 1), torch.tensor([[True]]), names).best[0].caption is None


def test_no_right_answer_at_all_is_refused():
    with pytest.raises(ValueError, match="no query has a right answer among the candidates"):
        measured_of(torch.ones(2, 2), torch.zeros(2, 2).bool())
