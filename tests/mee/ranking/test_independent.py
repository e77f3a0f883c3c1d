"""Ranks and figures against second implementations of well-kept libraries: SciPy's ranks, torchmetrics' figures.

Random problems with ties and with several right answers. torchmetrics breaks ties as its sort happens to, so
figures are compared where nothing ties, and ranks, which SciPy averages over ties, everywhere.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR, RetrievalNormalizedDCG

from mee.evaluation.metrics import retrieval_metrics
from mee.ranking.rank import rank_queries
from tests.mee.whole_scores import WholeScores, positives_of

SEEDS = st.integers(0, 2**31)


def problem(seed, values):
    generator = torch.Generator().manual_seed(seed)
    queries, candidates = torch.randint(2, 40, (2,), generator=generator).tolist()
    positive = torch.rand(queries, candidates, generator=generator) < 0.2
    positive[torch.arange(queries), torch.randint(0, candidates, (queries,), generator=generator)] = True
    if values:
        return torch.randint(0, values, (queries, candidates), generator=generator).float() / 8, positive
    places = [1 + torch.randperm(candidates, generator=generator) for _ in range(queries)]
    return torch.stack(places) / (1 + candidates), positive  # above 0: torchmetrics finds nothing at 0


@given(seed=SEEDS, values=st.sampled_from([1, 2, 5, 50]), margin=st.sampled_from([0.0, 1e-3]))
def test_expected_ranks_are_scipys_average_ranks_among_the_wrong_answers(seed, values, margin):
    matrix, positive = problem(seed, values)
    ranking = rank_queries(WholeScores(matrix, margin, seed), positives_of(positive))
    for ranks, scores, right in ((ranking.t2v, matrix, positive), (ranking.v2t, matrix.T, positive.T)):
        for query, found in zip(ranks.query.tolist(), ranks.rank.tolist()):
            wrong, best = scores[query][~right[query]], scores[query][right[query]].max()
            assert found == rankdata([-best, *(-wrong).tolist()], method="average")[0]


@given(seed=SEEDS)
def test_figures_are_those_of_torchmetrics(seed):
    matrix, positive = problem(seed, 0)
    t2v = rank_queries(WholeScores(matrix), positives_of(positive)).t2v
    figures = retrieval_metrics(t2v.rank, t2v.gain)
    lists = torch.arange(len(matrix)).repeat_interleave(matrix.shape[1])
    theirs = {
        "MRR": RetrievalMRR(),
        "nDCG@10": RetrievalNormalizedDCG(top_k=10),
        **{f"R@{k}": RetrievalHitRate(top_k=k) for k in (1, 5, 10)},
    }
    for name, metric in theirs.items():
        expected = 100 * float(metric(matrix.flatten(), positive.flatten(), indexes=lists))
        assert figures[name] == pytest.approx(expected, abs=1e-3), name
