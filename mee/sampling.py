"""Which captions an epoch shows, in which order.

Every caption of every video once, or `captions_per_video` of each, drawn at random; and with image captions beside
them min(images, image_rate * videos) fresh random images, one caption each, shuffled in (Miech, Laptev, Sivic,
arXiv 1804.02516, section 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mee.train_config import TrainConfig


def draw_captions(video: Tensor, image: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Draw one epoch.

    Args:
        video: (N,) int64, which video or image each caption belongs to.
        image: (N,) bool, True at captions of images.
        config: its captions_per_video and image_rate count.
        generator: of the draw.

    Returns:
        (n,) int64 numbers of captions, shuffled; n is `drawn(video, image, config)`.
    """
    numbers = torch.randperm(len(video), generator=generator)
    of_image = image[numbers]
    moving, still = numbers[~of_image], numbers[of_image]
    if config.captions_per_video:
        moving = moving[_place(video[moving]) < config.captions_per_video]
    if not len(still):
        return moving
    still = still[_place(video[still]) < 1]  # one random caption of each image
    some = torch.randperm(len(still), generator=generator)  # those with more captions came earlier
    still = still[some[: _images(video, image, config)]]
    both = torch.cat([moving, still])
    return both[torch.randperm(len(both), generator=generator)]


def drawn(video: Tensor, image: Tensor, config: TrainConfig) -> int:
    """How many captions an epoch shows."""
    of_video = video[~image].unique(return_counts=True)[1]
    if config.captions_per_video:
        of_video = of_video.clamp(max=config.captions_per_video)
    return int(of_video.sum()) + min(len(video[image].unique()), _images(video, image, config))


def _images(video: Tensor, image: Tensor, config: TrainConfig) -> int:
    """How many images an epoch shows at most."""
    return int(config.image_rate * len(video[~image].unique()) + 0.5)


def _place(owner: Tensor) -> Tensor:
    """(n,) -> (n,): how many of the same owner stand before each."""
    order = owner.argsort(stable=True)
    _, counts = owner[order].unique_consecutive(return_counts=True)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(owner).scatter_(0, order, torch.arange(len(owner)) - first)
