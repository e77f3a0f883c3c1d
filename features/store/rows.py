"""All parts of a store -> its rows, one a clip.

    row of a failure     counts until its video succeeds
    row of a success     counts until its file changes: its size or its content's hash tells
    rows of one clip     are united: of each column the last that says anything

Whole columns at a time, since a store may have millions of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import InputError
from features.media import FAILED, TIMED_OUT
from features.store.layout import PRESENT, ROW, SCHEMA, part_name, rows_name, shard_names, times_name
from features.store.manifest import Manifest
from features.store.shard import Sums, read_part, read_sums

WHOLE_NUMBERS = ("width", "height", "audio_rate")  # that may be unknown


@final
@dataclass(frozen=True)
class StoreRows:
    """The rows of a store, and where their streams lie."""

    rows: pd.DataFrame  # index clip_id; the other columns of ROW, and present / missing / nothing for each stream
    shards: Sequence[str]  # names
    places: Mapping[str, NDArray[np.int32]]  # by stream: (rows,) places in `shards`, -1 where it is not present
    timed: Mapping[str, frozenset[int]]  # by stream: the shards that hold times


def read_rows(directory: Path, manifest: Manifest) -> StoreRows:
    """Read all parts, and unite the rows of each clip."""
    streams = list(manifest.streams)
    columns = {name: SCHEMA.field(name).type for name in SCHEMA.names} | dict.fromkeys(streams, pa.string())
    shards = shard_names(directory)
    timed: dict[str, set[int]] = {stream: set() for stream in streams}
    tables = [pa.schema(columns.items()).empty_table().append_column("shard", pa.array([], pa.int32()))]
    for number, shard in enumerate(shards):
        sums = read_sums(directory, shard)
        table = _columns(directory, shard, sums, columns, manifest)
        tables.append(table.append_column("shard", pa.array(np.full(table.num_rows, number, np.int32))))
        for stream in streams:
            if times_name(stream, shard) in sums:
                timed[stream].add(number)
    rows = _that_count(_in_order_of_time(pa.concat_tables(tables)), streams)
    united = _united(rows)
    places = _places(rows, streams, united)
    united = united[[*ROW[1:], *streams]].astype(dict.fromkeys(WHOLE_NUMBERS, "Int32"))
    return StoreRows(united, shards, places, {stream: frozenset(numbers) for stream, numbers in timed.items()})


def are_failures(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of files that gave nothing."""
    return rows["verdict"].isin([FAILED, TIMED_OUT])


def _columns(
    directory: Path, shard: str, sums: Sums, columns: Mapping[str, pa.DataType], manifest: Manifest
) -> pa.Table:
    """A part in the columns of the store; what it does not know, or what no longer counts, is null."""
    part = read_part(directory, shard)
    table, count = part.table, part.table.num_rows
    arrays = []
    for name, kind in columns.items():
        entry = manifest.streams.get(name)
        known = name in table.schema.names and (entry is None or part.versions.get(name) in entry.versions)
        try:
            array = table[name].cast(kind) if known else pa.chunked_array([pa.nulls(count, kind)])
        except pa.ArrowException as error:
            path = directory / part_name(shard)
            raise InputError(f"{path} is damaged (its column '{name}' is of type {table[name].type})") from error
        if known and entry is not None and rows_name(name, shard) not in sums:  # all are missing, or taken out
            array = pc.if_else(pc.equal(array, PRESENT), pa.scalar(None, kind), array)
        arrays.append(array)
    return pa.table(arrays, names=list(columns))


def _in_order_of_time(table: pa.Table) -> pd.DataFrame:
    """As pandas has it; of one time, in order of shards and of places in them."""
    order = np.argsort(table["written_at"].to_numpy(), kind="stable")
    rows: pd.DataFrame = table.take(pa.array(order)).to_pandas()
    return rows


def _that_count(rows: pd.DataFrame, streams: list[str]) -> pd.DataFrame:
    """Without failures that a success followed, streams of files that changed, and rows that tell nothing.

    The rows come in order of time.
    """
    fails = are_failures(rows)
    succeeded = ~fails & rows[streams].notna().any(axis=1)
    if not fails.any() and succeeded.all() and not rows["video"].duplicated().any():
        return rows  # the usual store, much faster
    order = pd.Series(range(len(rows)), index=rows.index)
    last_success = order[succeeded].groupby(rows["video"][succeeded]).max()
    since = order > rows["video"].map(last_success).fillna(-1)
    of_last = rows[succeeded].groupby("video")[["file_bytes", "file_sha256"]].last()
    size, digest = (rows["video"].map(of_last[name]) for name in of_last)
    same_size = (rows["file_bytes"] == size) | (rows["file_bytes"] == 0)  # an import knows of no file
    same_content = (rows["file_sha256"] == digest) | rows["file_sha256"].isna() | digest.isna()
    return rows[(succeeded & same_size & same_content) | (fails & since)]


def _united(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in order of time -> one a clip, in order of their ids; index clip_id."""
    twice = rows["clip_id"].duplicated(keep=False)
    once = rows[~twice].set_index("clip_id")
    if not twice.any():
        return once.sort_index()
    return pd.concat([once, rows[twice].groupby("clip_id").last()]).sort_index()


def _places(rows: pd.DataFrame, streams: list[str], united: pd.DataFrame) -> dict[str, NDArray[np.int32]]:
    """(clips,) the shard that holds each stream of each clip: of several, the last; -1 where it is not present."""
    clips = united.index.get_indexer(pd.Index(rows["clip_id"]))
    shards = rows["shard"].to_numpy()
    found = {}
    for stream in streams:
        there = (rows[stream] == PRESENT).to_numpy(bool)
        places = np.full(len(united), -1, np.int32)
        places[clips[there]] = shards[there]  # in order of time: what comes later stays
        found[stream] = np.where((united[stream] == PRESENT).to_numpy(bool), places, np.int32(-1))
    return found
