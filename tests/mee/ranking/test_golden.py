"""The golden rank figures, through blocks; NaN is refused."""

import math

import pytest
import torch

from mee.evaluation.metrics import retrieval_metrics
from mee.ranking.rank import rank_queries
from tests.mee.whole_scores import WholeScores, positives_of

WAYS = {"t2v": "t2v_rows_are_queries", "v2t": "v2t_columns_are_queries"}


def cases(load_golden):
    for name, case in load_golden("retrieval_metrics.json")["cases"].items():
        rows = [[float(value) for value in row] for row in case["scores"]]
        yield name, torch.tensor(rows, dtype=torch.float64), case


@pytest.mark.parametrize("margin", [0.0, 1e-9])
def test_every_finite_case_is_reproduced_ties_and_all(load_golden, margin):
    done = 0
    for name, matrix, case in cases(load_golden):
        if not matrix.isfinite().all():
            continue
        ranking = rank_queries(WholeScores(matrix, margin), positives_of(torch.eye(len(matrix)).bool()))
        for way, key in WAYS.items():
            golden, ranks = case[key]["correct"]["mean"], getattr(ranking, way)
            assert ranks.rank.tolist() == golden["ranks"], name
            figures = retrieval_metrics(ranks.rank, ranks.gain)
            for ours, theirs in (("R@1", "R1"), ("R@5", "R5"), ("R@10", "R10")):
                assert figures[ours] == pytest.approx(100 * golden[theirs]), name
            assert (figures["MedR"], figures["MeanR"]) == pytest.approx((golden["MedR"], golden["MeanR"])), name
        done += 1
    assert done >= 10


def test_nan_never_becomes_a_rank(load_golden):
    spoilt = [matrix for _, matrix, _ in cases(load_golden) if matrix.isnan().any()]
    assert len(spoilt) >= 3
    for matrix in spoilt:
        with pytest.raises(ValueError, match="NaN has no rank"):
            rank_queries(WholeScores(matrix), positives_of(torch.eye(len(matrix)).bool()))


def test_several_captions_a_video(load_golden):
    case = load_golden("retrieval_metrics.json")["multi_caption"]
    matrix = torch.tensor(case["scores"], dtype=torch.float64)
    owner = torch.tensor(case["caption_owner"])
    ranking = rank_queries(WholeScores(matrix), positives_of(torch.eye(matrix.shape[1]).bool()[owner]))
    assert ranking.t2v.rank.tolist() == case["t2v_ranks"]
    assert ranking.v2t.rank.tolist() == case["v2t_best_caption_ranks"]
    assert not math.isnan(ranking.t2v.gain.sum())
