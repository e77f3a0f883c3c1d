"""Streams of a store -> files for other programs; words -> text for people, players and spreadsheets.

A stream of numbers, written atomically:

    .npz        rows (R, D) float16, offsets (N + 1,) int64, ids (N,): clip i owns rows[offsets[i]:offsets[i + 1]],
                none where it misses the stream; columns (D,), their names, where they have some. `mee import`
                reads it back
    .parquet    one row of the stream a row: clip_id, stream, time (seconds, or null), vector (D float32, which
                hold a float16 exactly); the metadata `streams` holds the fingerprint

The clips are those of which the stream is known, without those that failed: shard by shard, missing ones last. The
whole stream is held in memory.

What is said or written becomes WebVTT or CSV. An utterance that two clips share counts once. In CSV, text that a
spreadsheet could take for a formula begins with an apostrophe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError
from features.files import is_bare, whole_file
from features.store.feature_store import FeatureStore, are_failures
from features.store.layout import Float16Stream, Times

PLACE = "{stream}"  # in a path, stands for the stream's name
READ_CLIPS = 64  # between two calls of on_clips
OnClips = Callable[[int, int], None]
COLUMNS = ["video", "start_s", "end_s", "stream", "words"]  # of an utterance
ORDER = ["video", "stream", "start_s", "end_s"]
FORMULA = ("=", "+", "-", "@")
SHORTEST_CUE_S = 0.001  # WebVTT has no cue that ends when it begins


class Exported(NamedTuple):
    """One file that was written."""

    path: Path
    stream: str
    clips: int
    rows: int


def export_stream(
    store: FeatureStore, path: Path, streams: Sequence[str], on_clips: OnClips, *, overwrite: bool = False
) -> list[Exported]:
    """Write one stream of a store to a file, or each of several to its own if the path has `{stream}` in it.

    ``path`` ends in .npz or .parquet; no ``streams``: all of the store's that hold numbers. ``on_clips``: called
    now and then with how many clips are done, and of how many, over all files.
    """
    words = [stream for stream in store.manifest.streams if store.manifest.holds_words(stream)]
    chosen = list(dict.fromkeys(streams)) or [stream for stream in store.manifest.streams if stream not in words]
    if unknown := [stream for stream in chosen if stream not in store.manifest.streams]:
        raise InputError(f"{store.name} has no stream '{unknown[0]}'; it has {', '.join(store.manifest.streams)}")
    if path.suffix not in (".npz", ".parquet"):
        raise InputError(f"'{path}': a store is exported to .npz or .parquet, not to '{path.suffix}'")
    if spoken := [stream for stream in chosen if stream in words]:
        raise InputError(f"'{spoken[0]}' of {store.name} holds words: write them with mee store words")
    if PLACE not in path.name and len(chosen) > 1:
        raise InputError(
            f"'{path}': a file holds one stream, not {', '.join(chosen)}; choose one with --streams, or write a "
            f"file each: {quote(str(path.with_name(f'{path.stem}-{PLACE}{path.suffix}')))}"
        )
    files = {stream: path.with_name(path.name.replace(PLACE, stream)) for stream in chosen}
    clip_ids = {stream: _clip_ids(store, stream) for stream in chosen}
    for stream, file in files.items():
        if file.exists() and not overwrite:
            raise InputError(f"'{file}' exists already; name another file, or use --overwrite")
        if not clip_ids[stream]:
            raise InputError(f"{store.name} has no clip with {stream} yet; see mee store list {quote(store.name)}")
    total, done, written = sum(map(len, clip_ids.values())), 0, []
    for stream, file in files.items():
        ids = clip_ids[stream]
        clips: list[Float16Stream] = []
        times: list[Times | None] = []
        for first in range(0, len(ids), READ_CLIPS):
            some = ids[first : first + READ_CLIPS]
            missing = np.zeros((0, store.dims[stream]), np.float16)
            clips += [missing if rows is None else rows for rows in store.read(stream, some)]
            times += store.times(stream, some)
            done += len(some)
            on_clips(done, total)
        lengths, rows = list(map(len, clips)), np.concatenate(clips)
        with whole_file(file) as out:
            if file.suffix == ".npz":
                arrays: dict[str, Any] = {"rows": rows, "offsets": np.cumsum([0, *lengths]), "ids": np.array(ids)}
                if stream in store.columns:
                    arrays["columns"] = np.array(store.columns[stream])
                np.savez(out, **arrays)
            else:
                seconds = [np.full(n, np.nan, np.float32) if t is None else t for n, t in zip(lengths, times)]
                columns = {
                    "clip_id": pa.array(np.repeat(np.array(ids, object), lengths), pa.string()),
                    "stream": pa.array([stream] * len(rows), pa.string()),
                    "time": pa.array(np.concatenate(seconds), from_pandas=True),  # NaN: null
                    "vector": pa.FixedSizeListArray.from_arrays(rows.astype(np.float32).ravel(), rows.shape[1]),
                }
                made_by = json.dumps({stream: dict(store.manifest.streams[stream].fingerprint)})
                table = pa.table(columns).replace_schema_metadata({"streams": made_by})
                pq.write_table(table, out, compression="zstd")
        written.append(Exported(file, stream, len(clips), len(rows)))
    return written


def _clip_ids(store: FeatureStore, stream: str) -> list[str]:
    """In the order of their shards: any other would open each file many times."""
    known = store.rows[stream].notna() & ~are_failures(store.rows)
    clip_ids = [str(clip_id) for clip_id in store.rows.index[known]]
    shards = store.shards_of(stream, clip_ids)
    order = sorted((shard is None, shard or "", clip_id) for shard, clip_id in zip(shards, clip_ids))
    return [clip_id for _, _, clip_id in order]


def words_table(store: FeatureStore, stream: str | None = None, video: str | None = None) -> pd.DataFrame:
    """COLUMNS of each utterance, by video, stream and time; of one stream or one video, or of all."""
    there = [name for name in store.manifest.streams if store.manifest.holds_words(name)]
    if not there or stream not in (None, *there):
        what = "stream of words" if stream is None else f"'{stream}'"
        has = (
            f"it has {', '.join(there)}"
            if there
            else "make one: mee precompute VIDEOS STORE --streams speech text"
        )
        raise InputError(f"{store.name} has no {what}; {has}")
    clips = store.clips if video is None else store.clips[store.clips["video"] == video]
    if video is not None and clips.empty:
        raise InputError(f"{store.name} has no usable video '{video}'; see mee store list --clips")
    rows = [
        (name, start, end, each, text)
        for each in (there if stream is None else [stream])
        for name, said in zip(clips["video"], store.words(each, list(clips.index)))
        for start, end, text in said or ()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates().sort_values(ORDER)


def as_csv(table: pd.DataFrame) -> str:
    """The text of a CSV file."""
    plain = {
        name: table[name].map(lambda cell: "'" * cell.startswith(FORMULA) + cell) for name in ("video", "words")
    }
    return table.assign(**plain).to_csv(index=False, float_format="%.3f")


def as_vtt(table: pd.DataFrame) -> dict[str, str]:
    """The text of a WebVTT file for each video."""
    return {
        str(video): "WEBVTT\n" + "".join(map(_cue, rows["start_s"], rows["end_s"], rows["words"]))
        for video, rows in table.groupby("video")
    }


def vtt_path(folder: Path, video: str) -> Path:
    """Where the file of a video belongs, below a folder; raises InputError where its name leads elsewhere."""
    parts = PurePosixPath(video).parts
    if not all(map(is_bare, parts)):
        raise InputError(f"the video {video!r:.80} cannot be the name of a file; write CSV")
    return folder.joinpath(*parts[:-1], f"{parts[-1]}.vtt")


def _cue(start: float, end: float, text: str) -> str:
    end = max(end, start + SHORTEST_CUE_S)
    return f"\n{_clock(start)} --> {_clock(end)}\n{escape(text, quote=False)}\n"


def _clock(seconds: float) -> str:
    """hh:mm:ss.mmm."""
    ms = round(max(seconds, 0.0) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
