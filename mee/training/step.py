"""One training step's loss: of the whole batch, whichever process holds which part of it.

    loss = L(S),   S_ij = s(caption i, clip j) for all captions and clips of all processes

so that negatives come from every process, and several processes give the gradients of one (mee.distributed).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mee.distributed import joint_rows
from mee.model import MEE
from mee.scoring import mee_scores
from mee.streams import Clips, Sentences
from mee.training.losses import InfoNCELoss, MaxMarginLoss


class TrainingStep(nn.Module):
    """Model and loss as one module, so that what wraps modules for several devices wraps both."""

    def __init__(self, model: MEE, loss: MaxMarginLoss | InfoNCELoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, sentences: Sentences, clips: Clips, negative: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            sentences: this process's share of the B captions.
            clips: of its clips, in the same order.
            negative: (B, B) bool of the whole batch.

        Returns:
            A scalar, the same in every process.
        """
        text, video = self.model.embed_text(sentences), self.model.encode_video(clips)
        device, rows = text.packed.device, len(negative)
        with torch.autocast(device.type, enabled=False):  # similarities near 1 need all their digits
            packed, logits, clip = (
                joint_rows(_full(part), rows) for part in (text.packed, text.logits, video.packed)
            )
            available = joint_rows(video.available, rows)
            scores = mee_scores(packed, clip, logits, available, self.model.layout)
            value: Tensor = self.loss(scores, negative.to(device))
        return value


def _full(x: Tensor) -> Tensor:
    """In 32 bits at least."""
    return x if x.dtype == torch.float64 else x.float()
