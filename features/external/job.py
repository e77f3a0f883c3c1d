"""The import job: streams made elsewhere -> a feature store, as if they had been extracted into it.

    a list was given     its clips, no others
    no list              the clips of any of the files, and those that the store has already

All files are read twice: once to check every clip, before anything is written, and once to write. What the store
has of a clip already is kept; a stream that was missing and is there now is added. A clip that mee precompute
made from `video7.mp4` may be called `video7` where no other file is called so. `imports/<writer>.json` in the
store tells which files its streams came from.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, final

import pandas as pd

from features.errors import InputError
from features.external.arrays import ClipArrays, arrange
from features.external.config import ImportConfig, extractor_names
from features.external.formats import open_arrays, sha256_of
from features.external.ids import ListedClip, read_ids
from features.extractors import Fingerprint
from features.media import FAILED, OK, TIMED_OUT
from features.store import (
    IMPORTS,
    MISSING,
    PRESENT,
    RESERVED,
    ROW,
    STORE_FILE,
    ClipRecord,
    FeatureStore,
    Float16Stream,
    Manifest,
    MissingRule,
    StoreWriter,
    as_stream,
    checksummed,
    clear_overwritten,
    declare,
    write_whole,
)

READER = "import"  # what a row says of the reader of an imported clip

OnClip = Callable[[str, int, int], None]


@dataclass
class ImportReport:
    """What an import did."""

    clips: int = 0  # that it is about
    written: int = 0  # of these, clips of which something was written
    unlisted: dict[str, list[str]] = field(default_factory=dict)  # entries of each file that no list asks for
    zeros: dict[str, list[str]] = field(default_factory=dict)  # clips whose stream is there, and all zeros
    not_in_file: Counter[str] = field(default_factory=Counter)  # clips of the store that a file has no entry for
    without_name: list[str] = field(default_factory=list)  # streams known by their file's content only


@final
class StoreClips:
    """The clips that a store has already."""

    def __init__(self, rows: pd.DataFrame, streams: list[str]) -> None:
        """Keep the clips of which one of these streams, which the import leaves as they are, is known."""
        failed = rows["verdict"].isin([FAILED, TIMED_OUT])
        there = rows[~failed & rows[streams].notna().any(axis=1)]
        known = there[[*ROW[1:]]].astype(object)
        facts: Any = known.where(known.notna(), None).to_dict("index")
        self.facts: dict[str, dict[str, Any]] = facts
        self.file_bytes = dict(zip(rows["video"], rows["file_bytes"]))
        from_files = there.index[(there["reader"] != READER) & (there.index == there["video"])]
        stems = [(str(PurePosixPath(name).with_suffix("")), name) for name in from_files]
        counts = Counter(stem for stem, _ in stems)
        self._by_stem = {stem: name for stem, name in stems if counts[stem] == 1}

    def name_of(self, clip_id: str) -> str:
        """What the store calls this clip; the id itself where it does not have it."""
        return clip_id if clip_id in self.facts else self._by_stem.get(clip_id, clip_id)

    def renamed(self, listed: Mapping[str, ListedClip]) -> dict[str, ListedClip]:
        """A list under the store's names."""
        clips = {}
        for clip in listed.values():
            name = self.name_of(clip.clip_id)
            if name in clips:
                raise InputError(f"the ids '{clip.clip_id}' and '{name}' are one clip of the store; list it once")
            clips[name] = replace(clip, clip_id=name)
        return clips

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
        return ClipRecord.of_row(clip.clip_id, self.facts.get(clip.clip_id, unknown), streams)


