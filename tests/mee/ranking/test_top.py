"""What may be among the best k is kept, whatever the estimates' errors, and nothing that cannot be."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.ranking.top import Best, above, first_of


@given(
    seed=st.integers(0, 2**31),
    queries=st.integers(1, 6),
    candidates=st.integers(1, 200),
    k=st.integers(1, 20),
    wide=st.integers(1, 70),
    error=st.sampled_from([0.0, 1e-3, 0.3]),
    shift=st.sampled_from([-3.0, 0.0, 3.0]),
)
def test_no_candidate_of_the_best_k_is_lost(seed, queries, candidates, k, wide, error, shift):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(queries, candidates, generator=generator).mul(8).round().div(8) + shift  # many are equal
    noise = error * (2 * torch.rand(queries, candidates, generator=generator) - 1)
    margin = torch.full((queries,), error + 1e-5)
    best = Best(queries, k, margin)
    for start in range(0, candidates, wide):
        best.update((scores + noise)[:, start : start + wide], start)
    query, candidate, estimate = best.candidates()
    assert (query.diff() >= 0).all()
    for number in range(queries):
        kept = candidate[query == number].tolist()
        assert len(kept) == len(set(kept))
        least = scores[number].sort(descending=True).values[min(k, candidates) - 1]
        assert set((scores[number] >= least).nonzero().squeeze(1).tolist()) <= set(kept)
        its = estimate[query == number]
        assert (its.diff() <= 0).all()
        kth = (scores + noise)[number].sort(descending=True).values[min(k, candidates) - 1]
        assert (its >= kth - 2 * margin[0] - 1e-5).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@given(seed=st.integers(0, 2**31), offset=st.sampled_from([-5.0, 0.0, 5.0]), hidden=st.floats(0, 1))
def test_above_is_a_comparison(kind, seed, offset, hidden):
    generator = torch.Generator().manual_seed(seed)
    block = (torch.randn(5, 40, generator=generator) + offset).to(kind)
    block[torch.rand(5, 40, generator=generator) < hidden] = -torch.inf
    least = (torch.randn(5, generator=generator) + offset).to(kind if kind == torch.float64 else torch.float32)
    least[0] = -torch.inf
    row, column = above(block, least)
    passed = set(zip(row.tolist(), column.tolist()))
    sure = (block.to(least.dtype) >= least[:, None]) & (block > -torch.inf)
    assert passed >= set(map(tuple, sure.nonzero().tolist()))
    lower = least - least.abs() * 2.0**-7 if kind == torch.bfloat16 else least  # bfloat16 is compared rounded down
    may = (block.to(least.dtype) >= lower[:, None]) & (block > -torch.inf)
    assert passed <= set(map(tuple, may.nonzero().tolist()))
    assert (row.diff() >= 0).all()


def test_the_first_of_each_query_and_nothing_that_cannot_be_found():
    query = torch.from_numpy(np.repeat([0, 1, 2], [3, 2, 4]))
    assert first_of(query, 3, 2).tolist() == [[0, 1], [3, 4], [5, 6]]
    best = Best(2, 3, torch.zeros(2))
    best.update(torch.tensor([[-torch.inf, 1.0], [-torch.inf, -torch.inf]]), 0)
    query, candidate, _ = best.candidates()
    assert (query.tolist(), candidate.tolist()) == ([0], [1])
