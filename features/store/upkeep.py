"""What changes in a store where files are renamed, copied or gone: rows are added, and none is rewritten."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import InputError
from features.media import Selection
from features.store.feature_store import FeatureStore
from features.store.layout import ROW, ClipRecord
from features.store.writer import CheckedStream, StoreWriter


def taken_over(
    store: FeatureStore, files: Mapping[str, tuple[str, float | None]], streams: Collection[str]
) -> Iterator[list[ClipRecord]]:
    """Copies of rows and these streams, file by file: by new name, the video in the store and the time of change.

    The same name without streams: rows that only record another time.
    """
    places = store.rows.groupby("video").indices if files else {}
    for new, (old, mtime) in files.items():
        rows = store.rows.iloc[places[old]].astype(object)
        rows = rows[rows["file_sha256"].notna() & rows.index.str.startswith(old)]  # not clips that were imported
        facts: Any = rows.where(rows.notna(), None).to_dict("index")
        records = []
        for clip_id, row in facts.items():
            made = {name: _stream(store, name, clip_id) for name in streams if row[name] is not None}
            row = {name: row[name] for name in ROW[1:]} | {"video": new, "file_mtime": mtime}
            record = ClipRecord.of_row(new + clip_id.removeprefix(old), row, {})
            times = {name: stream.times for name, stream in made.items() if stream and len(stream.times)}
            values = {name: stream and stream.rows for name, stream in made.items()}
            records.append(replace(record, streams=values, times=times))
        yield records


def _stream(store: FeatureStore, stream: str, clip_id: str) -> CheckedStream | None:
    if store.manifest.holds_words(stream):
        (said,) = store.words(stream, [clip_id])
        times = np.array([place[:2] for place in said or ()])
        return CheckedStream(tuple(text for *_, text in said), times) if said else None
    (rows,), (seconds,) = store.read(stream, [clip_id]), store.times(stream, [clip_id])
    return None if rows is None else CheckedStream(rows, np.zeros(0) if seconds is None else seconds)


def gone_from(
    folders: Sequence[Path], store: FeatureStore, selection: Selection, there: Collection[str] = ()
) -> list[str]:
    """The files of a store, but for what is known to be there, that are below no folder, or excluded there."""
    files = set(store.files.index[store.files["file_bytes"] > 0]).difference(there)  # not what is only imported
    return [
        v for v in sorted(files) if selection.excludes(v) or not any(_is_there(place / v) for place in folders)
    ]


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:  # of others, such as no permission, nobody knows
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    return True


def drop_gone(
    store: FeatureStore, folders: Sequence[Path], selection: Selection, *, everything: bool, dry_run: bool
) -> list[str]:
    """Drop the rows of the files that are gone from some folders; returns their names.

    Raises:
        InputError: a folder does not exist, or all files would be dropped, which takes `everything`.
    """
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise InputError(f"there is no folder '{missing[0]}', so nothing is dropped; is its drive connected?")
    gone = gone_from(folders, store, selection)
    if 0 < len(gone) == (store.files["file_bytes"] > 0).sum() and not everything:
        raise InputError(
            f"none of the {len(gone)} files of {store.name} is below {' or '.join(map(str, folders))}, so nothing "
            "is dropped; connect the drive, name the folder that was given to mee precompute, or add --all"
        )
    if not dry_run:
        drop_videos(store, gone)
    return gone


def drop_videos(store: FeatureStore, videos: Collection[str]) -> None:
    """Drop the rows of these videos, of which the store may have none."""
    there = sorted({*videos}.intersection(store.rows["video"]))
    if there:
        with StoreWriter(store.directory, store.manifest) as writer:
            writer.add(list(map(ClipRecord.tombstone, there)))
