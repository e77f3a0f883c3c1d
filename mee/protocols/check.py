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

from mee.errors import InputError, count, name_ids
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
    """
    ids, table = reading.ids, reading.table
    fixed = protocol.gallery is not None or protocol.queries is not None  # one's own collection may lack splits
    for split, videos in ids.items():
        if fixed and not videos:
            raise InputError(
                f"{path} names no {_CALLED[split]} video, and {protocol.name} cannot do without; fetch its files "
                "again"
            )
        if twice := [name for name, times in Counter(videos).items() if times > 1]:
            raise InputError(
                f"{path} names {count(len(twice), f'{_CALLED[split]} video')} more than once: {name_ids(twice)}; "
                "keep each once"
            )
    for first, second in (("train", "test"), ("train", "val"), ("val", "test")):
        called = f"the {_CALLED[first]} videos"
        refuse_overlap(called, ids.get(first, ()), _CALLED[second], ids.get(second, ()), path)
    of_split = table if "split" in table else table.assign(split="test")
    again = of_split[of_split.duplicated(["query_id", "split"])]
    if len(again):
        raise InputError(
            f"{path} has {count(len(again), 'caption')} under an id that another one has: "
            f"{name_ids(again['query_id'].unique().tolist())}; give each its own"
        )
    used_list = train_list or next(iter(protocol.train), "")
    shortfalls = tuple(_shortfalls(reading, of_split, protocol, used_list))
    if shortfalls and not partial:
        raise InputError(
            f"{path} falls short of {protocol.name}: {'; '.join(shortfalls)}; complete the files, or go on with "
            "--partial, which every result will show"
        )
    splits = set(of_split["split"][of_split["caption"] != ""])
    if ids.get("test") and "test" not in splits:
        raise InputError(f"{path} has no caption of any test video of {protocol.name}; fetch its captions")
    return Benchmark(
        protocol=protocol,
        train_list=(used_list or None) if train_list or "train" in splits else None,
        table=table[table["caption"] != ""].reset_index(drop=True),
        gallery=ids.get("test", ()),
        shortfalls=shortfalls,
        files=reading.files,
        choices=reading.choices,
    )


def refuse_overlap(called: str, first: Sequence[str], split: str, second: Sequence[str], path: Path) -> None:
    """No video may be on both sides."""
    there = set(second)
    if both := [name for name in dict.fromkeys(first) if name in there]:
        raise InputError(
            f"{path}: {len(both):,} of {called} {'is' if len(both) == 1 else 'are'} among the {split} videos too: "
            f"{name_ids(both)}; use lists that belong together"
        )


def _shortfalls(reading: Reading, table: pd.DataFrame, protocol: Protocol, used_list: str) -> Iterator[str]:
    """How the reading falls short, a part of a sentence each."""
    wanted = {"train": protocol.train.get(used_list), "val": protocol.val, "test": protocol.gallery}
    empty = table["caption"] == ""
    for split, ids in reading.ids.items():
        found, expected = reading.counted.get(split, len(ids)), wanted[split]
        if expected is not None and found != expected:
            present = set(ids)
            absent = [name for name in reading.expected.get(split, ()) if name not in present]
            named = f" (without {name_ids(absent)})" if absent else ""
            yield f"{count(found, f'{_CALLED[split]} video')} where it has {expected:,}{named}"
        captioned = set(table["video_id"][~empty & (table["split"] == split)])
        silent = [name for name in ids if name not in captioned]
        if silent and captioned:  # a split whose captions were not to be had is no shortfall of the others
            yield f"{count(len(silent), f'{_CALLED[split]} video')} without a caption: {name_ids(silent)}"
    if empty.any():
        yield f"{count(int(empty.sum()), 'caption')} without text: {name_ids(table['query_id'][empty].tolist())}"
    queries = int((~empty & (table["split"] == "test")).sum())
    if protocol.queries is not None and queries != protocol.queries:
        yield f"{queries:,} test {'query' if queries == 1 else 'queries'} where it has {protocol.queries:,}"
