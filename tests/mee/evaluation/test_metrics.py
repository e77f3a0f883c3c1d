"""Ranks and figures: against golden double loops, and the laws that real slips have broken."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.metrics import expected_ranks, retrieval_metrics

SEEDS = st.integers(0, 2**31)
DIRECTIONS = ("t2v_rows_are_queries", "v2t_columns_are_queries")


def tied_case(seed, queries=7, candidates=9):
    """Few distinct values, so that ties abound; each query with one to three right answers."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(4, (queries, candidates), generator=generator).float() / 4
    positive = torch.rand(queries, candidates, generator=generator) < 0.2
    positive[torch.arange(queries), torch.randint(candidates, (queries,), generator=generator)] = True
    return scores, positive


def loop_ranks(scores, positive):
    ranks = []
    for row, right in zip(scores.tolist(), positive.tolist()):
        best = max(score for score, is_right in zip(row, right) if is_right)
        wrong = [score for score, is_right in zip(row, right) if not is_right]
        ranks.append(1 + sum(s > best for s in wrong) + sum(s == best for s in wrong) / 2)
    return torch.tensor(ranks, dtype=torch.float64)


def test_ranks_and_figures_match_golden(load_golden):
    for name, case in load_golden("retrieval_metrics.json")["cases"].items():
        scores = torch.tensor([[float(score) for score in row] for row in case["scores"]], dtype=torch.float64)
        for direction, matrix in zip(DIRECTIONS, (scores, scores.T)):
            positive = torch.eye(len(scores), dtype=torch.bool)
            if matrix.isnan().any():
                with pytest.raises(ValueError, match="NaN"):
                    expected_ranks(matrix, positive)
                continue
            golden = case[direction]["correct"]["mean"]
            ranks = expected_ranks(matrix, positive)
            assert ranks.tolist() == golden["ranks"], name
            figures = retrieval_metrics(ranks)
            for ours, theirs in (("R@1", "R1"), ("R@5", "R5"), ("R@10", "R10")):
                assert figures[ours] == pytest.approx(100 * golden[theirs]), name
            assert figures["MedR"] == pytest.approx(golden["MedR"]), name
            assert figures["MeanR"] == pytest.approx(golden["MeanR"]), name


def test_several_captions_of_a_video_match_golden(load_golden):
    case = load_golden("retrieval_metrics.json")["multi_caption"]
    scores = torch.tensor(case["scores"])
    positive = torch.tensor(case["caption_owner"])[:, None] == torch.arange(scores.shape[1])
    assert expected_ranks(scores, positive).tolist() == case["t2v_ranks"]
    assert expected_ranks(scores.T, positive.T).tolist() == case["v2t_best_caption_ranks"]


@given(SEEDS)
def test_ranks_equal_a_loop_over_the_rule(seed):
    scores, positive = tied_case(seed)
    assert expected_ranks(scores, positive).equal(loop_ranks(scores, positive))


@given(SEEDS, st.permutations(range(7)), st.permutations(range(9)))
def test_permuting_queries_or_gallery_changes_nothing(seed, queries, candidates):
    scores, positive = tied_case(seed)
    ranks = expected_ranks(scores[queries][:, candidates], positive[queries][:, candidates])
    assert ranks.equal(expected_ranks(scores, positive)[queries])


@given(SEEDS)
def test_a_rising_function_of_the_scores_changes_nothing(seed):
    scores, positive = tied_case(seed)
    assert expected_ranks(scores.exp() * 7, positive).equal(expected_ranks(scores, positive))


@pytest.mark.parametrize("size", [2, 10, 101])
def test_a_constant_matrix_never_earns_a_perfect_score(size):
    ranks = expected_ranks(torch.full((size, size), 0.3), torch.eye(size, dtype=torch.bool))
    assert ranks.unique().tolist() == [(size + 1) / 2]
    assert retrieval_metrics(ranks)["R@1"] == 0


def test_ties_decided_at_random_earn_the_expected_rank():
    scores, positive = tied_case(2)
    generator = torch.Generator().manual_seed(0)
    drawn = [
        expected_ranks(scores.double() + 1e-6 * torch.rand(scores.shape, generator=generator), positive)
        for _ in range(400)
    ]
    one = positive.sum(1) == 1  # with several right answers the best of the tied ones wins more often
    torch.testing.assert_close(
        torch.stack(drawn).mean(0)[one], expected_ranks(scores, positive)[one], atol=0.3, rtol=0
    )


def test_duplicated_wrong_answers_share_their_places_with_the_right_one():
    scores = torch.tensor([[0.5, 0.5, 0.5, 0.9, 0.1]])
    positive = torch.tensor([[True, False, False, False, False]])
    assert expected_ranks(scores, positive).tolist() == [3.0]
    positive[0, 1] = True  # level with it, but right as well
    assert expected_ranks(scores, positive).tolist() == [2.5]


def test_a_right_answer_at_minus_infinity_still_has_a_rank():
    scores = torch.tensor([[-math.inf, 0.1, -math.inf]])
    assert expected_ranks(scores, torch.tensor([[True, False, False]])).tolist() == [2.5]


def test_a_query_without_a_right_answer_is_refused():
    with pytest.raises(ValueError, match="1 queries have no right answer"):
        expected_ranks(torch.zeros(2, 2), torch.tensor([[True, False], [False, False]]))


@given(st.lists(st.integers(2, 240).map(lambda twice: twice / 2), min_size=1, max_size=30))
def test_figures_equal_numpy(ranks):
    figures = retrieval_metrics(torch.tensor(ranks))
    values = np.asarray(ranks, dtype=np.float64)
    expected = {f"R@{k}": 100 * np.mean(values <= k) for k in (1, 5, 10, 50)}
    expected |= {"MedR": np.median(values), "MeanR": values.mean(), "MRR": 100 * np.mean(1 / values)}
    expected["Geom"] = np.cbrt(expected["R@1"] * expected["R@5"] * expected["R@10"])
    assert figures == pytest.approx(expected)


def test_no_ranks_have_no_figures():
    with pytest.raises(ValueError, match="no query"):
        retrieval_metrics(torch.empty(0))
