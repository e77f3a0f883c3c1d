"""Holding what was read against its protocol.

always refused    a split without videos, an id twice, a video in two splits
refused, or with  counts that are not the protocol's, videos that it has and the files do not, videos without a
partial: stamped  caption, captions without text
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mee.errors import InputError
from mee.protocols.files import count, name_ids
from mee.protocols.protocol import Benchmark, Protocol, Reading

if TYPE_CHECKING:
    import pandas as pd

_CALLED = {"train": "training", "val": "validation", "test": "test"}


def check(reading: Reading, protocol: Protocol, path: Path, *, train_list: str | None, partial: bool) -> Benchmark:
    """A benchmark, if the reading is what the protocol says.

    Args:
        reading: what the files have.
        protocol: what they must have.
        path: where they are, for messages.
        train_list: the training list that was asked for; None takes the protocol's first.
        partial: stamp what is missing rather than refuse it.

    Raises:
        InputError: the reading can never be used, or falls short and `partial` is off.
    """
    fixed = protocol.gallery is not None or protocol.queries is not None  # one's own collection may lack splits
    for split, ids in reading.ids.items():
        if fixed and not ids:
            raise InputError(
                f"{path} names no {_CALLED[split]} video, and {protocol.name} cannot do without; fetch its files "
                "again"
            )
        twice = [name for name, times in Counter(ids).items() if times > 1]
        if twice:
            raise InputError(
                f"{path} names {count(len(twice), f'{_CALLED[split]} video')} more than once: {name_ids(twice)}; "
                "keep each once"
            )
    for first, second in (("train", "test"), ("train", "val"), ("val", "test")):
        refuse_overlap(
            f"the {_CALLED[first]} videos",
            reading.ids.get(first, ()),
            _CALLED[second],
            reading.ids.get(second, ()),
            path,
        )
    _refuse_repeated_queries(reading.table, path)
    used_list = train_list or next(iter(protocol.train), "")
    shortfalls = tuple(_shortfalls(reading, protocol, used_list))
    if shortfalls and not partial:
        raise InputError(
            f"{path} falls short of {protocol.name}: {'; '.join(shortfalls)}; complete the files, or go on with "
            "--partial, which every result will show"
        )
    table = reading.table[reading.table["caption"] != ""].reset_index(drop=True)
    gallery = reading.ids.get("test", ())
    splits = set(table["split"]) if "split" in table else {"test"}
    if gallery and "test" not in splits:
        raise InputError(f"{path} has no caption of any test video of {protocol.name}; fetch its captions")
    return Benchmark(
        protocol=protocol,
        train_list=(used_list or None) if train_list or "train" in splits else None,
        table=table,
        gallery=gallery,
        shortfalls=shortfalls,
        files=reading.files,
        choices=reading.choices,
    )


def refuse_overlap(called: str, first: Sequence[str], split: str, second: Sequence[str], path: Path) -> None:
    """No video may be on both sides.

    Raises:
        InputError: some are.
    """
    there = set(second)
    both = [name for name in dict.fromkeys(first) if name in there]
    if both:
        raise InputError(
            f"{path}: {len(both):,} of {called} {'is' if len(both) == 1 else 'are'} among the {split} videos too: "
            f"{name_ids(both)}; use lists that belong together"
        )


def _refuse_repeated_queries(table: pd.DataFrame, path: Path) -> None:
    keys = ["query_id", "split"] if "split" in table else ["query_id"]
    again = table[table.duplicated(keys)]
    if len(again):
        raise InputError(
            f"{path} has {count(len(again), 'caption')} under an id that another one has: "
            f"{name_ids(list(dict.fromkeys(again['query_id'])))}; give each its own"
        )


def _shortfalls(reading: Reading, protocol: Protocol, used_list: str) -> Iterator[str]:
    """How the reading falls short, a part of a sentence each."""
    wanted = {
        "train": protocol.train.get(used_list),
        "val": protocol.val,
        "test": protocol.gallery,
    }
    captioned = _captioned(reading.table)
    for split, ids in reading.ids.items():
        found = reading.counted.get(split, len(ids))
        expected = wanted[split]
        if expected is not None and found != expected:
            present = set(ids)
            absent = [name for name in reading.expected.get(split, ()) if name not in present]
            named = f" (without {name_ids(absent)})" if absent else ""
            yield f"{count(found, f'{_CALLED[split]} video')} where it has {expected:,}{named}"
        heard = captioned.get(split, set())
        silent = [name for name in ids if name not in heard]
        if silent and heard:  # a split whose captions were not to be had is no shortfall of the others
            yield f"{count(len(silent), f'{_CALLED[split]} video')} without a caption: {name_ids(silent)}"
    empty = reading.table[reading.table["caption"] == ""]
    if len(empty):
        yield f"{count(len(empty), 'caption')} without text: {name_ids(empty['query_id'].tolist())}"
    if protocol.queries is not None:
        queries = int(((reading.table["split"] == "test") & (reading.table["caption"] != "")).sum())
        if queries != protocol.queries:
            yield f"{queries:,} test {'query' if queries == 1 else 'queries'} where it has {protocol.queries:,}"


def _captioned(table: pd.DataFrame) -> dict[str, set[str]]:
    """Split -> the videos that have a caption."""
    full = table[table["caption"] != ""]
    if "split" not in full:
        return {"test": set(full["video_id"])}
    return {str(split): set(videos) for split, videos in full.groupby("split")["video_id"]}
