"""Reading a feature store. The files are described in features/store/layout.py.

All parts of a store -> its rows, one a clip:

    row of a failure     counts until its video succeeds
    row of a success     counts until its file changes: its size or the hash of its content differs
    rows of one clip     are united: of each column, the last value that is not null
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from features.errors import InputError
from features.media import FAILED, TIMED_OUT
from features.store.layout import (
    MISSING,
    PRESENT,
    ROW,
    ROWS,
    SCHEMA,
    TIMES,
    Float16Stream,
    Times,
    part_name,
    rows_name,
    shard_names,
    times_name,
)
from features.store.manifest import Manifest
from features.store.shard import Sums, read_part, read_sums

OPEN_SHARDS = 64  # memory maps kept open
NULLABLE = ("width", "height", "audio_rate")  # integers that may be unknown


@final
class FeatureStore:
    """A store as it is at the moment of opening; it implements `mee.data.source.FeatureSource`.

    The methods that take clips raise a KeyError if the store does not have one of them, or the stream, and an
    InputError if a file of a shard is damaged.
    """

    def __init__(self, directory: Path) -> None:
        """Open for reading.

        Raises:
            InputError: there is no store at this path, it is damaged, or of another format.
        """
        self.directory = directory
        self.manifest = Manifest.read(directory)
        self._shards = shard_names(directory)
        self._timed: set[str] = set()  # files of times that exist
        streams = list(self.manifest.streams)
        rows = _that_count(self._read_parts(), streams)
        united = _united(rows)
        self._places = _places(rows, streams, united)
        # Everything known: index clip_id; the columns of ROW, and present / missing / None for each stream.
        self.rows: pd.DataFrame = united[[*ROW[1:], *streams]].astype(dict.fromkeys(NULLABLE, "Int32"))
        self._open: OrderedDict[Path, tuple[Any, frozenset[str]]] = OrderedDict()

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.directory)

    @property
    def dims(self) -> Mapping[str, int]:
        """D of every stream."""
        return {stream: int(entry.fingerprint["dim"]) for stream, entry in self.manifest.streams.items()}

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Digest of the extractor that made each stream."""
        return {stream: entry.digest for stream, entry in self.manifest.streams.items()}

    @property
    def versions(self) -> Mapping[str, str]:
        """A text a stream that changes when it is overwritten, and not when stores are merged."""
        return {name: " ".join((e.digest, *e.overwritten)) for name, e in self.manifest.streams.items()}

    @cached_property
    def clips(self) -> pd.DataFrame:
        """The clips whose every stream is known, without those that failed; index clip_id."""
        known = self.rows[list(self.manifest.streams)].notna().all(axis=1)
        return self.rows[known & ~are_failures(self.rows)]

    @cached_property
    def failed(self) -> Mapping[str, str]:
        """Videos that cannot be used, each with the reason."""
        rows = self.rows.drop(index=self.clips.index)
        failed = are_failures(rows)
        unfinished = "not all of its streams are there: run mee precompute again, or mee import what is missing"
        return {
            **dict.fromkeys(rows.loc[~failed, "video"], unfinished),
            **dict(zip(rows.loc[failed, "video"], rows.loc[failed, "note"])),
        }

    def done(self, stream: str) -> set[str]:
        """Videos whose every clip has this stream, or is known to miss it."""
        known = self.rows[~are_failures(self.rows) & self.rows[stream].notna()]
        counts = known.groupby("video")["clips_of_video"].agg(["size", "max"])
        return set(counts.index[counts["size"] >= counts["max"]])

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Float16Stream | None]:
        """One (T, D) float16 stream a clip, memory-mapped; None where it is missing."""
        return [
            None if shard is None else self._tensor(rows_name(modality, shard), clip_id)
            for shard, clip_id in zip(self.shards_of(modality, clip_ids), clip_ids)
        ]

    def times(self, modality: str, clip_ids: Sequence[str]) -> list[Times | None]:
        """(T,) float32 seconds of the rows of each clip's stream, on the time line of its video.

        None where the stream is missing, and where it has no times because it was imported.
        """
        names = [shard and times_name(modality, shard) for shard in self.shards_of(modality, clip_ids)]
        return [self._tensor(name, clip) if name in self._timed else None for name, clip in zip(names, clip_ids)]

    def lengths(self, modality: str, clip_ids: Sequence[str]) -> list[int]:
        """T of each clip's stream, 0 where it is missing; reads no rows."""
        return [
            0 if shard is None else self._tensor(rows_name(modality, shard), clip_id, shape=True)[0]
            for shard, clip_id in zip(self.shards_of(modality, clip_ids), clip_ids)
        ]

    def shards_of(self, modality: str, clip_ids: Sequence[str]) -> list[str | None]:
        """The shard that holds a stream of each clip; None where it is missing."""
        if modality not in self.manifest.streams:
            raise KeyError(f"{self.directory} has no stream '{modality}'")
        rows = self.rows.index.get_indexer(pd.Index(list(clip_ids), dtype=self.rows.index.dtype))
        known = (rows >= 0) & self.rows[modality].notna().to_numpy()[rows] if len(self.rows) else rows >= 0
        if not known.all():
            raise KeyError(f"{self.directory} has no '{modality}' of clip '{clip_ids[int(np.argmin(known))]}'")
        places: NDArray[np.int32] = self._places[modality][rows] if len(rows) else np.zeros(0, np.int32)
        return [self._shards[place] if place >= 0 else None for place in places]

    def coverage(self) -> dict[str, int]:
        """How many of the usable clips have each stream."""
        return {stream: int((self.clips[stream] == PRESENT).sum()) for stream in self.manifest.streams}

    def _read_parts(self) -> pd.DataFrame:
        """The rows of all parts in order of time; of one time, in order of shards and of rows in them."""
        streams = self.manifest.streams
        columns = {name: SCHEMA.field(name).type for name in SCHEMA.names} | dict.fromkeys(streams, pa.string())
        tables = [pa.schema(columns.items()).empty_table().append_column("shard", pa.array([], pa.int32()))]
        for number, shard in enumerate(self._shards):
            sums = read_sums(self.directory, shard)
            self._timed |= {name for name in sums if name.endswith(TIMES)}
            table = self._part(shard, sums, columns)
            tables.append(table.append_column("shard", pa.array(np.full(table.num_rows, number, np.int32))))
        table = pa.concat_tables(tables)
        order = np.argsort(table["written_at"].to_numpy(), kind="stable")
        rows: pd.DataFrame = table.take(pa.array(order)).to_pandas()
        return rows

    def _part(self, shard: str, sums: Sums, columns: Mapping[str, pa.DataType]) -> pa.Table:
        """A part in the columns of the store; what it lacks, or what no longer counts, is null."""
        table, versions = read_part(self.directory, shard)
        arrays = []
        for name, kind in columns.items():
            entry = self.manifest.streams.get(name)
            known = name in table.column_names and (entry is None or versions.get(name) in entry.versions)
            try:
                array = table[name].cast(kind) if known else pa.chunked_array([pa.nulls(table.num_rows, kind)])
            except pa.ArrowException as error:
                path, wrong = self.directory / part_name(shard), table[name].type
                raise InputError(f"{path} is damaged (its column '{name}' is of type {wrong})") from error
            if known and entry is not None and rows_name(name, shard) not in sums:  # all missing, or removed
                array = pc.if_else(pc.equal(array, PRESENT), pa.scalar(None, kind), array)
            arrays.append(array)
        return pa.table(arrays, names=list(columns))

    def _tensor(self, name: str, clip_id: str, *, shape: bool = False) -> Any:
        """A clip's tensor in a file of a shard, or its shape only; None where a file of times lacks the clip."""
        path = self.directory / name
        try:
            if path not in self._open:
                tensors: Any = safe_open(path, framework="numpy")
                self._open[path] = (tensors, frozenset(tensors.keys()))
                if len(self._open) > OPEN_SHARDS:
                    self._open.popitem(last=False)
            self._open.move_to_end(path)
            tensors, names = self._open[path]
            if clip_id not in names and name.endswith(TIMES):
                return None
            return tensors.get_slice(clip_id).get_shape() if shape else tensors.get_tensor(clip_id)
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path} is damaged ({' '.join(str(error).split())}). List all damage with mee store verify "
                f"{self.directory}, or extract the stream again: mee precompute VIDEOS {self.directory} "
                f"--streams {name.partition('/')[0]} --overwrite"
            ) from error


