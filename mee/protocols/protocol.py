"""What a benchmark requires, what its annotation files hold, and the check of one against the other.

Protocol    name, the files it is read from, how many videos and queries each split must have
Reading     captions and ids as the files have them; a caption is "" where the file has none
Benchmark   a protocol's captions, read and checked

Tables have a row a caption: query_id, video_id, caption, split; those of multiple choice query_id, video_id,
sentence_0 … sentence_4, answer. What `check` does:

always refused            a split without videos, an id twice, a video in two splits
refused, or with partial  counts that are not the protocol's, videos that the files lack, videos without a caption,
recorded as a shortfall   captions without text
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mee.errors import InputError, count, name_ids

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "folder"  # the protocol of your own collection
COLUMNS = ("query_id", "video_id", "caption", "split")
SENTENCES = tuple(f"sentence_{number}" for number in range(5))  # `answer` is the number of the right one
Row = tuple[str, str, str, str]  # of COLUMNS
Ids = Mapping[str, tuple[str, ...]]  # split -> videos
_CALLED = {"train": "training", "val": "validation", "test": "test"}

QueryRule = Literal[
    "every caption",  # each caption of a test video is a query of its own
    "first caption",  # the first of each test video, in the file's order
    "one fixed caption",  # the one that the test list names
    "paragraph",  # all sentences of a video, joined in the order of time
    "five choices",  # of five sentences a clip, the best-scored one must be its own
]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What must hold for a figure to bear this name. None: any number."""

    name: str
    title: str  # for tables and pictures: "MSR-VTT, 1k-A test (JSFusion)"
    files: str  # what the annotation directory holds, for --help and messages
    reader: str  # "module:function" that reads the files: (Protocol, Path, train list) -> Reading
    query_rule: QueryRule
    gallery: int | None  # test videos
    queries: int | None  # test queries
    val: int | None  # validation videos: what the files name; 0: none exists
    train: Mapping[str, int] = field(default_factory=dict)  # list -> videos (LSMDC: rows); "": the only one
    missing: tuple[str, ...] = ()  # modalities that no video of it has
    only: tuple[str, ...] = ()  # the modalities that its videos have; empty: any


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Captions and ids, as the files have them."""

    table: pd.DataFrame  # COLUMNS; without split where your own table names none
    ids: Ids  # the videos that the files name for each split, captioned or not
    files: Mapping[str, Path]  # what was read: role -> file
    expected: Ids = field(default_factory=dict)  # where a rule names the videos
    counted: Mapping[str, int] = field(default_factory=dict)  # split -> count, where it is not that of `ids`
    choices: pd.DataFrame | None = None
    lists: Mapping[str, str] = field(default_factory=dict)  # split -> the file, not there, that names its videos
    short: tuple[str, ...] = ()  # how it falls short besides, a phrase each


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A protocol's captions, read and checked."""

    protocol: Protocol
    train_list: str | None  # which of the protocol's training lists; None where it has none
    # a row a query, its id unique within a split (in `folder`, a row for each right video of a query, with one
    # caption); no column split in `folder` without one
    table: pd.DataFrame
    gallery: tuple[str, ...] = ()  # every test video, in the file's order, captioned or not
    shortfalls: tuple[str, ...] = ()  # of the protocol, a phrase each; only with partial
    files: Mapping[str, str] = field(default_factory=dict)  # what was read: role -> name and SHA-256
    choices: pd.DataFrame | None = None

    @property
    def is_named(self) -> bool:
        """Whether it is a public benchmark, whose splits are fixed."""
        return self.protocol.name != FOLDER

    @property
    def measured_ids(self) -> set[str]:
        """A public benchmark's own ids of its validation and test videos, which mean the same in every store."""
        if not self.is_named:
            return set()
        return {*self.table.loc[self.table["split"] != "train", "video_id"], *self.gallery}


def file_stamp(path: Path) -> str:
    """A file's name and the SHA-256 of its content: "captions.csv sha256:…"."""
    with path.open("rb") as file:
        return f"{path.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def caption_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table; captions without outer white space."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(COLUMNS), dtype="string")
    return table.assign(caption=table["caption"].str.strip())