@final
class ImportJob:
    """Files, a store and settings, checked and ready to be written."""

    def __init__(self, directory: Path, files: Mapping[str, Path], config: ImportConfig, on_clip: OnClip) -> None:
        """Read and check everything; nothing is written.

        Args:
            directory: of the store.
            files: by stream.
            config: settings.
            on_clip: called after each clip with what is being done, how many are, and of how many.

        Raises:
            InputError: a file, a clip or a setting cannot be used, or the store has other streams.
        """
        self.directory, self.config, self.on_clip = directory, config, on_clip
        self.rule = MissingRule(nan_is_missing=config.nan_is_missing, zero_is_missing=config.zero_is_missing)
        self.report = ImportReport()
        for stream in files:
            if stream in RESERVED:
                raise InputError(f"no stream may be called '{stream}': the store uses this name itself")
        manifest, rows = _store_at(directory)
        kept = [name for name in manifest.streams if not (config.overwrite and name in files)]
        self.known = StoreClips(rows, kept)
        listed = None if config.ids is None else read_ids(config.ids)
        self.arrays = {
            stream: arrange(open_arrays(path), None if listed is None else list(listed)).renamed(
                self.known.name_of
            )
            for stream, path in files.items()
        }
        self.clips = self._chosen(None if listed is None else self.known.renamed(listed), kept)
        self.report.clips = len(self.clips)
        self.dims = self._check(manifest)
        self.sources = {
            stream: {"file": str(path), "sha256": sha256_of(path), "layout": self.arrays[stream].layout}
            for stream, path in files.items()
        }
        self.fingerprints = self._fingerprints()
        if not config.overwrite:
            _check_same(directory, manifest, self.fingerprints)
        self.clip_seconds = manifest.clip_seconds

    def run(self) -> ImportReport:
        """Write what the store does not have yet; killed at any moment, it goes on when it is run again."""
        manifest = declare(self.directory, self.fingerprints, self.clip_seconds, overwrite=self.config.overwrite)
        if self.config.overwrite:
            clear_overwritten(self.directory, manifest)
        rows = FeatureStore(self.directory).rows
        states = {stream: rows[stream].dropna().to_dict() for stream in self.arrays}
        clips_of = Counter(clip.video for clip in self.clips.values())
        with StoreWriter(self.directory, manifest) as writer:
            self._tell_sources(writer.name, manifest)
            for number, clip in enumerate(self.clips.values(), 1):
                streams = self._to_write(clip.clip_id, states)
                if streams:
                    writer.add([self.known.record(clip, clips_of[clip.video], streams)])
                    self.report.written += 1
                self.on_clip("write", number, len(self.clips))
        return self.report

    def _chosen(self, listed: Mapping[str, ListedClip] | None, kept: list[str]) -> dict[str, ListedClip]:
        """The clips that this is about, by the store's name; each file must have one in common with the others."""
        for stream, entries in self.arrays.items():
            if listed is not None:
                others, where = set(listed), f"the list {self.config.ids}"
            else:
                others = {name for other in self.arrays.values() if other is not entries for name in other.places}
                others |= self.known.facts.keys() if stream not in kept else set()
                where = "the other files or the store"
            if others and others.isdisjoint(entries.places):
                raise InputError(
                    f"{entries.path} ({stream}) has no clip in common with {where}: it says "
                    f"'{next(iter(entries.places))}', they say '{min(others)}'; give them the same ids"
                )
            if unlisted := [name for name in entries.places if listed is not None and name not in listed]:
                self.report.unlisted[stream] = unlisted
        if listed is not None:
            return dict(listed)
        in_files = (name for entries in self.arrays.values() for name in entries.places)
        return {name: ListedClip(name, name) for name in (*in_files, *self.known.facts)}

    def _to_write(self, clip_id: str, states: Mapping[str, Mapping[Any, str]]) -> dict[str, Float16Stream | None]:
        """The streams of a clip that the store does not know yet; None: missing."""
        streams: dict[str, Float16Stream | None] = {}
        known = self.config.ids is None and clip_id in self.known.facts
        for stream, entries in self.arrays.items():
            state = states[stream].get(clip_id)
            found = None if state == PRESENT else self._stream(entries, clip_id)
            if found is not None or state not in (PRESENT, MISSING):
                streams[stream] = found
                self.report.not_in_file[stream] += known and clip_id not in entries.places
        return streams

    def _stream(self, entries: ClipArrays, clip_id: str) -> Float16Stream | None:
        return as_stream(entries.read(clip_id), self.rule, f"{entries.path}: '{clip_id}'")

    def _check(self, manifest: Manifest) -> dict[str, int]:
        """Look at every stream of every clip; D of each stream."""
        first: dict[str, tuple[str, int]] = {}
        for number, clip_id in enumerate(self.clips, 1):
            for stream, entries in self.arrays.items():
                found = self._stream(entries, clip_id)
                if found is None:
                    continue
                example, dim = first.setdefault(stream, (clip_id, found.shape[1]))
                if found.shape[1] != dim:
                    raise InputError(
                        f"{entries.path}: '{clip_id}' has rows of {found.shape[1]} numbers, '{example}' of {dim}; "
                        "all rows of a stream are of one size"
                    )
                if not found.any():
                    self.report.zeros.setdefault(stream, []).append(clip_id)
            self.on_clip("check", number, len(self.clips))
        dims = {stream: dim for stream, (_, dim) in first.items()}
        for stream, entries in self.arrays.items():
            if stream not in dims:
                if stream not in manifest.streams:
                    raise InputError(f"{entries.path} has nothing of any of {len(self.clips)} clips; leave it out")
                dims[stream] = int(manifest.streams[stream].fingerprint["dim"])
        return dims

    def _fingerprints(self) -> dict[str, Fingerprint]:
        """By name and D where the extractor is named, else by the content of the file."""
        names = extractor_names(self.config.name, list(self.arrays))
        self.report.without_name = [stream for stream in self.arrays if stream not in names]
        return {
            stream: Fingerprint(
                extractor=f"imported:{names[stream]}" if stream in names else "imported",
                version=1,
                dim=dim,
                parameters={} if stream in names else {"stream": stream, "sha256": self.sources[stream]["sha256"]},
            )
            for stream, dim in self.dims.items()
        }

    def _tell_sources(self, writer: str, manifest: Manifest) -> None:
        settings = {"nan_is_missing": self.rule.nan_is_missing, "zero_is_missing": self.rule.zero_is_missing}
        streams = {
            stream: {**self.sources[stream], "version": manifest.streams[stream].versions[0]}
            for stream in self.arrays
        }
        content = {"written_at": time.time(), **settings, "streams": streams}
        name = f"{writer}-import.json"  # a killed writer's unfinished one is cleared by this name
        write_whole(self.directory / IMPORTS / name, checksummed(content))


def _store_at(directory: Path) -> tuple[Manifest, pd.DataFrame]:
    """Manifest and rows of the store, empty ones where there is none yet."""
    if (directory / STORE_FILE).is_file():
        store = FeatureStore(directory)
        return store.manifest, store.rows
    return Manifest(None, {}), pd.DataFrame(columns=list(ROW[1:]), index=pd.Index([], name="clip_id"))


def _check_same(directory: Path, manifest: Manifest, wanted: Mapping[str, Fingerprint]) -> None:
    """Refuse another import in the words of an import; what was extracted is left to `declare`."""
    for stream, fingerprint in wanted.items():
        old = manifest.streams.get(stream)
        made_by, _, name = str(old.fingerprint["extractor"] if old else "").partition(":")
        if old and old.digest != fingerprint.digest and made_by == "imported":
            what = f"was imported as '{name}'" if name else "came, without --name, from a file of other content"
            raise InputError(
                f"{directory}: its '{stream}' {what} (size {old.fingerprint['dim']}, now {fingerprint.dim}), and "
                "a store never mixes two. Write to another store, or replace it with --overwrite; files "
                f"of one extractor go together where each is imported with --name {stream}={name or 'NAME'}"
            )
