"""Reading: what a reader found in a protocol's files, before it is held against the protocol.

table     query_id, video_id, caption, split     a row a caption; caption "" where the file has none
choices   query_id, video_id, sentence_0 … sentence_4, answer     multiple choice only
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
