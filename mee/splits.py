"""Train, validation and test captions, by the file's split column or by held-out videos; never overlapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mee.captions import SPLITS
from mee.data import FeatureSource
from mee.errors import InputError
from mee.pairs import Pairs, match_captions
from mee.train_config import TrainConfig

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Split:
    """Captions for training and for choosing the epoch."""

    train: Pairs
    val: Pairs
    left_out: tuple[str, ...]  # video ids that are not in the store
    notes: tuple[str, ...]  # what a person should know of it


def split_pairs(table: pd.DataFrame, source: FeatureSource, config: TrainConfig, *, partial: bool) -> Split:
    """Divide captions for training.

    Args:
        table: columns video_id, caption and perhaps split.
        source: where the clips are.
        config: its `validation` share and its seed hold videos out where the table names no validation split.
        partial: leave out captions whose video is not in the source.

    Raises:
        InputError: a video is in two splits, there is nothing to train on, or captions do not match the source.
    """
    notes = []
    if "split" in table:
        by_split, left_out = pairs_by_split(table, source, partial=partial)
        train, val = by_split["train"], by_split["val"]
        if not len(train):
            raise InputError("no caption has split 'train'")
    else:
        train, left_out = match_captions(table, source, partial=partial)
        val = train.of_videos(set())
    if left_out:
        notes.append(f"left out {len(left_out)} captioned videos that are not in {source.name}")
    if not len(val):
        train, val = _hold_out(train, config)
        held = len(set(val.videos))
        notes.append(f"no validation split named: {held} videos held out by seed {config.seed}")
    return Split(train, val, tuple(left_out), tuple(notes))


def pairs_by_split(
    table: pd.DataFrame, source: FeatureSource, *, partial: bool
) -> tuple[dict[str, Pairs], list[str]]:
    """Match the captions of each split; a split without captions has no pairs.

    Returns:
        The pairs of train, val and test, and the video ids that were left out.

    Raises:
        InputError: a video is in two splits, or captions do not match the source.
    """
    matched, left_out = match_captions(table, source, partial=partial)
    kept = table[~table["video_id"].isin(left_out)]["split"].tolist()
    by_split = {name: matched.where([split == name for split in kept]) for name in SPLITS}
    for first, second in (("train", "test"), ("train", "val"), ("val", "test")):
        both = set(by_split[first].videos) & set(by_split[second].videos)
        if both:
            raise InputError(
                f"{len(both)} videos are in split '{first}' and in split '{second}' too, '{min(both)}' among "
                "them; give each video one split"
            )
    return by_split, left_out


def _hold_out(pairs: Pairs, config: TrainConfig) -> tuple[Pairs, Pairs]:
    """Hold whole videos out, chosen by the seed."""
    videos = sorted(set(pairs.videos))
    count = max(1, round(config.validation * len(videos)))
    if len(videos) - count < 2:
        raise InputError(f"captions of {len(videos)} videos are too few: training needs at least three")
    order = torch.randperm(len(videos), generator=torch.Generator().manual_seed(config.seed)).tolist()
    held = {videos[number] for number in order[:count]}
    return pairs.of_videos(set(videos) - held), pairs.of_videos(held)
