"""What changes in a store when files are renamed, copied, touched or gone: rows that are added, none is rewritten.

dropped       a tombstone: the rows of a video before it no longer count
touched       the file has another time of change, and the same content
taken_over    copies of the rows and streams of one video, under the name of another file of the same content
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from features.errors import InputError
from features.media import Selection
from features.store.feature_store import FeatureStore
from features.store.layout import DROPPED, ROW, ClipRecord, Float16Stream, Lines, Times
from features.store.writer import StoreWriter


def dropped(video: str) -> ClipRecord:
    """The tombstone of a video; new rows of it may stand in the same shard."""
    facts: dict[str, Any] = {"start_s": 0.0, "end_s": 0.0, "note": "", "reader": "", "clips_of_video": 0}
    return ClipRecord(clip_id=f"{video}#{DROPPED}", video=video, verdict=DROPPED, file_bytes=0, **facts)


def touched(store: FeatureStore, mtimes: Mapping[str, float]) -> list[ClipRecord]:
    """A row for each of these videos that records another time of change."""
    firsts = store.rows[["video"]].reset_index().drop_duplicates("video").set_index("video")["clip_id"]
    rows = _rows(store, [firsts[video] for video in mtimes])
    return [replace(row, streams={}, file_mtime=mtime) for row, mtime in zip(rows, mtimes.values())]


def taken_over(
    store: FeatureStore, files: Mapping[str, tuple[str, float]], streams: Collection[str]
) -> Iterator[list[ClipRecord]]:
    """The records of each new file: by its name, the video of the same content, and its own time of change."""
    places = store.rows.groupby("video").indices
    for new, (old, mtime) in files.items():
        rows = store.rows.iloc[places[old]]
        of_file = rows["file_sha256"].notna() & rows.index.str.startswith(old)  # an import may add clips of any id
        clip_ids = rows.index[of_file].tolist()
        made: list[dict[str, Any]] = [{} for _ in clip_ids]
        times: list[dict[str, Times]] = [{} for _ in clip_ids]
        for stream in streams:
            known = [place for place, state in enumerate(store.rows.loc[clip_ids, stream].notna()) if state]
            found = _streams(store, stream, [clip_ids[place] for place in known])
            for place, (values, seconds) in zip(known, found):
                made[place][stream] = values
                times[place] |= {} if seconds is None else {stream: seconds}
        yield [
            replace(
                row,
                clip_id=new + row.clip_id.removeprefix(old),
                video=new,
                file_mtime=mtime,
                streams=its,
                times=at,
            )
            for row, its, at in zip(_rows(store, clip_ids), made, times)
        ]


def _rows(store: FeatureStore, clip_ids: Sequence[str]) -> Iterator[ClipRecord]:
    """The rows of some clips, without their streams."""
    rows = store.rows.loc[list(clip_ids), list(ROW[1:])]
    facts: Any = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return (ClipRecord.of_row(clip_id, row, {}) for clip_id, row in zip(clip_ids, facts))


def _streams(
    store: FeatureStore, stream: str, clip_ids: Sequence[str]
) -> list[tuple[Float16Stream | Lines | None, Times | None]]:
    if not store.manifest.holds_words(stream):
        return list(zip(store.read(stream, clip_ids), store.times(stream, clip_ids)))
    return [
        (None, None)
        if said is None
        else (tuple(text for _, _, text in said), np.array([[start, end] for start, end, _ in said]))
        for said in store.words(stream, clip_ids)
    ]


def gone_from(folders: Sequence[Path], videos: Iterable[str], selection: Selection) -> list[str]:
    """Those of some videos that are below none of these folders, or excluded there."""
    return [
        video
        for video in videos
        if any(
            selection.excludes(str(part)) for part in (PurePosixPath(video), *PurePosixPath(video).parents[:-1])
        )
        or not any(_is_there(folder / video) for folder in folders)
    ]


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # no permission, a failing disk: nobody knows
        return True
    return True


def drop_gone(
    directory: Path,
    folders: Sequence[Path],
    selection: Selection,
    *,
    everything: bool = False,
    dry_run: bool = False,
) -> list[str]:
    """Drop the rows of the videos whose files are gone; returns their names. What was imported alone stays.

    Raises:
        InputError: a folder does not exist, or all files would be dropped, which takes `everything`.
    """
    store = FeatureStore(directory)
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise InputError(f"there is no folder '{missing[0]}', so nothing is dropped; is its drive connected?")
    known = store.files.index[store.files["file_bytes"] > 0]
    gone = gone_from(folders, known, selection)
    if gone and len(gone) == len(known) and not everything:
        raise InputError(
            f"none of the {len(known)} files of {directory} is below {' or '.join(map(str, folders))}, so nothing "
            "is dropped; connect the drive, name the folder that was given to mee precompute, or add --all"
        )
    if gone and not dry_run:
        with StoreWriter(directory, store.manifest) as writer:
            writer.add([dropped(video) for video in gone])
    return gone
