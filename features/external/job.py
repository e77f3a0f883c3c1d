"""The import job: streams made elsewhere -> a feature store, as if they had been extracted into it.

All files are read twice: once to check every clip, before anything is written, and once to write. What the store
has of a clip already is left alone; a stream that was missing and is there now is added. `imports/<writer>.json`
in the store tells which files its streams came from.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import pandas as pd

from features.errors import InputError
from features.external.clip_arrays import ClipArrays, arrange
from features.external.clips import StoreClips, chosen_clips
from features.external.config import ImportConfig, extractor_names
from features.external.digest import sha256_of
from features.external.formats import open_arrays
from features.external.ids import ListedClip, read_ids
from features.extractors.base import Fingerprint
from features.store.atomic_files import write_whole
from features.store.feature_store import FeatureStore
from features.store.layout import IMPORTS, MISSING, PRESENT, RESERVED, ROW, Float16Stream
from features.store.manifest import NAME, Manifest, checksummed, declare
from features.store.values import MissingRule, as_stream
from features.store.writer import StoreWriter, clear_overwritten

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
class ImportJob:
    """Files, a store and settings, checked and ready to be written."""

    def __init__(
        self,
        directory: Path,
        files: Mapping[str, Path],
        config: ImportConfig,
        on_clip: OnClip,
    ) -> None:
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
        _check_names(files)
        manifest, rows = _store_at(directory)
        kept = [name for name in manifest.streams if not (config.overwrite and name in files)]
        self.known = StoreClips(rows, kept)
        listed = read_ids(config.ids) if config.ids is not None else None
        order = None if listed is None else list(listed)
        self.arrays = {
            stream: arrange(open_arrays(path), order).renamed(self.known.name_of) for stream, path in files.items()
        }
        if listed is not None:
            listed = _renamed(listed, self.known)
        self.clips = chosen_clips(self.arrays, listed, config.ids, self.known, set(files) - set(kept))
        self._count()
        self.dims = self._check(manifest)
        self.sources = {stream: _source(self.arrays[stream], path) for stream, path in files.items()}
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
        states = {stream: _states(rows[stream]) for stream in self.arrays}
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

    def _to_write(self, clip_id: str, states: Mapping[str, Mapping[str, str]]) -> dict[str, Float16Stream | None]:
        """The streams of a clip that the store does not know yet; None: missing."""
        streams = {}
        for stream in self.arrays:
            state = states[stream].get(clip_id)
            if state == PRESENT:
                continue
            found = self._stream(stream, clip_id)
            if found is not None or state != MISSING:
                streams[stream] = found
                if (
                    self.config.ids is None
                    and clip_id in self.known.facts
                    and clip_id not in self.arrays[stream].places
                ):
                    self.report.not_in_file[stream] += 1
        return streams

    def _stream(self, stream: str, clip_id: str) -> Float16Stream | None:
        entries = self.arrays[stream]
        return as_stream(entries.read(clip_id), self.rule, f"{entries.path}: '{clip_id}'")

    def _count(self) -> None:
        self.report.clips = len(self.clips)
        for stream, entries in self.arrays.items():
            if unlisted := [clip_id for clip_id in entries.places if clip_id not in self.clips]:
                self.report.unlisted[stream] = unlisted

    def _check(self, manifest: Manifest) -> dict[str, int]:
        """Look at every stream of every clip; D of each stream."""
        first: dict[str, tuple[str, int]] = {}
        for number, clip_id in enumerate(self.clips, 1):
            for stream, entries in self.arrays.items():
                found = self._stream(stream, clip_id)
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
    if (directory / NAME).is_file():
        store = FeatureStore(directory)
        return store.manifest, store.rows
    return Manifest(None, {}), pd.DataFrame(columns=list(ROW[1:]), index=pd.Index([], name="clip_id"))


def _states(column: pd.Series[Any]) -> dict[str, str]:
    """What the store knows of a stream: present or missing, by clip."""
    return {str(clip_id): str(state) for clip_id, state in column.dropna().items()}


def _check_names(files: Mapping[str, Path]) -> None:
    for stream in files:
        if stream in RESERVED:
            raise InputError(f"no stream may be called '{stream}': the store uses this name itself")


def _renamed(listed: Mapping[str, ListedClip], known: StoreClips) -> dict[str, ListedClip]:
    clips = {}
    for clip in listed.values():
        name = known.name_of(clip.clip_id)
        if name in clips:
            raise InputError(f"the ids '{clip.clip_id}' and '{name}' are one clip of the store; list it once")
        clips[name] = replace(clip, clip_id=name)
    return clips


def _source(entries: ClipArrays, path: Path) -> dict[str, str]:
    return {"file": str(path), "sha256": sha256_of(path), "layout": entries.layout}


def _check_same(directory: Path, manifest: Manifest, wanted: Mapping[str, Fingerprint]) -> None:
    """Refuse what another extractor made, in the words of an import; what was extracted is left to `declare`."""
    for stream, fingerprint in wanted.items():
        old = manifest.streams.get(stream)
        if old is None or old.digest == fingerprint.digest:
            continue
        made_by, _, name = str(old.fingerprint["extractor"]).partition(":")
        if made_by != "imported":
            continue
        what = f"was imported as '{name}'" if name else "came, without --name, from a file of other content"
        way = "begin the stream anew with --overwrite"
        if old.fingerprint["dim"] == fingerprint.dim:
            again = f"{way} and --name {stream}=NAME, and import its other files after it"
            way = f"if the same extractor made both, {f'say --name {stream}={name}' if name else again}"
        raise InputError(
            f"{directory}: its '{stream}' {what} (size {old.fingerprint['dim']}, now {fingerprint.dim}), and a "
            f"store never mixes two. Write to another store, or {way}"
        )
