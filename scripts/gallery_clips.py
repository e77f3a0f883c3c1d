"""Which clips of an index are meant: by name, or by a filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from index.request.filter import Filter
from mee.errors import InputError

if TYPE_CHECKING:
    from index.storage.snapshot import Snapshot


def named(snapshot: Snapshot, clip_ids: Sequence[str]) -> list[str]:
    """Those clips, each once.

    Raises:
        InputError: the index does not have one of them.
    """
    wanted = list(dict.fromkeys(clip_ids))
    unknown = [clip_id for clip_id in wanted if snapshot.find(clip_id) is None]
    if unknown:
        raise InputError(f"there is no clip '{unknown[0]}' in the index")
    return wanted


def matching(snapshot: Snapshot, where: str) -> list[str]:
    """Clips for which a filter holds, sorted.

    Raises:
        InputError: the filter is malformed, or does not fit the index.
    """
    return sorted(name for table in tables(snapshot, where) for name in table["clip_id"].to_pylist())


def tables(snapshot: Snapshot, where: str | None = None) -> Iterator[pa.Table]:
    """The clips of each segment that count, and for which a filter holds.

    Raises:
        InputError: the filter is malformed, or does not fit the index.
    """
    masks = (
        None
        if where is None
        else Filter.parse(where).masks([segment.table.arrow for segment in snapshot.segments])
    )
    for number, segment in enumerate(snapshot.segments):
        keep = segment.live
        if masks is not None:
            keep = masks[number] if keep is None else keep & masks[number]
        table = segment.table.arrow
        yield table if keep is None else table.filter(pa.array(keep))
