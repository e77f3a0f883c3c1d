"""A matrix as it is, some of its rows and columns."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.metrics import expected_ranks
from mee.external_scores.matrix_scores import MatrixScores
from mee.external_scores.stored_array import StoredArray
from mee.ranking.positives import Positives
from mee.ranking.rank import rank


def matrix_scores(array):
    query_ids, clip_ids = ([f"{letter}{n}" for n in range(count)] for letter, count in zip("qv", array.shape))
    return MatrixScores(StoredArray(Path("s.npy"), "", array), query_ids, clip_ids)


@given(seed=st.integers(0, 2**31))
def test_some_of_some(seed):
    rng = np.random.default_rng(seed)
    array = rng.normal(size=rng.integers(1, 12, 2)).astype(rng.choice([np.float16, np.float32, np.float64]))
    scores, expected = matrix_scores(array), array
    for _ in range(2):  # what was picked can be picked from
        rows, columns = (
            rng.choice(count, rng.integers(1, count + 1), replace=False)
            for count in (scores.queries, scores.candidates)
        )
        names = [scores.query_ids[row] for row in rows], [scores.clip_ids[column] for column in columns]
        scores, expected = scores.take(rows, columns), expected[rows][:, columns]
        assert (list(scores.query_ids), list(scores.clip_ids)) == names
    assert (scores.queries, scores.candidates) == expected.shape
    start = int(rng.integers(scores.queries))
    assert (scores.block(slice(start, scores.queries)).numpy() == expected[start:]).all()
    query, clip = (torch.tensor(rng.integers(count, size=9)) for count in expected.shape)
    assert (scores.pairs(query, clip).numpy() == expected[query, clip]).all()


def test_a_block_may_be_written_to():
    scores = matrix_scores(np.ones((3, 4), np.float32))
    scores.block(slice(0, 3))[:] = -torch.inf
    assert (scores.block(slice(0, 3)) == 1).all()


@given(seed=st.integers(0, 2**31), kind=st.sampled_from([np.float16, np.float32, np.float64]))
def test_ranks_are_those_of_the_whole_matrix(seed, kind):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 5, (6, 9)).astype(kind)
    positive = rng.random(array.shape) < 0.2
    positive[np.arange(6), rng.integers(9, size=6)] = True
    query, clip = map(torch.from_numpy, np.nonzero(positive))
    ranking = rank(matrix_scores(array), Positives(query, clip, 6, 9))
    assert ranking.t2v.rank.equal(expected_ranks(torch.tensor(array), torch.tensor(positive)))


def test_a_constant_matrix_earns_nothing():
    ranking = rank(
        matrix_scores(np.ones((20, 20), np.float16)), Positives(torch.arange(20), torch.arange(20), 20, 20)
    )
    assert ranking.t2v.rank.tolist() == [10.5] * 20
