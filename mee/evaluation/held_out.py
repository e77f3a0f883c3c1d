"""Which captions an evaluation may rank: those whose videos the model has not learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mee.data import FeatureSource, Pairs, check_apart, known_names, match_captions, pairs_by_split
from mee.errors import InputError
from mee.protocols import FOLDER

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class HeldOut:
    """Captions of one split."""

    pairs: Pairs
    split: str
    selected: bool  # whether the model's epoch was chosen on these captions
    left_out: tuple[str, ...]  # video ids of the split that are not in the store
    notes: tuple[str, ...]  # what a person should know of it
    unchecked: str = ""  # a note on what could not be compared with the training videos


def held_out_pairs(
    table: pd.DataFrame,
    source: FeatureSource,
    record: Mapping[str, Any],
    *,
    split: str | None,
    partial: bool,
    protocol: str = FOLDER,
) -> HeldOut:
    """The captions to evaluate on.

    Args:
        table: columns video_id, caption and perhaps split.
        source: where the clips are; those of other splits need not be there.
        record: the model's training.json.
        split: "test" or "val"; None takes test, or val where the table names no split.
        partial: leave out captions whose video is not in the source.
        protocol: whose captions they are. Video ids of a named one mean the same in every store, so they are
            looked for in the record whatever folder and ending its files had.

    Raises:
        InputError: the split has no captions, captions do not match the source, or the model was trained on one of
            its videos.
    """
    named = "split" in table
    split = split or ("test" if named else "val")
    held = set(record.get("videos", {}).get("val", []))  # training held some of its own videos out
    if named:
        own = (table["split"] == split).any()
        from_train = split == "val" and not own
        needed = "train" if from_train else split
        by_split, left_out = pairs_by_split(table, source, partial=partial, needed=(needed,))
        pairs = by_split["train"].of_videos(held) if from_train else by_split[split]
    elif split == "val":
        matched, left_out = match_captions(table, source, partial=partial)
        pairs = matched.of_videos(held)
    else:
        raise InputError(
            "these captions have no column 'split', so there is no split 'test'; add one, or use --split val"
        )
    if not len(pairs):
        raise InputError(f"no caption is in split '{split}' of the videos that this model has held out")
    by_id = protocol != FOLDER and named and not from_train
    ids = set(table.loc[table["split"] == split, "video_id"]) if by_id else set()
    videos = sorted(set(pairs.videos))
    unchecked = check_apart(record, videos, source, what=f"split '{split}'", ids=ids)
    notes = []
    if on := _selected_on(record, videos, ids):
        notes.append(on)
    if left_out:
        notes.append(f"partial: left out {len(left_out)} captioned videos that are not in {source.name}")
    return HeldOut(pairs, split, bool(on), tuple(left_out), tuple(notes), unchecked)


def _selected_on(record: Mapping[str, Any], videos: Sequence[str], ids: Iterable[str]) -> str:
    """A note where the model's epoch was chosen on some of these videos; empty where it was not."""
    if not record.get("selects", True):
        return ""
    chosen = record.get("videos", {})
    if known_names(videos, ids, chosen.get("test", [])):
        return (
            "warning: the model's epoch was selected on this very test (--select-on-test); figures on videos that "
            "chose nothing would be lower"
        )
    if known_names(videos, ids, chosen.get("val", [])):
        return "note: the model's epoch was selected on these videos; figures on a test split would be lower"
    return ""
