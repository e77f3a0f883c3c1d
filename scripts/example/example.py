"""An example: a picture, a sound or a video from outside, as a query for clips like it.

    file --look--> what it holds --the extractors that made the store of the index--> streams
         --the model of the index--> vectors of its clips --their mean--> one query

It is decoded in a worker process with limits, and nothing of it is written. What the file lacks is left out, and
so is a stream whose extractor is not here any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, final

from features.errors import InputError as FeaturesInputError
from features.errors import MediaError
from features.job import PrecomputeConfig
from mee.errors import InputError, name_id

if TYPE_CHECKING:
    from features.extractors import Extractor, ExtractorSpec
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
    notes: tuple[str, ...]  # sentences for the user: why it is not compared by some of these


@final
class ExampleMaker:
    """Makes examples for an index, one at a time; extractors that were loaded stay."""

    def __init__(self, searcher: Searcher, device: Device = "auto") -> None:
        """device: where pretrained extractors run."""
        self.searcher, self._device = searcher, device
        self._known: dict[str, tuple[ExtractorSpec, Extractor]] = {}  # by digest

    def make(self, path: Path, name: str = "", unwanted: Event | None = None) -> Example:
        """A file as a query.

        Args:
            path: a picture, or LONGEST_S of video or sound at most.
            name: how messages call it; default: the path.
            unwanted: set by another thread, it ends the work within a second.

        Raises:
            InputError: it is no such file, or has none of the streams of the index; or what made these is gone.
        """
        from features.job import FileStreams, extract_file, look
        from mee.encode import encode_gallery

        shown, unwanted = name_id(name or str(path)), unwanted or Event()
        try:
            str(path).encode()
            store, manifest = store_of(self.searcher.video_index)
            seconds = manifest.clip_seconds
            config = PrecomputeConfig(
                clip_seconds=seconds, workers=1, timeout=TIMEOUT_S, max_seconds=LONGEST_S, retries=0
            )
            held = look(path, config, unwanted)
            extractors, notes = self._extractors(store, manifest)
            fitting = {spec: each for spec, each in extractors.items() if any(map(held.meets, each.needs))}
            if not fitting:
                raise self._nothing(shown, notes)
            model = self.searcher.text.model
            _check_streams(model.config.experts, store, manifest)
            for extractor in fitting.values():
                extractor.load()
            source = FileStreams(str(store), extract_file(path, fitting, config, unwanted), manifest)
        except UnicodeEncodeError:
            raise InputError(f"the name {shown} is not Unicode text; rename the file") from None
        except MediaError as error:
            reason = str(error)
            for flag, advice in FLAGS.items():
                reason = reason.replace(flag, advice)
            raise InputError(f"{shown} cannot be an example: {reason}") from error
        video, names = encode_gallery(model, source, list(source.clips.index)).video, self.searcher.modalities
        streams = tuple(compress(names, video.available.any(0).tolist()))
        if not streams:
            raise self._nothing(shown, notes)
        from index import Queries

        missing = tuple(each for each in names if each not in streams)
        return Example(Queries.of_clips(video, self.searcher.video_index.layout), streams, missing, tuple(notes))

    def _nothing(self, shown: str, notes: Sequence[str]) -> InputError:
        more = "".join(f"; {note}" for note in notes[:1])
        return InputError(
            f"{shown} has none of the streams of the index ({', '.join(self.searcher.modalities)}){more}"
        )

    def _extractors(self, store: Path, manifest: Manifest) -> tuple[dict[ExtractorSpec, Extractor], list[str]]:
        """Of the streams of the index by their specs, not loaded; and why some are not here."""
        from features.extractors import RunConfig, recorded_extractor

        found, notes, run = [], [], RunConfig(device=self._device)
        for stream in self.searcher.modalities:
            entry = manifest.streams[stream]
            try:
                if entry.digest not in self._known:
                    places = (store.parent, Path.cwd())
                    self._known[entry.digest] = recorded_extractor(
                        stream, entry.fingerprint, entry.digest, places, run
                    )
                found.append(self._known[entry.digest])
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


def _check_streams(experts: Any, store: Path, manifest: Manifest) -> None:
    made: Mapping[str, str] = {name: entry.digest for name, entry in manifest.streams.items()}
    if other := [each.name for each in experts if each.fingerprint != made.get(each.name)]:
        raise InputError(
            f"the store '{store}' has another '{other[0]}' than the index was made of; make model and index again"
        )
