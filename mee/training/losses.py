"""What training minimises, on the scores S of B captions against the clips they belong to, of all processes.

    max-margin:  1/n * sum over i != j of  [m + S_ij - S_ii]+  +  [m + S_ji - S_ii]+
    InfoNCE:     -1/2B * sum over i of  log softmax_j(S_ij / T)[i] + log softmax_j(S_ji / T)[i]

Max-margin: Miech, Laptev, Sivic (arXiv 1804.02516), section 3, as the mean over the n terms of negatives; their
own code takes the mean over all 2 B^2 terms, of which the 2 B on the diagonal are the margin itself:

    m / B + (B - 1) / B * (mean over the terms off the diagonal)

`over_all` selects that: its value and its gradients are the published ones. InfoNCE: van den Oord et al. (arXiv
1807.03748), equation 4, both directions, T learned within [0.01, 1]. Pairs (i, j) that truly match, as far as any
caption says, are no negatives of each other (mee.training.data). Negatives come from every process, and several
processes give the gradients of one (mee.distributed).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mee.distributed import joint_rows, joint_streams
from mee.model import MEE
from mee.scoring import mee_scores
from mee.streams import Clips, Sentences
from mee.training.config import TrainConfig

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 1.0


class MaxMarginLoss(nn.Module):
    """Bidirectional ranking loss over all negatives of a batch."""

    def __init__(self, margin: float, *, over_all: bool = False) -> None:
        super().__init__()
        self.margin, self.over_all = margin, over_all

    def figures(self) -> dict[str, float]:
        """Learned values, to log: none."""
        return {}

    def forward(self, scores: Tensor, negative: Tensor) -> Tensor:
        """(B, B) scores, pairs on the diagonal; (B, B) bool, True where (i, j) is a negative. -> scalar."""
        right = scores.diagonal()
        t2v = (self.margin + scores - right[:, None]).relu()
        v2t = (self.margin + scores - right[None, :]).relu()
        total = (t2v + v2t).masked_fill(~negative, 0).sum()
        if self.over_all:
            return (total + 2 * len(scores) * self.margin) / (2 * len(scores) ** 2)
        return total / (2 * negative.sum()).clamp(min=1)


class InfoNCELoss(nn.Module):
    """Symmetric cross-entropy of the right partner among the negatives, with a learned temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self._clamp()

    @property
    def temperature(self) -> Tensor:
        """T, in [0.01, 1]."""
        return self.log_temperature.exp()

    def figures(self) -> dict[str, float]:
        """Learned values, to log: the temperature."""
        self._clamp()  # a step may have left the bounds
        return {"temperature": float(self.temperature.detach())}

    @torch.no_grad()
    def _clamp(self) -> None:
        """Keep the parameter itself in bounds, so that its gradient never vanishes there."""
        self.log_temperature.clamp_(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))

    def forward(self, scores: Tensor, negative: Tensor) -> Tensor:
        """(B, B) scores, pairs on the diagonal; (B, B) bool, True where (i, j) is a negative. -> scalar."""
        self._clamp()
        pair = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        logits = (scores / self.temperature).masked_fill(~(negative | pair), -torch.inf)
        t2v, v2t = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
        return -(t2v.mean() + v2t.mean()) / 2


def make_loss(config: TrainConfig) -> MaxMarginLoss | InfoNCELoss:
    """The loss that the settings name."""
    if config.loss == "max-margin":
        return MaxMarginLoss(config.margin, over_all=config.margin_mean == "all")
    return InfoNCELoss(config.temperature)


class TrainingStep(nn.Module):
    """Model and loss as one module, so that wrappers for several devices wrap both."""

    def __init__(self, model: MEE, loss: MaxMarginLoss | InfoNCELoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, sentences: Sentences, clips: Clips, negative: Tensor) -> Tensor:
        """Loss of a batch, a scalar that is the same in every process.

        Sentences and clips are this process's share of the B pairs; `negative` is (B, B) bool of the whole batch.
        """
        text, video = self.model.encode_text(sentences), self.model.encode_video(clips)
        device, rows = text.packed.device, len(negative)
        with torch.autocast(device.type, enabled=False):  # similarities near 1 need all their digits
            packed, logits, offsets, clip = (
                joint_rows(part if part.dtype == torch.float64 else part.float(), rows)
                for part in (text.packed, text.logits, text.offsets, video.packed)
            )
            available = joint_rows(video.available, rows)
            words = {name: joint_streams(streams, rows) for name, streams in video.words.items()}
            scores = mee_scores(packed, clip, logits, available, self.model.layout, offsets, words)
            value: Tensor = self.loss(scores, negative.to(device))
        return value
