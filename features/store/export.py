"""A stream of a store -> one file for other programs, written atomically.

    .npz        rows (R, D) float16, offsets (N + 1,) int64, ids (N,): clip i owns rows[offsets[i]:offsets[i + 1]],
                none where it misses the stream. `mee import` reads it back
    .parquet    one row of the stream a row: clip_id, stream, time (seconds, or null), vector (D float32, which
                hold a float16 exactly); its metadata `streams` tells what made it

Clips come shard by shard, those that miss the stream last: all of which the stream is known, without those that
failed. The whole stream is held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError
from features.store.atomic_files import whole_file
from features.store.feature_store import FeatureStore
from features.store.layout import Float16Stream, Times
from features.store.rows import are_failures

PLACE = "{stream}"  # in a path, stands for the stream's name
READ_CLIPS = 64  # read at once
OnClips = Callable[[int, int], None]


@final
@dataclass(frozen=True)
class Exported:
    """One file that was written."""

    path: Path
    stream: str
    clips: int
    rows: int


def export_stream(
    store: FeatureStore, path: Path, streams: Sequence[str], on_clips: OnClips, *, overwrite: bool = False
) -> list[Exported]:
    """Write a stream of a store to a file, or streams to one file each where the path has `{stream}` in it.

    Args:
        store: to read.
        path: to write: .npz or .parquet.
        streams: their names; none: all of the store's.
        on_clips: called now and then with how many clips are done, and of how many, over all files.
        overwrite: put it in the place of what is there.

    Raises:
        InputError: no such stream or format, several streams for one file, nothing to write, or something is there
            already.
    """
    chosen = list(dict.fromkeys(streams)) or list(store.manifest.streams)
    if unknown := [stream for stream in chosen if stream not in store.manifest.streams]:
        raise InputError(f"{store.name} has no stream '{unknown[0]}'; it has {', '.join(store.manifest.streams)}")
    if path.suffix not in (".npz", ".parquet"):
        raise InputError(f"'{path}': a store is exported to .npz or .parquet, not to '{path.suffix}'")
    if PLACE not in path.name and len(chosen) > 1:
        raise InputError(
            f"'{path}': a file holds one stream, not {', '.join(chosen)}; choose one with --streams, or write a "
            f"file each: {path.with_name(f'{path.stem}-{PLACE}{path.suffix}')}"
        )
    files = {stream: path.with_name(path.name.replace(PLACE, stream)) for stream in chosen}
    clip_ids = {stream: _clip_ids(store, stream) for stream in chosen}
    for stream, file in files.items():
        if file.exists() and not overwrite:
            raise InputError(f"'{file}' is there already; name another file, or say --overwrite")
        if not clip_ids[stream]:
            raise InputError(f"{store.name} has no clip with {stream} yet; look with: mee store list")
    total, done, written = sum(map(len, clip_ids.values())), 0, []
    for stream, file in files.items():
        clips: list[Float16Stream] = []
        times: list[Times | None] = []
        for first in range(0, len(clip_ids[stream]), READ_CLIPS):
            some = clip_ids[stream][first : first + READ_CLIPS]
            nothing = np.zeros((0, store.dims[stream]), np.float16)
            clips += [nothing if rows is None else rows for rows in store.read(stream, some)]
            times += store.times(stream, some)
            done += len(some)
            on_clips(done, total)
        lengths = list(map(len, clips))
        rows = np.concatenate(clips)
        with whole_file(file) as out:
            if file.suffix == ".npz":
                np.savez(out, rows=rows, offsets=np.cumsum([0, *lengths]), ids=np.array(clip_ids[stream]))
            else:
                pq.write_table(
                    _table(store, stream, clip_ids[stream], rows, lengths, times), out, compression="zstd"
                )
        written.append(Exported(file, stream, len(clips), len(rows)))
    return written


def _clip_ids(store: FeatureStore, stream: str) -> list[str]:
    """In the order in which they lie: in another, each would open a file anew."""
    known = store.rows[stream].notna() & ~are_failures(store.rows)
    clip_ids = [str(clip_id) for clip_id in store.rows.index[known]]
    shards = store.shards_of(stream, clip_ids)
    order = sorted((shard is None, shard or "", clip_id) for shard, clip_id in zip(shards, clip_ids))
    return [clip_id for _, _, clip_id in order]


def _table(
    store: FeatureStore,
    stream: str,
    clip_ids: Sequence[str],
    rows: Float16Stream,
    lengths: Sequence[int],
    times: Sequence[Times | None],
) -> pa.Table:
    seconds = [np.full(n, np.nan, np.float32) if t is None else t for n, t in zip(lengths, times)]
    columns = {
        "clip_id": pa.array(np.repeat(np.array(clip_ids, object), lengths), pa.string()),
        "stream": pa.array([stream] * len(rows), pa.string()),
        "time": pa.array(np.concatenate(seconds), from_pandas=True),  # NaN: null
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).ravel()), rows.shape[1]),
    }
    told = {"streams": json.dumps({stream: dict(store.manifest.streams[stream].fingerprint)})}
    return pa.table(columns).replace_schema_metadata(told)
