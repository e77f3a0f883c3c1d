"""Protocol: what a benchmark asks, as data; Benchmark: one that was read, with every caption that it needs.

protocol   name, the files it is read from, how many videos and queries each split must have
benchmark  a table query_id, video_id, caption, split, and the videos of the test gallery

Reading: what a reader found in a protocol's files, before it is held against the protocol.

table     query_id, video_id, caption, split     a row a caption; caption "" where the file has none
choices   query_id, video_id, sentence_0 … sentence_4, answer     multiple choice only
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = ("query_id", "video_id", "caption", "split")
SENTENCES = tuple(f"sentence_{number}" for number in range(5))  # `answer` is the number of the right one


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Captions and ids, as the files have them."""

    table: pd.DataFrame  # COLUMNS; without split where a table of one's own names none
    ids: Mapping[str, tuple[str, ...]]  # split -> the videos that the files name for it, captioned or not
    files: Mapping[str, Path]  # what was read: role -> file
    expected: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # split -> videos, where a rule names them
    counted: Mapping[str, int] = field(default_factory=dict)  # split -> count, where it is not that of `ids`
    choices: pd.DataFrame | None = None


def caption_table(rows: Iterable[tuple[str, str, str, str]]) -> pd.DataFrame:
    """Rows of query_id, video_id, caption and split as a table; captions without outer white space."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(COLUMNS), dtype="string")
    return table.assign(caption=table["caption"].str.strip())


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
class Benchmark:
    """A protocol's captions, read and checked."""

    protocol: Protocol
    train_list: str | None  # which of the protocol's training lists; None where it has none
    table: (
        pd.DataFrame
    )  # query_id (unique within a split), video_id, caption, split (not in `folder` without one); a row a query
    gallery: tuple[str, ...]  # every test video, in the file's order, asked for or not
    shortfalls: tuple[str, ...] = ()  # how it falls short of the protocol, a sentence each; only with partial
    files: Mapping[str, Path] = field(default_factory=dict)  # what was read: role -> file
    choices: pd.DataFrame | None = None  # five choices: query_id, video_id, five sentences, answer (0 to 4)
