"""Ways to score that an evaluation sets beside the mixture, each showing what one part of it is worth.

    s(q, v) = sum over m in A(v) of w_m <t_m, x_m>

mixture         w = softmax over A(v) of l(q), as in mee.scoring
uniform         the same with l = 0: every expert that the clip has counts alike
ignore-missing  w = softmax over *all* experts: missing streams count as zeros
<modality>      w = 1 for one expert alone; clips without that stream share the last place
"""

from __future__ import annotations

import torch
from torch import Tensor

from mee.config import SCHEMES
from mee.layout import Layout

MIXTURE, UNIFORM, IGNORE_MISSING = SCHEMES
UNSCORABLE = -2.0  # below every score


def schemes(layout: Layout) -> tuple[str, ...]:
    """Every scheme of a model, the mixture first."""
    return (MIXTURE, *layout.names, UNIFORM, IGNORE_MISSING)


def scheme_weights(scheme: str, logits: Tensor, available: Tensor, layout: Layout) -> Tensor:
    """What each expert counts for.

    Args:
        scheme: one of `schemes(layout)`.
        logits: (…, M) mixture logits.
        available: (…, M) bool, of the clips that they are scored against; the two are broadcast together.
        layout: names the experts.

    Returns:
        (…, M) weights, exactly 0 where an expert is absent; zeros where nothing can be scored.
    """
    if scheme in (MIXTURE, UNIFORM):
        chosen = logits if scheme == MIXTURE else torch.zeros_like(logits)
        weights = torch.where(available, chosen, -torch.inf).softmax(-1)
    elif scheme == IGNORE_MISSING:
        weights = logits.softmax(-1)
    else:
        weights = torch.zeros_like(logits)
        weights[..., layout.names.index(scheme)] = 1
    return torch.where(available, weights, 0)  # not a product: without any stream the softmax is NaN
