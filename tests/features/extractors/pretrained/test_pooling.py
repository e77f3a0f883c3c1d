"""The mean of tokens, each counting for as many patches as it stands for."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from features.extractors.pretrained.runner import mean_token


@given(st.integers(0, 2**31), st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_a_merged_token_counts_as_the_patches_it_was(seed, sizes):
    tokens = torch.randn(2, 1 + len(sizes), 4, generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor([1, *sizes])
    apart = tokens.repeat_interleave(counts, 1)
    torch.testing.assert_close(mean_token(tokens, counts.expand(2, -1).float(), 1), mean_token(apart, None, 1))


def test_half_precision_is_averaged_in_single():
    tokens = torch.full((1, 4097, 1), 1.0, dtype=torch.bfloat16)
    assert mean_token(tokens, None).item() == 1.0
    assert mean_token(tokens, None).dtype == torch.float32
