"""The mean of tokens, each counting for as many patches as it stands for.

    mean = sum over n of s_n x_n / sum over n of s_n,   s_n = 1 where nothing is merged

Bolya et al., *Token Merging*, section 3.
"""

from __future__ import annotations

from torch import Tensor


def mean_token(states: Tensor, sizes: Tensor | None, first: int = 0) -> Tensor:
    """Average a layer's states.

    Args:
        states: (B, N, D), any float type.
        sizes: (B, N) how many patches each token stands for; None: one each.
        first: tokens at the start that are no patches: class and register tokens.

    Returns:
        (B, D) float32
    """
    patches = states[:, first:].float()
    if sizes is None:
        return patches.mean(1)
    weights = sizes[:, first:, None].float()
    return (patches * weights).sum(1) / weights.sum(1)
