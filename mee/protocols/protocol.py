"""What a benchmark asks, what a reader found in its files, and what remains once both are held against each other.

Protocol    name, the files it is read from, how many videos and queries each split must have
Reading     captions and ids as the files have them; a caption is "" where the file has none
Benchmark   a protocol's captions, read and checked

Their tables have a row a caption: query_id, video_id, caption, split; those of multiple choice query_id, video_id,
sentence_0 … sentence_4, answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("query_id", "video_id", "caption", "split")
SENTENCES = tuple(f"sentence_{number}" for number in range(5))  # `answer` is the number of the right one
Row = tuple[str, str, str, str]  # of COLUMNS
Ids = Mapping[str, tuple[str, ...]]  # split -> videos

QueryRule = Literal[
    "every caption",  # each caption of a test video is a query of its own
    "first caption",  # the first of each test video, in the file's order
    "one fixed caption",  # the one that the test list names
    "paragraph",  # all sentences of a video, joined in the order of time
    "five choices",  # of five sentences a clip, the best-scored one must be its own
]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What must hold for a figure to bear this name. None stands for what a file may have any number of."""

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

    table: pd.DataFrame  # COLUMNS; without split where a table of one's own names none
    ids: Ids  # the videos that the files name for each split, captioned or not
    files: Mapping[str, Path]  # what was read: role -> file
    expected: Ids = field(default_factory=dict)  # where a rule names the videos
    counted: Mapping[str, int] = field(default_factory=dict)  # split -> count, where it is not that of `ids`
    choices: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A protocol's captions, read and checked."""

    protocol: Protocol
    train_list: str | None  # which of the protocol's training lists; None where it has none
    table: pd.DataFrame  # a row a query, its id unique within a split; no column split in `folder` without one
    gallery: tuple[str, ...]  # every test video, in the file's order, asked for or not
    shortfalls: tuple[str, ...] = ()  # how it falls short of the protocol, a sentence each; only with partial
    files: Mapping[str, Path] = field(default_factory=dict)  # what was read: role -> file
    choices: pd.DataFrame | None = None


def caption_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table; captions without outer white space."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(COLUMNS), dtype="string")
    return table.assign(caption=table["caption"].str.strip())


def numbered(ids: Ids, captions: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Every caption of the videos of each split; its query id is the video and its number, from 0."""
    for split, videos in ids.items():
        for video in videos:
            for number, caption in enumerate(captions.get(video, ())):
                yield f"{video}#{number}", video, caption, split
