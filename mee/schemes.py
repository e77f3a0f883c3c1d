"""Ways to score that an evaluation sets beside the mixture, each showing what one part of it is worth.

mixture         s(q, v) as in mee.scoring
uniform         the same with l = 0: every expert that the clip has counts alike
ignore-missing  sum over A(v) of w_m <t_m, x_m> with w = softmax over *all* experts: missing streams count as zeros
<modality>      <t_m, x_m> of one expert alone; clips without that stream share the last place
"""

from __future__ import annotations

import torch
from torch import Tensor

from mee.config import SCHEMES
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.scoring import mee_scores

MIXTURE, UNIFORM, IGNORE_MISSING = SCHEMES
UNSCORABLE = -2.0  # below every score


def schemes(layout: Layout) -> tuple[str, ...]:
    """Every scheme of a model, the mixture first."""
    return (MIXTURE, *layout.names, UNIFORM, IGNORE_MISSING)


def score_by(scheme: str, text: TextEmbedding, video: VideoEmbedding, layout: Layout) -> Tensor:
    """(Q, G) scores by one of `schemes(layout)`."""
    if scheme == MIXTURE:
        return mee_scores(text.packed, video.packed, text.logits, video.available, layout)
    if scheme == UNIFORM:
        return mee_scores(text.packed, video.packed, torch.zeros_like(text.logits), video.available, layout)
    if scheme == IGNORE_MISSING:
        scores = mee_scores(text.packed, video.packed, text.logits, video.available, layout)
        return scores * (text.logits.softmax(-1) @ video.available.to(scores).T)
    columns = layout.slices[layout.names.index(scheme)]
    present = video.available[:, layout.names.index(scheme)]
    scores = text.packed.new_full((len(text.packed), len(video.packed)), UNSCORABLE)
    scores[:, present] = text.packed[:, columns] @ video.packed[present, columns].T
    return scores
