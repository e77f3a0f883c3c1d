"""A store -> one file for other programs, written whole or not at all, a piece of it in memory at a time.

    .npz        rows (R, D) float16, offsets (N + 1,) int64, ids (N,): clip i owns rows[offsets[i]:offsets[i + 1]],
                none where it misses the stream. One stream a file; `mee import` reads it back
    .parquet    one row of a stream a row: clip_id, stream, time (seconds, or nothing), vector (D float32, which
                hold a float16 exactly). Streams of one D may share a file; its metadata `streams` tells what made
                them

Clips come shard by shard, those that miss the stream last: all of which every exported stream is known, without
those that failed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from features.errors import InputError
from features.store.atomic_files import whole_file
from features.store.feature_store import FeatureStore
from features.store.rows import are_failures

PLACE = "{stream}"  # in a path, stands for the stream's name
CHUNK_BYTES, CHUNK_CLIPS = 32 << 20, 4096  # of rows, and of clips, written at once
READ_CLIPS = 64  # read at once
OnClips = Callable[[int, int], None]


@final
@dataclass(frozen=True)
class Exported:
    """One file that was written."""

    path: Path
    streams: tuple[str, ...]
    clips: int
    rows: int


def export(
    store: FeatureStore, path: Path, streams: Sequence[str], on_clips: OnClips, *, overwrite: bool = False
) -> list[Exported]:
    """Write streams of a store to a file, or to one file each where the path has `{stream}` in it.

    Args:
        store: to read.
        path: to write: .npz or .parquet.
        streams: their names; none: all of the store's.
        on_clips: called now and then with how many clips are done, and of how many, over all files.
        overwrite: put it in the place of what is there.

    Raises:
        InputError: no such stream or format, streams that one file cannot hold, nothing to write, or something is
            there already.
    """
    chosen = tuple(dict.fromkeys(streams)) or tuple(store.manifest.streams)
    if unknown := [stream for stream in chosen if stream not in store.manifest.streams]:
        raise InputError(f"{store.name} has no stream '{unknown[0]}'; it has {', '.join(store.manifest.streams)}")
    files = _files(store, path, chosen)
    clip_ids = {file: _clip_ids(store, names) for file, names in files.items()}
    for file, names in files.items():
        if file.exists() and not overwrite:
            raise InputError(f"'{file}' is there already; name another file, or say --overwrite")
        if not clip_ids[file]:
            raise InputError(f"{store.name} has no clip with {' and '.join(names)} yet; look with: mee store list")
    total, done, written = sum(map(len, clip_ids.values())), 0, []
    for file, names in files.items():
        write = _write_npz if file.suffix == ".npz" else _write_parquet
        count = 0
        with whole_file(file) as content, closing(write(store, content, names, clip_ids[file])) as steps:
            for clips, rows in steps:
                count = rows
                on_clips(done + clips, total)
        written.append(Exported(file, names, len(clip_ids[file]), count))
        done += len(clip_ids[file])
    return written


def _files(store: FeatureStore, path: Path, streams: tuple[str, ...]) -> dict[Path, tuple[str, ...]]:
    """Which streams go to which file."""
    if path.suffix not in (".npz", ".parquet"):
        raise InputError(f"'{path}': a store is exported to .npz or .parquet, not to '{path.suffix}'")
    if PLACE in path.name:
        return {path.with_name(path.name.replace(PLACE, stream)): (stream,) for stream in streams}
    way = f"choose one with --streams, or write a file each: {path.with_name(f'{path.stem}-{PLACE}{path.suffix}')}"
    if path.suffix == ".npz" and len(streams) > 1:
        raise InputError(f"'{path}': an .npz holds one stream, not {', '.join(streams)}; {way}")
    if len({store.dims[stream] for stream in streams}) > 1:
        sizes = ", ".join(f"{stream} {store.dims[stream]}" for stream in streams)
        raise InputError(f"'{path}': streams in one file must be of one size, and these are not ({sizes}); {way}")
    return {path: streams}


def _clip_ids(store: FeatureStore, streams: Sequence[str]) -> list[str]:
    """In the order in which they lie: in another, each would open a file anew."""
    known = store.rows[list(streams)].notna().all(axis=1) & ~are_failures(store.rows)
    clip_ids = [str(clip_id) for clip_id in store.rows.index[known]]
    shards = store.shards_of(streams[0], clip_ids)
    order = sorted((shard is None, shard or "", clip_id) for shard, clip_id in zip(shards, clip_ids))
    return [clip_id for _, _, clip_id in order]


def _write_npz(
    store: FeatureStore, file: BinaryIO, streams: Sequence[str], clip_ids: list[str]
) -> Generator[tuple[int, int], None, None]:
    """Gives now and then how many clips and rows are written."""
    (stream,) = streams
    lengths = [
        length
        for first in range(0, len(clip_ids), CHUNK_CLIPS)
        for length in store.lengths(stream, clip_ids[first : first + CHUNK_CLIPS])
    ]
    offsets = np.cumsum([0, *lengths], dtype="<i8")
    shape = (int(offsets[-1]), store.dims[stream])
    width = max(map(len, clip_ids))
    with zipfile.ZipFile(file, "w") as archive:
        with _array(archive, "rows", shape, np.dtype("<f2")) as array:
            for begin, chunk in _chunks(store, stream, clip_ids):
                array.writelines(np.ascontiguousarray(rows).tobytes() for rows, _ in chunk if rows is not None)
                yield begin + len(chunk), int(offsets[begin + len(chunk)])
        with _array(archive, "offsets", offsets.shape, offsets.dtype) as array:
            array.write(offsets.tobytes())
        with _array(archive, "ids", (len(clip_ids),), np.dtype(f"<U{width}")) as array:
            for begin in range(0, len(clip_ids), CHUNK_CLIPS):
                array.write(np.array(clip_ids[begin : begin + CHUNK_CLIPS], f"<U{width}").tobytes())


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> IO[bytes]:
    """An array of an .npz, its header written."""
    entry = zipfile.ZipInfo(f"{name}.npy")  # of one date: the same store gives the same file
    file = archive.open(entry, "w", force_zip64=True)
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_2_0(file, header)
    return file


def _write_parquet(
    store: FeatureStore, file: BinaryIO, streams: Sequence[str], clip_ids: list[str]
) -> Generator[tuple[int, int], None, None]:
    """Gives now and then how many clips and rows are written."""
    vector = pa.list_(pa.float32(), store.dims[streams[0]])
    schema = pa.schema(
        [("clip_id", pa.string()), ("stream", pa.string()), ("time", pa.float32()), ("vector", vector)]
    )
    made_by = {stream: dict(store.manifest.streams[stream].fingerprint) for stream in streams}
    schema = schema.with_metadata({"streams": json.dumps(made_by)})
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as out:
        for number, stream in enumerate(streams):
            for begin, chunk in _chunks(store, stream, clip_ids):
                table = _table(stream, clip_ids[begin : begin + len(chunk)], chunk, schema)
                out.write_table(table)
                count += table.num_rows
                yield (number * len(clip_ids) + begin + len(chunk)) // len(streams), count


Chunk = list[tuple[NDArray[np.float16] | None, NDArray[np.float32] | None]]  # rows and times of some clips


def _table(stream: str, clip_ids: Sequence[str], chunk: Chunk, schema: pa.Schema) -> pa.Table:
    there = [(clip_id, rows, times) for clip_id, (rows, times) in zip(clip_ids, chunk) if rows is not None]
    names = [clip_id for clip_id, rows, _ in there for _ in range(len(rows))]
    dim = schema.field("vector").type.list_size
    values = np.concatenate([rows.ravel() for _, rows, _ in there] or [np.zeros(0, np.float16)]).astype(np.float32)
    nothing = (np.full(len(rows), np.nan, np.float32) if times is None else times for _, rows, times in there)
    seconds = np.concatenate([np.zeros(0, np.float32), *nothing])
    columns = [
        pa.array(names, pa.string()),
        pa.array([stream] * len(names), pa.string()),
        pa.array(seconds, pa.float32(), from_pandas=True),  # NaN: nothing
        pa.FixedSizeListArray.from_arrays(pa.array(values), dim),
    ]
    return pa.table(columns, schema=schema)


def _chunks(store: FeatureStore, stream: str, clip_ids: list[str]) -> Iterator[tuple[int, Chunk]]:
    """All clips, as many at once as memory is meant to hold, with the place of the first."""
    chunk: Chunk = []
    size = begin = 0
    for first in range(0, len(clip_ids), READ_CLIPS):
        some = clip_ids[first : first + READ_CLIPS]
        for rows, times in zip(store.read(stream, some), store.times(stream, some)):
            chunk.append((rows, times))
            size += 0 if rows is None else rows.nbytes
            if size >= CHUNK_BYTES or len(chunk) >= CHUNK_CLIPS:
                yield begin, chunk
                begin, chunk, size = begin + len(chunk), [], 0
    if chunk:
        yield begin, chunk
