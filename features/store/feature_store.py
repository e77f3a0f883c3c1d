"""Reading a feature store. The files are described in features/store/layout.py.

All parts of a store -> its rows, one a clip:

    row of a failure     counts until its video succeeds, in a shard of the same number or a later one
    row of a success     counts until its file changes: its size or the hash of its content differs; or its cut
    tombstone            ends what counts of its video, in shards of lower numbers
    rows of one clip     are united: of each column, the last value that is not null
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from features.errors import InputError
from features.files import entry, open_file, regular_size
from features.media import FAILED, TIMED_OUT
from features.store import layout
from features.store.manifest import Manifest
from features.store.shard import DROPPED, TEXT, Utterance, damaged, decoded, read_part, read_sums, read_words

OPEN_SHARDS, OPEN_BYTES = 64, 1 << 27  # memory maps kept open: what was read of them counts as memory
OPEN_WORDS = 16  # files of words whose content is kept
MOST_HEADER = 16 << 20  # bytes of the header of a file of rows
NULLABLE = ("width", "height", "audio_rate")  # integers that may be unknown


@final
class FeatureStore:
    """A store as it is at the moment of opening; it implements `mee.data.source.FeatureSource`.

    The methods that take clips raise a KeyError if the store does not have one of them, or the stream, and an
    InputError if a file of a shard is damaged.
    """

    def __init__(self, directory: Path, *, so_far: bool = False) -> None:
        """Open for reading; so_far: a clip without a stream that is not extracted yet counts as missing it."""
        self.directory = directory
        self.manifest = Manifest.read(directory)
        self._shards: list[str] = []  # in order of their numbers
        self._timed: set[str] = set()  # files of times that exist
        streams = list(self.manifest.streams)
        rows = _that_count(self._read_parts(streams), streams)
        united = _united(rows)
        self._places = _places(rows, streams, united)
        # Everything known: index clip_id; the columns of ROW, and present / missing / None for each stream.
        self.rows: pd.DataFrame = united[[*layout.ROW[1:], *streams]].astype(dict.fromkeys(NULLABLE, "Int32"))
        self._pending = self.rows[streams].isna()[~are_failures(self.rows)]
        if so_far:
            self.rows = self.rows.fillna(dict.fromkeys(streams, layout.MISSING))
        self._open: OrderedDict[str, _Mapped] = OrderedDict()
        self._words_in = lru_cache(OPEN_WORDS)(partial(read_words, directory))

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.directory)

    @property
    def dims(self) -> Mapping[str, int]:
        """D of every stream; 0 of those that hold words."""
        return {stream: int(entry.fingerprint["dim"]) for stream, entry in self.manifest.streams.items()}

    @property
    def columns(self) -> Mapping[str, tuple[str, ...]]:
        """Of each stream that names columns, the D names: "" for those without one, which come first."""
        named = {stream: tuple(entry.fingerprint["columns"]) for stream, entry in self.manifest.streams.items()}
        return {stream: names for stream, names in named.items() if names}

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
        usable = self.rows[list(self.manifest.streams)].notna().all(axis=1) & ~are_failures(self.rows)
        return self.rows if usable.all() else self.rows[usable]

    @cached_property
    def files(self) -> pd.DataFrame:
        """The files as they were last seen: index video; file_bytes, 0 of an import; file_sha256, file_mtime."""
        return self.rows.groupby("video")[["file_bytes", "file_sha256", "file_mtime"]].last()

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

    def unfinished(self, streams: Sequence[str]) -> list[str]:
        """Clips of which one of these streams is not extracted yet."""
        return self._pending.index[self._pending[list(streams)].any(axis=1)].tolist()

    def done(self, stream: str) -> set[str]:
        """Videos whose every clip has this stream, or is known to miss it."""
        known = self.rows[~are_failures(self.rows) & self.rows[stream].notna()]
        counts = known.groupby("video")["clips_of_video"].agg(["size", "max"])
        return set(counts.index[counts["size"] >= counts["max"]])

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[layout.Float16Stream | None]:
        """One (T, D) float16 stream a clip; None where it is missing. Shards are read one after the other."""
        found: list[layout.Float16Stream | None] = [None] * len(clip_ids)
        for shard, place in self._in_order(modality, clip_ids, words=False):
            found[place] = self._tensor(layout.stream_names(modality, shard).rows, clip_ids[place])
        return found

    def words(self, modality: str, clip_ids: Sequence[str]) -> list[Sequence[Utterance] | None]:
        """Start, end and text of what is said or written in each clip, in order of time; None where it is missing.

        Times are seconds on the video. An utterance may begin before its clip, or end after it, and be of both.
        """
        found: list[Sequence[Utterance] | None] = [None] * len(clip_ids)
        for shard, place in self._in_order(modality, clip_ids, words=True):
            name = layout.stream_names(modality, shard).words
            found[place] = self._words_in(name).get(clip_ids[place])
            if found[place] is None:
                raise damaged(self.directory, self.directory / name, f"it has no words of '{clip_ids[place]}'")
        return found

    def _in_order(self, modality: str, clip_ids: Sequence[str], *, words: bool) -> list[tuple[str, int]]:
        """Shard and place of the clips that have a stream, shard by shard."""
        shards = [(shard, place) for place, shard in enumerate(self.shards_of(modality, clip_ids)) if shard]
        if self.manifest.holds_words(modality) is not words:
            raise KeyError(f"'{modality}' of {self.directory} holds {'numbers' if words else 'words'}")
        return sorted(shards)

    def times(self, modality: str, clip_ids: Sequence[str]) -> list[layout.Times | None]:
        """(T,) float32 seconds of the rows of each clip's stream, on the time line of its video.

        None where the stream is missing, and where it has no times because it was imported, or holds words.
        """
        shards = self.shards_of(modality, clip_ids)
        names = [shard and layout.stream_names(modality, shard).times for shard in shards]
        return [self._tensor(name, clip) if name in self._timed else None for name, clip in zip(names, clip_ids)]

    def lengths(self, modality: str, clip_ids: Sequence[str]) -> list[int]:
        """T of each clip's stream, 0 where it is missing; reads no rows, but words."""
        if modality in self.manifest.streams and self.manifest.holds_words(modality):
            return [len(said or ()) for said in self.words(modality, clip_ids)]
        return [
            0 if shard is None else self._tensor(layout.stream_names(modality, shard).rows, clip_id, shape=True)[0]
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
        return {stream: int((self.clips[stream] == layout.PRESENT).sum()) for stream in self.manifest.streams}

    def _read_parts(self, streams: list[str]) -> pd.DataFrame:
        """The rows of all parts in order of their shards; `number` is of a shard, `shard` its place."""
        found = []
        unlisted: dict[str, list[str]] = {stream: [] for stream in streams}  # shards without its file
        size = 0
        for shard in layout.shard_names(self.directory):
            sums, part = read_sums(self.directory, shard), read_part(self.directory, shard, streams)
            size += part.size
            self._timed |= {name for name in sums if name.endswith(layout.TIMES)}
            table = part.table
            for stream in streams:
                if part.versions.get(stream) not in self.manifest.streams[stream].versions:
                    place = table.schema.get_field_index(stream)
                    table = table.remove_column(place) if place >= 0 else table  # null below
                elif self._content(stream, shard) not in sums:  # all missing, or removed
                    unlisted[stream].append(shard)
            written_at = table["written_at"][0].as_py() if len(table) else None
            found.append((layout.number_of(shard), written_at or 0.0, shard, table))
        found.sort(key=lambda each: each[:3])
        self._shards = [shard for _, _, shard, _ in found]
        types = {each.name: TEXT if each.type == pa.string() else each.type for each in layout.SCHEMA}
        empty = pa.schema(types | dict.fromkeys(streams, TEXT)).empty_table()
        lengths = [len(table) for *_, table in found]
        table = pa.concat_tables([empty, *(table for *_, table in found)], promote_options="default")
        shards = np.repeat(np.arange(len(found), dtype=np.int32), lengths)
        try:
            rows: pd.DataFrame = decoded(table.append_column("shard", pa.array(shards)), size).to_pandas()
        except (pa.ArrowException, ValueError) as error:
            for shard in self._shards:
                read_part(self.directory, shard, streams, check=True)  # raises an error that names it
            raise InputError(f"the parts of '{self.directory}' are damaged: {error}") from error
        rows["number"] = np.array([number for number, *_ in found], np.int32)[shards]
        for stream, without in unlisted.items():
            gone = np.isin(self._shards, without)[shards] & (rows[stream] == layout.PRESENT).to_numpy(bool)
            if gone.any():
                rows.loc[gone, stream] = None
        return rows

    def _content(self, stream: str, shard: str) -> str:
        """The file of a stream's rows or words."""
        names = layout.stream_names(stream, shard)
        return names.words if self.manifest.holds_words(stream) else names.rows

    def _tensor(self, name: str, clip_id: str, *, shape: bool = False) -> Any:
        """A clip's tensor in a file of a shard, or its shape only; None where a file of times lacks the clip."""
        stream, timed = name.partition("/")[0], name.endswith(layout.TIMES)
        try:
            mapped = self._open.get(name) or self._map(name)
            self._open.move_to_end(name)
            if timed and clip_id not in mapped.clips:
                return None
            tensor = mapped.tensors.get_slice(clip_id)
            kind, found = tensor.get_dtype(), tensor.get_shape()
            dim = [] if timed else [self.manifest.streams[stream].fingerprint["dim"]]
            fits = kind == ("F32" if timed else "F16") and found[:1] and found[1:] == dim
            if not fits or not 0 < math.prod(found) <= layout.MOST_NUMBERS:
                raise ValueError(f"'{clip_id}' is {kind} of shape {found}"[:200])
            if shape:
                return found
            if mapped.size_now() != mapped.size:  # to read beyond a file's end would be a signal
                raise ValueError("it has another size than when it was opened")
            array = mapped.tensors.get_tensor(clip_id)
            bits, exponent = array.view(f"u{array.itemsize}"), 0x7F800000 if timed else 0x7C00
            if ((bits & exponent) == exponent).any():  # much faster than isfinite
                raise ValueError(f"'{clip_id}' holds numbers that are not finite"[:200])
            return array
        except (SafetensorError, OSError, ValueError) as error:
            place = quote(str(self.directory))
            raise InputError(
                f"{self.directory / name} is damaged ({' '.join(str(error).split())}). List all damage with mee "
                f"store verify {place}, or extract the stream again: mee precompute VIDEOS {place} --streams "
                f"{stream} --overwrite"
            ) from error

    def _map(self, name: str) -> _Mapped:
        path = entry(self.directory, *name.split("/"))
        size = regular_size(path)
        with open_file(path) as file:
            header = int.from_bytes(file.read(8), "little")
        if header > MOST_HEADER:
            raise ValueError(f"its header is said to have {header:,} bytes")
        tensors: Any = safe_open(path, framework="numpy")
        mapped = self._open[name] = _Mapped(str(path), size, tensors, frozenset(tensors.keys()))
        total = sum(each.size for each in self._open.values())
        while len(self._open) > OPEN_SHARDS or (total > OPEN_BYTES and len(self._open) > 1):
            total -= self._open.popitem(last=False)[1].size
        return mapped


class _Mapped(NamedTuple):
    """A file of a shard that is mapped into memory."""

    path: str
    size: int  # bytes, when it was opened
    tensors: Any
    clips: frozenset[str]

    def size_now(self) -> int:
        """Bytes of the file; what is removed while it is mapped can still be read."""
        try:
            return os.stat(self.path).st_size
        except FileNotFoundError:
            return self.size


def are_failures(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of files without any usable clip."""
    return rows["verdict"].isin([FAILED, TIMED_OUT])


def _that_count(rows: pd.DataFrame, streams: list[str]) -> pd.DataFrame:
    """Rows in order of time, without failures before a success, of files that changed or are dropped, or empty."""
    fails, order, video = are_failures(rows), rows["number"], rows["video"]
    succeeded = ~fails & rows[streams].notna().any(axis=1)
    if not fails.any() and succeeded.all() and not video.duplicated().any():
        return rows  # the usual store, much faster
    dropped = rows["verdict"] == DROPPED
    if dropped.any():
        since = video.map(order[dropped].groupby(video[dropped]).max()).fillna(-1)
        return _that_count(rows[~dropped & (order >= since)], streams)
    last_success = order[succeeded].groupby(video[succeeded]).max()
    since = order[fails] > last_success.reindex(video[fails]).fillna(-1).to_numpy()
    no_file = rows["file_sha256"].isna()  # an import has none, or does not read it
    of_last = rows[succeeded].groupby("video")[["file_bytes", "file_sha256"]].last()
    of_last["clips_of_video"] = rows[succeeded & ~no_file].groupby("video")["clips_of_video"].last()
    size, digest, cut = (video.map(of_last[name]) for name in of_last)
    same_size = (rows["file_bytes"] == size) | (rows["file_bytes"] == 0)
    same_content = ((rows["file_sha256"] == digest) & (rows["clips_of_video"] == cut)) | no_file | digest.isna()
    # rows without streams, of a file that has some, may hold a later time of change
    counts = (succeeded | ~(fails | no_file)) & size.notna() & same_size & same_content
    counts[fails] = since
    return rows[counts]


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
        there = (rows[stream] == layout.PRESENT).to_numpy(bool)
        places = np.full(len(united), -1, np.int32)
        places[clips[there]] = shards[there]  # in order of time: later rows replace earlier ones
        found[stream] = np.where((united[stream] == layout.PRESENT).to_numpy(bool), places, np.int32(-1))
    return found
