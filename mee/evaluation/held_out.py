"""What a model has seen, by its training.json, and which captions and clips an evaluation may rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from mee.data import (
    FeatureSource,
    Pairs,
    check_apart,
    find_videos,
    known_names,
    match_captions,
    pairs_by_split,
    untrained,
)
from mee.errors import InputError
from mee.protocols import FOLDER, Benchmark

if TYPE_CHECKING:
    import pandas as pd

SelectedOn = Literal["validation", "test", "nothing", "unknown"]


@dataclass(frozen=True)
class HeldOut:
    """Captions of one split."""

    pairs: Pairs
    split: str
    selected: bool  # whether the model's epoch was chosen on these captions
    left_out: tuple[str, ...]  # video ids of the split that are not in the store
    notes: tuple[str, ...]  # for the user
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
    """The captions to evaluate on, of a table: of test, or of val where it names no split.

    Of a model that has seen no caption, all of a table that names no split are test captions.

    `record`: the model's training.json. Video ids of a named protocol mean the same in every store, so they are
    looked for in the record whatever folder and ending its files had.
    """
    named = "split" in table
    split = split or ("test" if named or untrained(record) else "val")
    held = set(record.get("videos", {}).get("val", []))  # training held some of its own videos out
    if named:
        from_train = split == "val" and not (table["split"] == split).any()
        needed = "train" if from_train else split
        by_split, left_out = pairs_by_split(table, source, partial=partial, needed=(needed,))
        pairs = by_split["train"].of_videos(held) if from_train else by_split[split]
    elif split == "val" or untrained(record):
        matched, left_out = match_captions(table, source, partial=partial)
        pairs = matched if untrained(record) else matched.of_videos(held)
    else:
        none = "these captions have no column 'split', so there is no split 'test'"
        raise InputError(f"{none}; add one, or use --split val")
    if not len(pairs):
        remedy = "" if named else "; to measure on other videos, add a column split, with test in their rows"
        raise InputError(f"no caption is in split '{split}' of the videos that this model has held out{remedy}")
    by_id = protocol != FOLDER and named and not from_train
    ids = set(table.loc[table["split"] == split, "video_id"]) if by_id else set()
    videos = sorted(set(pairs.videos))
    unchecked = check_apart(record, videos, source, what=f"split '{split}'", ids=ids)
    on = _selected_on_these(record, videos, ids)
    notes = [on] if on else []
    if left_out:
        notes.append(f"partial: left out {len(left_out)} captioned videos that are not in {source.name}")
    return HeldOut(pairs, split, bool(on), tuple(left_out), tuple(notes), unchecked)


def _selected_on_these(record: Mapping[str, Any], videos: Sequence[str], ids: Iterable[str]) -> str:
    """A note where the model's epoch was chosen on some of these videos; else empty."""
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


def gallery_videos(
    benchmark: Benchmark, source: FeatureSource, *, partial: bool
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Each video's clip of a protocol's gallery, captioned or not, in its order; and the videos without one."""
    found, left_out = find_videos(benchmark.gallery, source, partial=partial)
    cut = [
        clips[0]
        for video_id, (video, clips) in found.items()
        if len(clips) > 1 or (clips[0].startswith(f"{video}#t=") and "#t=" not in video_id)  # the others failed
    ]
    if cut:
        raise InputError(
            f"{benchmark.protocol.name} ranks whole videos, and {source.name} has {len(cut)} of its {len(found)} "
            f"test videos cut into clips ({cut[0]}, for one); extract them whole, into a new store: "
            "mee precompute VIDEOS STORE --clip-seconds 100000"
        )
    ids: dict[str, str] = {}
    for video_id, (_, (clip, *_)) in found.items():
        if (other := ids.setdefault(clip, video_id)) != video_id:
            raise InputError(f"{source.name} has one video, {clip}, for two of the test: {other} and {video_id}")
    return {video_id: clips[0] for video_id, (_, clips) in found.items()}, tuple(left_out)


def selected_on(record: Mapping[str, Any]) -> SelectedOn:
    """On which captions a model's epoch was chosen, by its training.json; "unknown" where that does not say."""
    if record.get("selected_on") in get_args(SelectedOn):
        return cast(SelectedOn, record["selected_on"])
    if "videos" not in record:
        return "unknown"
    return "validation" if record.get("selects", True) else "nothing"  # a record of an earlier version


def trained_on(record: Mapping[str, Any]) -> str | None:
    """What a model was trained on, in words: "8,000 videos of msrvtt-1ka, list 9k"; None where it is unknown."""
    videos = record.get("videos", {})
    if not videos.get("train"):
        return "nothing: it was made without captions" if untrained(record) else None
    words = f"{len(videos['train']):,} videos"
    if (protocol := record.get("protocol", FOLDER)) != FOLDER:
        words += f" of {protocol}" + (f", list {record['train_list']}" if record.get("train_list") else "")
    return words + (f", and {len(videos['images']):,} images" if videos.get("images") else "")