def numbered(ids: Ids, captions: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Every caption of each split's videos; its query id is the video and the caption's number, from 0."""
    for split, videos in ids.items():
        for video in videos:
            for number, caption in enumerate(captions.get(video, ())):
                yield f"{video}#{number}", video, caption, split


def check(reading: Reading, protocol: Protocol, path: Path, *, train_list: str | None, partial: bool) -> Benchmark:
    """A benchmark, if what was read from `path` is what the protocol says; with partial, shortfalls are recorded.

    `train_list` is the requested training list; None takes the protocol's first.
    """
    ids, table = reading.ids, reading.table
    fixed = protocol.gallery is not None or protocol.queries is not None  # your own collection may lack splits
    for split, videos in ids.items():
        if fixed and not videos:
            raise InputError(
                f"{path} names no {_CALLED[split]} video, which {protocol.name} needs; fetch its files again"
            )
        if twice := [name for name, times in Counter(videos).items() if times > 1]:
            number = count(len(twice), f"{_CALLED[split]} video")
            raise InputError(f"{path} names {number} more than once: {name_ids(twice)}; keep each once")
    for first, second in (("train", "test"), ("train", "val"), ("val", "test")):
        called = f"the {_CALLED[first]} videos"
        refuse_overlap(called, ids.get(first, ()), _CALLED[second], ids.get(second, ()), path)
    of_split = table if "split" in table else table.assign(split="test")
    key = ["query_id", "split"]
    again = of_split[of_split.duplicated(key)]
    if len(again) and not fixed:  # the right videos of one query
        caption = of_split.groupby(key)["caption"].transform("first")
        again = of_split[of_split.duplicated([*key, "video_id"]) | (caption != of_split["caption"])]
    if len(again):
        number, names = count(len(again), "caption"), name_ids(again["query_id"].unique().tolist())
        raise InputError(f"{path} has {number} under the id of another one: {names}; give each its own")
    used_list = train_list or next(iter(protocol.train), "")
    shortfalls = tuple(_shortfalls(reading, of_split, protocol, used_list))
    if shortfalls and not partial:
        advice = "complete the files, or go on with --partial, which every result will show"
        raise InputError(f"{path} does not match {protocol.name}: {'; '.join(shortfalls)}; {advice}")
    splits = set(of_split["split"][of_split["caption"] != ""])
    if ids.get("test") and "test" not in splits:
        raise InputError(f"{path} has no caption of any test video of {protocol.name}; fetch its captions")
    return Benchmark(
        protocol=protocol,
        train_list=(used_list or None) if train_list or "train" in splits else None,
        table=table[table["caption"] != ""].reset_index(drop=True),
        gallery=ids.get("test", ()),
        shortfalls=shortfalls,
        files={role: file_stamp(file) for role, file in reading.files.items()},
        choices=reading.choices,
    )


def refuse_overlap(called: str, first: Sequence[str], split: str, second: Sequence[str], path: Path) -> None:
    """Refuse videos (`called`: "the training videos") that are in another split too."""
    others = set(second)
    if both := [name for name in dict.fromkeys(first) if name in others]:
        raise InputError(
            f"{path}: {len(both):,} of {called} {'is' if len(both) == 1 else 'are'} among the {split} videos too: "
            f"{name_ids(both)}; use lists that belong together"
        )


def _shortfalls(reading: Reading, table: pd.DataFrame, protocol: Protocol, used_list: str) -> Iterator[str]:
    """How the reading falls short of the protocol, a phrase each."""
    wanted = {"train": protocol.train.get(used_list), "val": protocol.val, "test": protocol.gallery}
    empty = table["caption"] == ""
    for split, ids in reading.ids.items():
        found, expected = reading.counted.get(split, len(ids)), wanted[split]
        if expected is not None and found != expected:
            present = set(ids)
            absent = [name for name in reading.expected.get(split, ()) if name not in present]
            named = f" (without {name_ids(absent)})" if absent else ""
            if found > expected and split in reading.lists:
                named = f", those of {reading.lists[split]}, which is not there"
            yield f"{count(found, f'{_CALLED[split]} video')} where it has {expected:,}{named}"
        captioned = set(table["video_id"][~empty & (table["split"] == split)])
        without = [name for name in ids if name not in captioned]
        if without and captioned:  # files with no captions of a split at all say nothing about the others
            yield f"{count(len(without), f'{_CALLED[split]} video')} without a caption: {name_ids(without)}"
    if empty.any():
        yield f"{count(int(empty.sum()), 'caption')} without text: {name_ids(table['query_id'][empty].tolist())}"
    yield from reading.short
    queries = int((~empty & (table["split"] == "test")).sum())
    if protocol.queries is not None and queries != protocol.queries:
        yield f"{queries:,} test {'query' if queries == 1 else 'queries'} where it has {protocol.queries:,}"
