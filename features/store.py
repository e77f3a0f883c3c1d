"""The feature store: a directory of streams that many workers can write without talking to each other.

    store.json                       format version, how videos are cut, each stream's fingerprint and generation
    parts/<shard>.parquet            the rows of one shard: clips, their verdicts, and which streams they have
    <stream>/<shard>.safetensors     {clip_id: (T, D) float16} of that shard; a missing stream has no entry
    writers/<writer>.lock            held while its job lives

A shard's streams are written aside, synced and renamed, its part last: what has a part is whole, what has none
does not exist. Reading is memory-mapped. pandas and safetensors open all of it without us. A clip that several
shards tell of is the union of their streams; a later success takes the place of an earlier failure. What was
extracted from a file before it changed (its size tells) does not count once it is extracted again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open

from features.clip import FAILED, TIMED_OUT
from features.errors import InputError
from features.manifest import Manifest
from features.record import PRESENT, ROW, Float16Stream, read_part

OPEN_SHARDS = 64  # memory maps kept open at a time


class FeatureStore:
    """A store as it is at the moment of opening; it fits `mee.data.FeatureSource`."""

    def __init__(self, directory: Path) -> None:
        """Open for reading.

        Raises:
            InputError: there is no store at this path, or it is of another format.
        """
        self.directory = directory
        self.manifest = Manifest.read(directory)
        self._rows, self._shards = _read_parts(directory, self.manifest)
        self._open: OrderedDict[Path, Any] = OrderedDict()

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
    def rows(self) -> pd.DataFrame:
        """Everything known: index clip_id; the columns of ROW, and present / missing / None for each stream."""
        return self._rows

    @cached_property
    def clips(self) -> pd.DataFrame:
        """The clips whose every stream is known, without those that failed; index clip_id."""
        whole = self._rows[list(self.manifest.streams)].notna().all(axis=1)
        return self._rows[whole & ~_failed(self._rows)]

    @cached_property
    def failed(self) -> Mapping[str, str]:
        """Videos that cannot be used, each with the reason."""
        rows = self._rows.drop(index=self.clips.index)
        failed = _failed(rows)
        unfinished = "not all of its streams are there: run mee precompute again, or mee import what is missing"
        return {
            **dict.fromkeys(rows.loc[~failed, "video"], unfinished),
            **dict(zip(rows.loc[failed, "video"], rows.loc[failed, "note"])),
        }

    def done(self, stream: str) -> set[str]:
        """Videos of which every clip has this stream, or is known to miss it."""
        known = self._rows[~_failed(self._rows) & self._rows[stream].notna()]
        counts = known.groupby("video")["clips_of_video"].agg(["size", "max"])
        return set(counts.index[counts["size"] >= counts["max"]])

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Float16Stream | None]:
        """One (T, D) float16 stream a clip, memory-mapped; None where it is missing.

        Raises:
            KeyError: a clip or a stream is not in the store.
            InputError: a shard's file is damaged.
        """
        if modality not in self.manifest.streams:
            raise KeyError(f"{self.directory} has no stream '{modality}'")
        states = self._rows[modality].reindex(list(clip_ids))
        unknown = states.index[states.isna()]
        if len(unknown):
            raise KeyError(f"{self.directory} has no '{modality}' of clip '{unknown[0]}'")
        shards = self._shards[modality]
        return [
            self._tensor(modality, shards[clip_id], clip_id) if state == PRESENT else None
            for clip_id, state in zip(clip_ids, states)
        ]

    def coverage(self) -> dict[str, int]:
        """How many of the usable clips have each stream."""
        return {stream: int((self.clips[stream] == PRESENT).sum()) for stream in self.manifest.streams}

    def _tensor(self, stream: str, shard: str, clip_id: str) -> Float16Stream:
        path = self.directory / stream / f"{shard}.safetensors"
        try:
            rows: Float16Stream = self._shard(path).get_tensor(clip_id)
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path} is damaged ({' '.join(str(error).split())}). Extract the stream again: "
                f"mee precompute VIDEOS {self.directory} --streams {stream} --overwrite"
            ) from error
        return rows

    def _shard(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = safe_open(path, framework="numpy")
            if len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]


def _failed(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows["verdict"].isin([FAILED, TIMED_OUT])


def _read_parts(directory: Path, manifest: Manifest) -> tuple[pd.DataFrame, dict[str, dict[str, str]]]:
    """All rows, one a clip, and for each stream the shard that holds a clip."""
    streams = list(manifest.streams)
    parts = []
    for path in sorted((directory / "parts").glob("*.parquet")):
        table, made_by = read_part(path)
        part = table.to_pandas().assign(shard=path.stem)
        for stream in streams:
            if made_by.get(stream) != manifest.streams[stream].key:  # overwritten since, or not extracted here
                part[stream] = None
        parts.append(part[[*ROW, *streams, "written_at", "shard"]].astype(dict.fromkeys(streams, object)))
    if not parts:
        empty = pd.DataFrame(columns=[*ROW[1:], *streams], index=pd.Index([], name="clip_id"))
        return empty, {stream: {} for stream in streams}
    rows = pd.concat(parts, ignore_index=True).sort_values(["written_at", "shard"], kind="stable")
    rows = _that_count(rows, streams)
    shards: dict[str, dict[str, str]] = {}
    for stream in streams:
        there = rows[rows[stream] == PRESENT]
        shards[stream] = dict(zip(there["clip_id"], there["shard"]))  # of several, the last
    union = rows.drop(columns=["written_at", "shard"]).groupby("clip_id", sort=True).last()
    return union, shards


def _that_count(rows: pd.DataFrame, streams: list[str]) -> pd.DataFrame:
    """A failure counts until its video succeeds, a success until its file changes; a row without streams never.

    The rows come in order of time.
    """
    failed = _failed(rows)
    succeeded = ~failed & rows[streams].notna().any(axis=1)
    order = pd.Series(range(len(rows)), index=rows.index)
    last_success = order[succeeded].groupby(rows["video"][succeeded]).max()
    since = order > rows["video"].map(last_success).fillna(-1)
    size = rows["video"].map(rows[succeeded].groupby("video")["file_bytes"].last())
    unchanged = (rows["file_bytes"] == size) | (rows["file_bytes"] == 0)  # an import knows of no file
    return rows[(succeeded & unchanged) | (failed & since)]
