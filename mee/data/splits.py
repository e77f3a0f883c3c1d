"""Train, validation and test captions, by the table's column split or by held-out videos; never overlapping.

No video is in two splits, nor is a file under two names, where the store has the files' digests. The epoch is
chosen on validation captions; on those of test only by an explicit option.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mee.data.leaks import name_pairs, not_compared, same_files, video_contents
from mee.data.names import base_name
from mee.data.pairs import Pairs, match_captions
from mee.data.source import FeatureSource
from mee.data.tables import SPLITS
from mee.errors import InputError, name_ids

if TYPE_CHECKING:
    import pandas as pd

APART = (("train", "test"), ("train", "val"), ("val", "test"))  # the second is measured on
AT_MOST = 5  # a given number of held-out videos is at most one in so many


@dataclass(frozen=True)
class Split:
    """Captions for training and for choosing the epoch."""

    train: Pairs
    val: Pairs  # what the epoch is chosen on: the validation captions, or those of test
    left_out: tuple[str, ...]  # videos that are not in the store, or whose file is in another split too
    notes: tuple[str, ...]  # for the user, a phrase each
    selected_on_test: bool = False
    test_videos: tuple[str, ...] = ()  # the store's names
    unchecked: str = ""  # a note on what could not be compared


def split_pairs(
    table: pd.DataFrame,
    source: FeatureSource,
    *,
    validation: float,
    seed: int,
    partial: bool,
    select_on_test: bool = False,
    hold_out: int | None = None,
    need_test: bool = True,
) -> Split:
    """Divide captions for training.

    Args:
        table: columns video_id, caption and perhaps split.
        source: where the clips are.
        validation: share of the videos to hold out where the table names no validation split.
        seed: which videos are held out.
        partial: leave out captions whose video is not in the source, and videos whose file is also in a split that
            is measured on.
        select_on_test: choose the epoch on the test captions; none are held out, validation captions are not used.
        hold_out: number of videos to hold out, instead of the share; at most a fifth of them.
        need_test: whether test videos must be in the source, although they are only kept apart here.

    Raises:
        InputError: a video is in two splits, by name or by content; there is nothing to train on, or no test to
            choose the epoch by; captions do not match the source.
    """
    notes: list[str] = []
    copies: list[str] = []
    test_videos: set[str] = set()
    if "split" in table:
        chooses = "test" if select_on_test else "val"
        needed = SPLITS if need_test else ("train", chooses)
        by_split, left_out = pairs_by_split(table, source, partial=partial, needed=needed)
        if not len(by_split["train"]):
            raise InputError("no caption has split 'train'")
        if select_on_test:
            if not len(by_split["test"]):
                raise InputError("no caption has split 'test', so --select-on-test cannot choose the epoch")
            by_split["val"] = by_split["val"].of_videos(set())
        by_split, copies = _without_copies(by_split, source, partial=partial)
        train, val = by_split["train"], by_split[chooses]
        test_videos = set(by_split["test"].videos)
        gone = table.loc[table["split"] == "test", "video_id"].nunique() - len(test_videos)
        if "test" not in needed and gone > 0:
            notes.append(f"{gone} test videos are not in {source.name}, so their files were not compared")
    elif select_on_test:
        none = "these captions have no column 'split', so there is no test to choose the epoch by"
        raise InputError(f"{none}; add one, or leave out --select-on-test")
    else:
        train, left_out = match_captions(table, source, partial=partial)
        val = train.of_videos(set())
    if left_out:
        notes.append(f"left out {len(left_out)} captioned videos that are not in {source.name}")
    if copies:
        notes.append(f"left out {len(copies)} videos whose file is in another split too, {name_ids(copies)}")
    if not len(val):
        train, val = _hold_out(train, source, validation, seed, hold_out)
        held = len(set(val.videos))
        notes.append(f"no validation split named: {held} videos held out by seed {seed}")
    learnt, tested = set(train.videos), test_videos | set(val.videos)
    known, known_tested = (len(video_contents(source, videos)) for videos in (learnt, tested))
    unchecked = not_compared(known, len(learnt), known_tested, len(tested), "another split")
    held_apart = tuple(sorted(test_videos))
    return Split(train, val, (*left_out, *copies), tuple(notes), select_on_test, held_apart, unchecked)


def pairs_by_split(
    table: pd.DataFrame, source: FeatureSource, *, partial: bool, needed: Collection[str] = SPLITS
) -> tuple[dict[str, Pairs], list[str]]:
    """The pairs of train, val and test, perhaps none, and the video ids of needed splits that were left out.

    Unless partial, the videos of the needed splits must be in the source; others are matched if they are.

    Raises:
        InputError: a video is in two splits, or captions do not match the source.
    """
    of_needed = table[table["split"].isin(list(needed))]
    matched, absent = match_captions(table, source, partial=True)
    left_out = [video_id for video_id in absent if video_id in set(of_needed["video_id"])]
    if left_out:
        match_captions(of_needed, source, partial=partial)  # unless partial, raises and names them
    kept = table[~table["video_id"].isin(absent)]["split"].tolist()
    by_split = {name: matched.where([split == name for split in kept]) for name in SPLITS}
    for first, second in APART:
        if both := sorted(set(by_split[first].videos) & set(by_split[second].videos)):
            raise InputError(
                f"{len(both)} videos are in split '{first}' and in split '{second}' too, {name_ids(both)}; give "
                "each video one split"
            )
    return by_split, left_out


def _without_copies(
    by_split: dict[str, Pairs], source: FeatureSource, *, partial: bool
) -> tuple[dict[str, Pairs], list[str]]:
    """Refuse one file in two splits; or with partial keep it in the split that is measured on only."""
    contents = {name: video_contents(source, pairs.videos) for name, pairs in by_split.items()}
    copies: set[str] = set()
    for first, second in APART:
        found = same_files(contents[first], contents[second])
        if found and not partial:
            raise InputError(
                f"{len(found)} videos of split '{first}' are the same file as one of split '{second}', "
                f"{name_pairs(found)}; give both one split, or leave those of '{first}' out with --partial"
            )
        copies |= {video for video, _ in found}
    kept = {name: pairs.of_videos(set(pairs.videos) - copies) for name, pairs in by_split.items()}
    return kept, sorted(copies)


def _hold_out(
    pairs: Pairs, source: FeatureSource, validation: float, seed: int, number: int | None
) -> tuple[Pairs, Pairs]:
    """Hold whole videos out, chosen by the seed, each with all videos that are the same file."""
    videos = sorted(set(pairs.videos))
    count = max(1, round(validation * len(videos)))
    if number is not None:  # of a benchmark: the seed says which, wherever a store keeps them
        videos.sort(key=base_name)
        count = max(1, min(number, len(videos) // AT_MOST))
    if len(videos) - count < 2:
        raise InputError(f"captions of {len(videos)} videos are too few: training needs at least three")
    order = torch.randperm(len(videos), generator=torch.Generator().manual_seed(seed)).tolist()
    held = {videos[number] for number in order[:count]}
    contents = video_contents(source, videos)
    drawn = {contents[video] for video in held if video in contents}
    held |= {video for video, content in contents.items() if content in drawn}
    if len(videos) - len(held) < 2:
        raise InputError(f"{len(videos)} videos are too few: those held out are the same files as all but one")
    return pairs.of_videos(set(videos) - held), pairs.of_videos(held)