def are_failures(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of files without any usable clip."""
    return rows["verdict"].isin([FAILED, TIMED_OUT])


def _that_count(rows: pd.DataFrame, streams: list[str]) -> pd.DataFrame:
    """Rows in order of time, without failures before a success, files that changed, and empty rows."""
    fails = are_failures(rows)
    succeeded = ~fails & rows[streams].notna().any(axis=1)
    if not fails.any() and succeeded.all() and not rows["video"].duplicated().any():
        return rows  # the usual store, much faster
    order = pd.Series(range(len(rows)), index=rows.index)
    last_success = order[succeeded].groupby(rows["video"][succeeded]).max()
    since = order > rows["video"].map(last_success).fillna(-1)
    of_last = rows[succeeded].groupby("video")[["file_bytes", "file_sha256"]].last()
    size, digest = (rows["video"].map(of_last[name]) for name in of_last)
    same_size = (rows["file_bytes"] == size) | (rows["file_bytes"] == 0)  # an import has no file
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
    """(clips,) number of the shard that holds each stream of each clip, the last of several; -1 where missing."""
    clips = united.index.get_indexer(pd.Index(rows["clip_id"]))
    shards = rows["shard"].to_numpy()
    found = {}
    for stream in streams:
        there = (rows[stream] == PRESENT).to_numpy(bool)
        places = np.full(len(united), -1, np.int32)
        places[clips[there]] = shards[there]  # in order of time: later rows replace earlier ones
        found[stream] = np.where((united[stream] == PRESENT).to_numpy(bool), places, np.int32(-1))
    return found


def summarise(store: FeatureStore) -> list[dict[str, Any]]:
    """What a store holds, one entry a stream, for JSON; of each file of rows, only the header is read."""
    usable = store.rows[~are_failures(store.rows)]
    summaries = []
    for stream, entry in store.manifest.streams.items():
        made_by = dict(entry.fingerprint)
        parameters = dict(made_by.get("parameters") or {})
        needs = parameters.pop("needs", ())
        summaries.append(
            {
                "stream": stream,
                "extractor": made_by["extractor"],
                "version": made_by["version"],  # of the extractor's code
                "model": made_by.get("model"),
                "revision": made_by.get("revision"),
                "size": made_by["dim"],
                "sampling": [_sampling(kind, need) for each in needs for kind, need in each.items()],
                "parameters": parameters,  # other than the sampling
                "fingerprint": entry.digest,
                "overwritten": len(entry.overwritten),  # how often
                "code": dict(entry.code),  # version by package, when the stream was declared
                "present": int((usable[stream] == PRESENT).sum()),  # clips
                "missing": int((usable[stream] == MISSING).sum()),
                "unknown": int(usable[stream].isna().sum()),  # not extracted yet
                **_on_disk(store.directory, stream, made_by["dim"]),
            }
        )
    return summaries


def _sampling(kind: str, need: Mapping[str, Any]) -> str:
    if kind == "FrameNeed":
        window = f", windows of {need['window']} every {need['stride']}" if need["window"] > 1 else ""
        return f"frames {need['fps']:g}/s {need['size']} px{window}"
    if kind == "SoundNeed":
        return f"sound {need['rate']} Hz"
    return f"{kind} " + " ".join(f"{key}={value}" for key, value in need.items())


def _on_disk(directory: Path, stream: str, dim: int) -> dict[str, Any]:
    """Rows, bytes and files of a stream over all shards, and whether all shards have times."""
    sizes = {path.name: path.stat().st_size for path in (directory / stream).glob("[!.]*" + ROWS)}
    shards = {name.removesuffix(ROWS) for name in sizes if not name.endswith(TIMES)}
    rows = 0
    for shard in shards:
        with (directory / stream / (shard + ROWS)).open("rb") as file:
            header = file.read(8)
        if len(header) == 8:  # else it is damaged: verify reports it
            rows += max(0, sizes[shard + ROWS] - 8 - struct.unpack("<Q", header)[0]) // (2 * dim)
    timed = bool(shards) and all(shard + TIMES in sizes for shard in shards)
    return {"rows": rows, "bytes": sum(sizes.values()), "files": len(sizes), "timed": timed}
