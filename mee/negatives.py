"""Which captions and clips are no match, as far as any caption says.

Caption i and clip j are no negatives of each other if the video of clip j has the sentence of caption i among its
captions: the same video always, another one if it was said of it too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Negatives:
    """Answers for any batch of captions, each with its own clip."""

    def __init__(self, captions: Sequence[str], video: Tensor) -> None:
        """Take all captions of the training set.

        Args:
            captions: N sentences; case and white space make no difference.
            video: (N,) int64, the video of each.
        """
        plain = [" ".join(caption.lower().split()) for caption in captions]
        number_of = {sentence: number for number, sentence in enumerate(dict.fromkeys(plain))}
        self._sentence = torch.tensor([number_of[sentence] for sentence in plain], dtype=torch.int64)
        self._video, self._videos = video, int(video.max()) + 1 if len(video) else 1
        self._said = (self._sentence * self._videos + video).unique()  # sorted (sentence, video) pairs

    def __call__(self, chosen: Tensor) -> Tensor:
        """(B,) int64 numbers of captions -> (B, B) bool, True where caption i is not true of the clip of j."""
        asked = self._sentence[chosen][:, None] * self._videos + self._video[chosen]
        place = torch.searchsorted(self._said, asked).clamp(max=len(self._said) - 1)
        negative: Tensor = self._said[place] != asked
        return negative
