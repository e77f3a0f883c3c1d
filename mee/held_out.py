"""Which captions an evaluation may rank: those whose videos the model has not learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mee.data import FeatureSource
from mee.errors import InputError
from mee.pairs import Pairs, match_captions
from mee.splits import pairs_by_split

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class HeldOut:
    """Captions of one split."""

    pairs: Pairs
    split: str
    selected: bool  # whether the model's epoch was chosen on these captions
    left_out: tuple[str, ...]  # video ids that are not in the store
    notes: tuple[str, ...]  # what a person should know of it


def held_out_pairs(
    table: pd.DataFrame,
    source: FeatureSource,
    record: Mapping[str, Any],
    *,
    split: str | None,
    partial: bool,
) -> HeldOut:
    """The captions to evaluate on.

    Args:
        table: columns video_id, caption and perhaps split.
        source: where the clips are.
        record: the model's training.json.
        split: "test" or "val"; None takes test, or val where the table names no split.
        partial: leave out captions whose video is not in the source.

    Raises:
        InputError: the split has no captions, captions do not match the source, or the model was trained on one of
            its videos.
    """
    videos = record.get("videos", {"train": [], "val": []})
    named = "split" in table
    split = split or ("test" if named else "val")
    if named:
        by_split, left_out = pairs_by_split(table, source, partial=partial)
        pairs = by_split[split]
        if split == "val" and not len(pairs):  # training held some of its own videos out
            pairs = by_split["train"].of_videos(set(videos["val"]))
    elif split == "val":
        matched, left_out = match_captions(table, source, partial=partial)
        pairs = matched.of_videos(set(videos["val"]))
    else:
        raise InputError(
            "these captions have no column 'split', so there is no split 'test'; add one, or use --split val"
        )
    if not len(pairs):
        raise InputError(f"no caption is in split '{split}' of the videos that this model has held out")
    learnt = sorted(set(pairs.videos) & set(videos["train"]))
    if learnt:
        raise InputError(
            f"the model was trained on {len(learnt)} videos of split '{split}', '{learnt[0]}' among them, so its "
            "figures would mean nothing; train it with this split held out"
        )
    notes = []
    selected = bool(set(pairs.videos) & set(videos["val"])) and bool(record.get("selects", True))
    if selected:
        notes.append(
            "note: the model's epoch was selected on these videos; figures on a test split would be lower"
        )
    if left_out:
        notes.append(f"partial: left out {len(left_out)} captioned videos that are not in {source.name}")
    return HeldOut(pairs, split, selected, tuple(left_out), tuple(notes))
