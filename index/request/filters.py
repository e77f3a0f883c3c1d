"""Filter: which clips of an index may be found, said in a line of text.

    duration < 30 and split == "test"
    10 < start_s <= 60 or not (camera in ("left", "right"))
    video.startswith("news/") and "2024" in clip_id and rating is not None
    column("frame rate") >= 25

Columns are clip_id, video, start_s, end_s, duration (seconds) and what else the index was given; the grammar is in
index/request/filters_parse.py. A comparison with a value that a clip does not have is neither true nor false, as
in SQL, nor is its opposite: such clips are found by neither, only by `is None`. Nothing in a filter is run as
code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from index.request.filters_parse import parse
from index.request.filters_tree import Condition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _Table(Protocol):
    @property
    def arrow(self) -> Any: ...


class _Segment(Protocol):
    @property
    def table(self) -> _Table: ...


class Segmented(Protocol):
    """Whatever keeps its clips in tables: a video index, a snapshot."""

    @property
    def segments(self) -> Sequence[_Segment]: ...


@dataclass(frozen=True)
class Filter:
    """A condition that clips fulfil or not."""

    text: str
    condition: Condition

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a filter.

        Raises:
            InputError: it is empty or malformed; the sentence says where.
        """
        return cls(text.strip(), parse(text))

    def masks(self, clips: Segmented) -> list[NDArray[np.bool_]]:
        """Which clips fulfil it, removed ones among them.

        Returns:
            For each segment a mask over the rows of its table.

        Raises:
            InputError: it names an unknown column, or compares what cannot be compared.
        """
        from index.request.filters_columns import columns_of
        from index.request.filters_evaluate import check, matches

        tables = [segment.table.arrow for segment in clips.segments]
        columns = columns_of(tables)
        if tables:
            check(self.text, self.condition, columns)
        return [matches(self.condition, table, columns) for table in tables]
