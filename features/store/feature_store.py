"""Reading a feature store. What lies on disk is described in features/store/layout.py.

A clip that several shards tell of is the union of their streams; a later success takes the place of an earlier
failure. What was extracted from a file before it changed (its size or its hash tells) does not count once it is
extracted again.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from features.errors import InputError
from features.store.layout import MISSING, PRESENT, ROWS, TIMES, Float16Stream, Times, rows_name, times_name
from features.store.manifest import Manifest
from features.store.rows import are_failures, read_rows

OPEN_SHARDS = 64  # memory maps kept open at a time


@final
class FeatureStore:
    """A store as it is at the moment of opening; it fits `mee.data.source.FeatureSource`.

    The methods that take clips raise a KeyError where one of them, or the stream, is not in the store, and an
    InputError where a shard's file is damaged.
    """

    def __init__(self, directory: Path) -> None:
        """Open for reading.

        Raises:
            InputError: there is no store at this path, or it is of another format.
        """
        self.directory = directory
        self.manifest = Manifest.read(directory)
        self._content = read_rows(directory, self.manifest)
        self._open: OrderedDict[Path, tuple[Any, frozenset[str]]] = OrderedDict()

    @property
    def name(self) -> str:
        """What to call it in messages."""
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
        """Of each stream, what changes when it is overwritten; a merge leaves it."""
        return {stream: entry.key for stream, entry in self.manifest.streams.items()}

    @property
    def rows(self) -> pd.DataFrame:
        """Everything known: index clip_id; the columns of ROW, and present / missing / None for each stream."""
        return self._content.rows

    @cached_property
    def clips(self) -> pd.DataFrame:
        """The clips whose every stream is known, without those that failed; index clip_id."""
        whole = self.rows[list(self.manifest.streams)].notna().all(axis=1)
        return self.rows[whole & ~are_failures(self.rows)]

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
        """Videos of which every clip has this stream, or is known to miss it."""
        known = self.rows[~are_failures(self.rows) & self.rows[stream].notna()]
        counts = known.groupby("video")["clips_of_video"].agg(["size", "max"])
        return set(counts.index[counts["size"] >= counts["max"]])

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Float16Stream | None]:
        """One (T, D) float16 stream a clip, memory-mapped; None where it is missing."""
        return [
            None if shard is None else self._tensor(modality, rows_name(modality, shard), clip_id)
            for shard, clip_id in zip(self.shards_of(modality, clip_ids), clip_ids)
        ]

    def times(self, modality: str, clip_ids: Sequence[str]) -> list[Times | None]:
        """(T,) float32 seconds of the rows of each clip's stream, on the time line of its video.

        None where the stream is missing, and where it has no times: it was imported.
        """
        timed = {self._content.shards[number] for number in self._content.timed.get(modality, ())}
        return [
            None
            if shard not in timed
            else self._tensor(modality, times_name(modality, shard), clip_id, or_none=True)
            for shard, clip_id in zip(self.shards_of(modality, clip_ids), clip_ids)
        ]

    def lengths(self, modality: str, clip_ids: Sequence[str]) -> list[int]:
        """T of each clip's stream, 0 where it is missing; no rows are read."""
        return [
            0 if shard is None else self._length(modality, rows_name(modality, shard), clip_id)
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
        places: NDArray[np.int32] = self._content.places[modality][rows] if len(rows) else np.zeros(0, np.int32)
        return [self._content.shards[place] if place >= 0 else None for place in places]

    def coverage(self) -> dict[str, int]:
        """How many of the usable clips have each stream."""
        return {stream: int((self.clips[stream] == PRESENT).sum()) for stream in self.manifest.streams}

    def _tensor(self, stream: str, name: str, clip_id: str, *, or_none: bool = False) -> Any:
        with self._damage(stream, name):
            tensors, names = self._shard(self.directory / name)
            return None if or_none and clip_id not in names else tensors.get_tensor(clip_id)

    def _length(self, stream: str, name: str, clip_id: str) -> int:
        with self._damage(stream, name):
            return int(self._shard(self.directory / name)[0].get_slice(clip_id).get_shape()[0])

    @contextmanager
    def _damage(self, stream: str, name: str) -> Iterator[None]:
        """What is wrong with a shard's file, as a sentence."""
        try:
            yield
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{self.directory / name} is damaged ({' '.join(str(error).split())}). See all that is with "
                f"mee store verify {self.directory}, or extract the stream again: "
                f"mee precompute VIDEOS {self.directory} --streams {stream} --overwrite"
            ) from error

    def _shard(self, path: Path) -> tuple[Any, frozenset[str]]:
        if path not in self._open:
            tensors: Any = safe_open(path, framework="numpy")
            self._open[path] = (tensors, frozenset(tensors.keys()))
            if len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]


def summarise(store: FeatureStore) -> list[dict[str, Any]]:
    """What a store holds, one entry a stream, for JSON; of each file of rows, the header is read."""
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
                "sampling": [_in_words(kind, need) for each in needs for kind, need in each.items()],
                "parameters": parameters,  # beyond the sampling
                "fingerprint": entry.digest,
                "overwritten": len(entry.overwritten),  # how often
                "code": dict(entry.code),  # versions by package, when it was declared
                "present": int((usable[stream] == PRESENT).sum()),  # clips
                "missing": int((usable[stream] == MISSING).sum()),
                "unknown": int(usable[stream].isna().sum()),  # not extracted yet
                **_on_disk(store.directory, stream, made_by["dim"]),
            }
        )
    return summaries


def _in_words(kind: str, need: Mapping[str, Any]) -> str:
    """One need of an extractor."""
    if kind == "FrameNeed":
        window = f", windows of {need['window']} every {need['stride']}" if need["window"] > 1 else ""
        return f"frames {need['fps']:g}/s {need['size']} px{window}"
    if kind == "SoundNeed":
        return f"sound {need['rate']} Hz"
    return f"{kind} " + " ".join(f"{key}={value}" for key, value in need.items())


def _on_disk(directory: Path, stream: str, dim: int) -> dict[str, Any]:
    """Rows, bytes and files of a stream, all shards, and whether all have times."""
    sizes = {path.name: path.stat().st_size for path in (directory / stream).glob("[!.]*" + ROWS)}
    held = {name.removesuffix(ROWS) for name in sizes if not name.endswith(TIMES)}
    rows = 0
    for shard in held:
        with (directory / stream / (shard + ROWS)).open("rb") as file:
            head = file.read(8)
        if len(head) == 8:  # else damaged: verify tells
            rows += max(0, sizes[shard + ROWS] - 8 - struct.unpack("<Q", head)[0]) // (2 * dim)
    timed = bool(held) and all(shard + TIMES in sizes for shard in held)
    return {"rows": rows, "bytes": sum(sizes.values()), "files": len(sizes), "timed": timed}
