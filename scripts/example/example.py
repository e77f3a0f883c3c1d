"""An example: a picture, a sound or a video from outside, as a query for clips like it.

    file --the extractors that made the store of the index--> streams
         --the model of the index--> vectors of its clips --their mean--> one query

It is decoded in a worker process with limits, and nothing of it is written. What the file lacks is left out, and
so is a stream whose extractor is not here any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, final

from features.errors import InputError as FeaturesInputError
from features.errors import MediaError
from mee.errors import InputError, name_id, visible

if TYPE_CHECKING:
    from features.store import Manifest
    from index import Queries, Searcher, VideoIndex
    from scripts.console import Device

LONGEST_S, TIMEOUT_S = 60.0, 120.0  # of a video or a sound; that its work may take
FLAGS = {" (--max-seconds)": "; cut out the moment that you mean", " (--max-megapixels)": "; make it smaller"}


@dataclass(frozen=True)
class Example:
    """A file as a query."""

    queries: Queries  # a single one
    streams: tuple[str, ...]  # experts that it is compared by
    missing: tuple[str, ...]  # the others of the index
    notes: tuple[str, ...]  # sentences for the user: streams whose extractor is not here


@final
class ExampleMaker:
    """Makes examples for an index, one at a time; extractors that were loaded stay."""

    def __init__(self, searcher: Searcher, device: Device = "auto") -> None:
        """device: where pretrained extractors run."""
        self.searcher, self._device = searcher, device
        self._known: dict[str, Any] = {}  # extractors with their specs, by digest

    def make(self, path: Path, name: str = "", unwanted: Event | None = None) -> Example:
        """A file as a query.

        Args:
            path: a picture, or LONGEST_S of video or sound at most.
            name: how messages call it; default: the path.
            unwanted: set by another thread, it ends the work within a second.

        Raises:
            InputError: it is no such file, or has none of the streams of the index; or what made these is gone.
        """
        from features.job import FileStreams, PrecomputeConfig, extract_file
        from index import Queries
        from mee.encode import encode_gallery

        shown, names = name_id(name) if name else f"'{visible(str(path))}'", self.searcher.modalities
        store, manifest = store_of(self.searcher.video_index)
        limits: Any = {"workers": 1, "timeout": TIMEOUT_S, "max_seconds": LONGEST_S, "retries": 0}
        config = PrecomputeConfig(clip_seconds=manifest.clip_seconds, **limits)
        extractors, notes = self._extractors(store, manifest)
        try:
            clips = extract_file(path, extractors, config, unwanted or Event()) if extractors else []
        except MediaError as error:
            reason = str(error)
            for flag, advice in FLAGS.items():
                reason = reason.replace(flag, advice)
            raise InputError(f"{shown} cannot be an example: {reason}") from error
        there = [False] * len(names)
        if any(made for clip in clips for made in clip.streams.values()):
            source = FileStreams(str(store), clips, manifest)
            video = encode_gallery(self.searcher.text.model, source, list(source.clips.index)).video
            there = video.available.any(0).tolist()
        if not any(there):
            more = "".join(f"; {note}" for note in notes[:1])
            raise InputError(f"{shown} has none of the streams of the index ({', '.join(names)}){more}")
        queries = Queries.of_clips(video, self.searcher.video_index.layout)
        missing = compress(names, (not has for has in there))
        return Example(queries, tuple(compress(names, there)), tuple(missing), tuple(notes))

    def _extractors(self, store: Path, manifest: Manifest) -> tuple[dict[Any, Any], list[str]]:
        """Of the streams of the index by their specs; and why some are not here."""
        from features.extractors import RunConfig, recorded_extractor

        found, notes, run = [], [], RunConfig(device=self._device)
        for stream in self.searcher.modalities:
            by, digest = manifest.streams[stream].fingerprint, manifest.streams[stream].digest
            try:
                if digest not in self._known:
                    self._known[digest] = recorded_extractor(stream, by, digest, (store.parent, Path.cwd()), run)
                found.append(self._known[digest])
            except FeaturesInputError as error:
                notes.append(f"examples are not compared by '{stream}': {error}")
        return dict(found), notes


def offered(searcher: Searcher) -> bool:
    """Whether the store of the index is there; extractors are not looked for."""
    try:
        return bool(store_of(searcher.video_index))
    except (InputError, FeaturesInputError, OSError):
        return False


def store_of(video_index: VideoIndex) -> tuple[Path, Manifest]:
    """The store that an index was made from: its folder, and its manifest.

    Raises:
        InputError: it is not there any more, or lacks a stream of the index.
    """
    from features.store import STORE_FILE, Manifest

    origin, source = video_index.origin, video_index.snapshot.source
    for place in origin.stores(source[0]) if source else ():
        if (place / STORE_FILE).is_file():
            manifest = Manifest.read(place)
            if set(video_index.layout.names) <= manifest.streams.keys():
                return place, manifest
    raise InputError(
        f"the feature store of the index is not at '{origin.store}' any more, and only it says how a file is "
        "read; put it back there, or beside the index"
    )
