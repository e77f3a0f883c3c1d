"""Which clips an import is about, and what the store's rows say of them.

    a list was given     its clips, no others
    no list              the clips of any of the files, and those that the store has already

A clip that mee precompute made from `video7.mp4` may be called `video7` where no other file is called so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, final

import pandas as pd

from features.errors import InputError
from features.external.clip_arrays import ClipArrays
from features.external.ids import ListedClip
from features.media.clip import FAILED, OK, TIMED_OUT
from features.store.layout import ROW, ClipRecord, Float16Stream

READER = "import"  # what a row says of the reader of an imported clip


@final
class StoreClips:
    """The clips that a store has already."""

    def __init__(self, rows: pd.DataFrame, streams: list[str]) -> None:
        """Keep the clips of which one of these streams is known.

        Args:
            rows: `FeatureStore.rows`.
            streams: those that the import leaves as they are.
        """
        failed = rows["verdict"].isin([FAILED, TIMED_OUT])
        there = rows[~failed & rows[streams].notna().any(axis=1)]
        known = there[[*ROW[1:]]].astype(object)
        by_clip: Any = known.where(known.notna(), None).to_dict("index")
        self.facts: dict[str, dict[str, Any]] = by_clip
        self.file_bytes = dict(zip(rows["video"], rows["file_bytes"]))
        from_files = there.index[(there["reader"] != READER) & (there.index == there["video"])]
        stems = [(str(PurePosixPath(name).with_suffix("")), name) for name in from_files]
        counts = Counter(stem for stem, _ in stems)
        self._by_stem = {stem: name for stem, name in stems if counts[stem] == 1}

    def name_of(self, clip_id: str) -> str:
        """What the store calls this clip; the id itself where it does not have it."""
        return clip_id if clip_id in self.facts else self._by_stem.get(clip_id, clip_id)

    def record(
        self, clip: ListedClip, clips_of_video: int, streams: Mapping[str, Float16Stream | None]
    ) -> ClipRecord:
        """A row for some streams of a clip, the same as the store's in all else where the store has the clip."""
        unknown = {
            "video": clip.video,
            "start_s": clip.start_s,
            "end_s": clip.end_s,
            "verdict": OK,
            "note": "",
            "reader": READER,
            "clips_of_video": clips_of_video,
            "file_bytes": self.file_bytes.get(clip.video, 0),
        }
        facts = self.facts.get(clip.clip_id, unknown)
        return ClipRecord.of_row(clip.clip_id, facts, streams)


def chosen_clips(
    arrays: Mapping[str, ClipArrays],
    listed: Mapping[str, ListedClip] | None,
    list_path: Path | None,
    known: StoreClips,
    new_streams: set[str],
) -> dict[str, ListedClip]:
    """The clips of an import, by id.

    Args:
        arrays: stream by stream, under the store's names.
        listed: the list under the store's names, if one was given.
        list_path: where it stands, for messages.
        known: what the store has.
        new_streams: those that the store has for no clip yet.

    Raises:
        InputError: a file has no clip in common with the list, or with the other files and the store.
    """
    if listed is not None:
        for stream, entries in arrays.items():
            _require_common(stream, entries, set(listed), f"the list {list_path}")
        return dict(listed)
    for stream, entries in arrays.items():
        others = {clip_id for name, other in arrays.items() if name != stream for clip_id in other.places}
        if stream in new_streams:
            others |= known.facts.keys()
        if others:
            _require_common(stream, entries, others, "the other files or the store")
    in_files = (clip_id for entries in arrays.values() for clip_id in entries.places)
    return {clip_id: ListedClip(clip_id, clip_id) for clip_id in (*in_files, *known.facts)}


def _require_common(stream: str, entries: ClipArrays, others: set[str], where: str) -> None:
    if others.isdisjoint(entries.places):
        raise InputError(
            f"{entries.path} ({stream}) has no clip in common with {where}: it says "
            f"'{next(iter(entries.places))}', they say '{min(others)}'; give them the same ids"
        )
