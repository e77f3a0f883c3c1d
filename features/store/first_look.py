"""What two stores know of a library that is still read: the full one, and the first look at one frame a clip.

    a video with a usable clip in the full store    its clips are those of the full store
    any other                                       its clips are those of the first look, if it has some

So a video that changed keeps its old clips until the full store has new ones. Once the full store has all videos,
this is the full store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, final

import pandas as pd

from features.errors import InputError
from features.extractors import LOOKS
from features.media import FIRST_LOOK
from features.store import layout
from features.store.feature_store import FeatureStore
from features.store.shard import Utterance


@final
class SoFar:
    """It implements `mee.data.FeatureSource` as a `FeatureStore` does, for the videos that count.

    The column of a stream in `clips` holds "first look" where it is of one frame: it will be replaced.
    """

    def __init__(self, store: FeatureStore, first: FeatureStore | None, videos: Collection[str]) -> None:
        """``store``: opened with so_far; ``first``: of a job with first_look, of some of the same streams.

        Raises InputError where a stream of ``first`` was made by another extractor.
        """
        self._store, self._first = store, first
        self.name, self.dims, self.columns = store.name, store.dims, store.columns
        self.fingerprints, self.versions = store.fingerprints, store.versions
        # Usable clips: index clip_id, columns as of the full store
        self.clips = store.clips[store.clips["video"].isin(list(videos))]
        failed, self._of_first = dict(store.failed), frozenset[str]()
        if first is not None:
            looked = _looked(store, first, {*videos}.difference(self.clips["video"]))
            failed, self._of_first = {**first.failed, **failed}, frozenset(looked.index)
            there = [clips for clips in (self.clips, looked) if len(clips)]
            self.clips = pd.concat(there).sort_index() if there else self.clips
        self.failed: Mapping[str, str] = {
            video: failed[video] for video in {*videos}.difference(self.clips["video"]).intersection(failed)
        }

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[layout.Float16Stream | None]:
        """One (T, D) float16 stream a clip; None where it is missing."""
        return self._of_both("read", modality, clip_ids)

    def words(self, modality: str, clip_ids: Sequence[str]) -> list[Sequence[Utterance] | None]:
        """What is said or written in each clip, as `FeatureStore.words`; None where it is missing."""
        return self._of_both("words", modality, clip_ids)

    def unfinished(self, streams: Sequence[str]) -> list[str]:
        """Clips of which one of these streams is not extracted yet, or is of the first look."""
        return sorted(self._of_first.union(self._store.unfinished(streams)).intersection(self.clips.index))

    def _of_both(self, method: str, modality: str, clip_ids: Sequence[str]) -> list[Any]:
        found: list[Any] = [None] * len(clip_ids)
        looked = [clip_id in self._of_first for clip_id in clip_ids]
        for source, own in ((self._store, False), (self._first, True)):
            places = [place for place, one in enumerate(looked) if one is own]
            if source is self._store or (places and source is not None and modality in source.dims):
                made = getattr(source, method)(modality, [clip_ids[place] for place in places])
                for place, each in zip(places, made):
                    found[place] = each
        return found


def _looked(store: FeatureStore, first: FeatureStore, videos: Collection[str]) -> pd.DataFrame:
    """The clips of these videos in the first look, with the columns of the full store."""
    streams = list(store.dims)
    looked = first.clips[first.clips["video"].isin(list(videos))].reindex(columns=store.clips.columns)
    for stream in streams:
        if stream in first.dims:
            _check_same(store, first, stream)
    states = {layout.PRESENT: FIRST_LOOK}
    looked[streams] = looked[streams].astype(object).replace(states).fillna(layout.MISSING)
    return looked


def _check_same(store: FeatureStore, first: FeatureStore, stream: str) -> None:
    """Refuse vectors of another space."""
    full, looked = (dict(each.manifest.streams[stream].fingerprint) for each in (store, first))
    if looked != full | {"parameters": {**full["parameters"], **LOOKS}}:
        raise InputError(
            f"{first.name}: its '{stream}' is no first look by the extractor of {store.name}; remove it, and "
            "extract it again"
        )
