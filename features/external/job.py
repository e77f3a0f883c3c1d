"""The import job: streams made elsewhere -> a feature store, as if they had been extracted into it.

    with a list       its clips, no others
    without a list    the clips of any of the files, and those of the store

All files are read twice: first every clip is checked, before anything is written, then the clips are written. What
the store has already is kept; a stream that was missing and is present now is added. A clip of the store may be
spelled otherwise in the files, such as `video7` for `video7.mp4`: `find` says which clip an id means.
`imports/<writer>-import.json` in the store lists the files that its streams came from.

The array of one clip -> its stream, (T, D) float16:

    (D,)                          one row, T = 1
    (1, T, D), (T, D, 1, 1), ...  without the axes of length 1, if one or two others remain
    (0, D) or (0,)                missing
    rows of NaN, or a lone NaN    refused; with `nan_is_missing` dropped, and missing if no other row remains
    rows of zeros at the end      kept; with `zero_is_missing` dropped, and missing if no other row remains
    NaN, infinity, above 65504    refused
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.errors import InputError
from features.external.arrays import ClipArrays, arrange, open_arrays, sha256_of
from features.external.config import ImportConfig, ListedClip, by_stream, read_columns, read_ids
from features.extractors import Fingerprint, check_columns
from features.media import OK
from features.store import (
    MISSING,
    PRESENT,
    ROW,
    STORE_FILE,
    ClipRecord,
    FeatureStore,
    Float16Stream,
    Manifest,
    StoreWriter,
    Work,
    are_failures,
    check_names,
    clear_overwritten,
    declare,
)

READER = "import"  # in the column `reader` of an imported clip
LARGEST, SMALLEST = float(np.finfo(np.float16).max), float(np.finfo(np.float16).smallest_normal)

OnClip = Callable[[str, int, int], None]
Find = Callable[[Iterable[str], Iterable[str], str], Mapping[str, str]]  # ids, clips there, where the ids are


@dataclass
class ImportReport:
    """What an import did."""

    clips: int = 0  # of the import
    written: int = 0  # of these, clips of which something was written
    unlisted: dict[str, list[str]] = field(default_factory=dict)  # by stream, clips of its file that no list names
    zeros: dict[str, list[str]] = field(default_factory=dict)  # by stream, clips that are present and all zeros
    padded: dict[str, list[str]] = field(default_factory=dict)  # by stream, others whose last rows are zeros
    small: dict[str, list[str]] = field(default_factory=dict)  # by stream, clips too small for float16's digits
    not_in_file: Counter[str] = field(default_factory=Counter)  # by stream, clips of the store that its file lacks
    without_name: list[str] = field(default_factory=list)  # streams identified by the content of their file
    respelled: dict[str, dict[str, str]] = field(default_factory=dict)  # by file, ids of it -> the clips they mean


@final
class ImportJob:
    """Files, a store and settings, checked and ready to be written."""

    def __init__(
        self,
        directory: Path,
        files: Mapping[str, Path],
        config: ImportConfig,
        on_clip: OnClip,
        find: Find = lambda *_: {},
    ) -> None:
        """Read and check everything: files by stream, settings, and what the store has; nothing is written.

        ``on_clip``: called after each clip with "check" or "write", how many are done, and of how many; ``find``:
        id -> the clip that it means, each for one id; without ids that mean none (default: ids as they are).
        """
        self.directory, self.config, self.on_clip = directory, config, on_clip
        self.report = ImportReport()
        check_names(files)
        manifest = Manifest(None, {})
        rows = pd.DataFrame(columns=list(ROW[1:]), index=pd.Index([], name="clip_id"))
        if (directory / STORE_FILE).is_file():
            store = FeatureStore(directory)
            manifest, rows = store.manifest, store.rows
        kept = [name for name in manifest.streams if not (config.overwrite and name in files)]
        there = rows[~are_failures(rows) & rows[kept].notna().any(axis=1)]
        facts: Any = there[[*ROW[1:]]].astype(object).where(there[[*ROW[1:]]].notna(), None).to_dict("index")
        self.known: dict[str, dict[str, Any]] = facts  # the clips of the store; the columns of ROW
        self.file_bytes = dict(zip(rows["video"], rows["file_bytes"]))
        listed = None if config.ids is None else read_ids(config.ids)
        ids = None if listed is None else list(listed)
        self.arrays: dict[str, ClipArrays] = {}
        for stream, path in files.items():
            file = open_arrays(path)
            lone = file.names if len(file.names) == 1 else ()  # it may be a clip
            meant = find(lone, self.known, str(path)) if lone else {}
            self.arrays[stream] = arrange(file, ids, {*self.known, *meant})
        known = dict[str, Any](self.known)
        if listed is not None:
            listed = self._renamed(listed, known, str(config.ids), find)
            known |= listed
        for stream, entries in self.arrays.items():
            places = self._renamed(entries.places, known, str(entries.path), find)
            self.arrays[stream] = replace(entries, places=places)
            known |= places
        self.clips = self._chosen(listed, kept)
        self.report.clips = len(self.clips)
        self.work = Work(files, {clip.video for clip in self.clips.values()})
        if manifest.streams:
            self.work.refuse_running(directory)  # before the files are read
        dims = self._check(manifest)
        self.sources = {
            stream: {"file": str(path), "sha256": sha256_of(path), "layout": self.arrays[stream].layout}
            for stream, path in files.items()
        }
        self.fingerprints = self._fingerprints(dims)
        if not config.overwrite:
            _check_same(directory, manifest, self.fingerprints)
        self.clip_seconds = manifest.clip_seconds

    def run(self) -> ImportReport:
        """Write what the store does not have yet; if it is killed, run it again to continue."""
        overwrite, work = self.config.overwrite, self.work
        manifest = declare(self.directory, self.fingerprints, self.clip_seconds, overwrite=overwrite, work=work)
        if overwrite:
            clear_overwritten(self.directory, manifest)
        rows = FeatureStore(self.directory).rows
        states = {stream: rows[stream].dropna().to_dict() for stream in self.arrays}
        clips_of = Counter(clip.video for clip in self.clips.values())
        versions = {stream: {"version": manifest.streams[stream].versions[0]} for stream in self.arrays}
        sources = {stream: {**source, **versions[stream]} for stream, source in self.sources.items()}
        settings = {name: getattr(self.config, name) for name in ("nan_is_missing", "zero_is_missing")}
        with StoreWriter(self.directory, manifest, self.work) as writer:
            writer.note_import({"written_at": time.time(), **settings, "streams": sources})
            for number, (clip_id, clip) in enumerate(self.clips.items(), 1):
                streams = self._to_write(clip_id, states)
                if streams:
                    writer.add([self._record(clip_id, clip, clips_of[clip.video], streams)])
                    self.report.written += 1
                self.on_clip("write", number, len(self.clips))
        return self.report

    def _renamed(
        self, entries: Mapping[str, Any], there: Mapping[str, Any], where: str, find: Find
    ) -> dict[str, Any]:
        """Entries under the ids of the clips that are there: of the store, the list or the files before."""
        meant = find(entries, there, where)
        self.report.respelled[where] = {name: clip_id for name, clip_id in meant.items() if name != clip_id}
        return {meant.get(name, name): entry for name, entry in entries.items()}

    def _chosen(self, listed: Mapping[str, ListedClip] | None, kept: list[str]) -> dict[str, ListedClip]:
        """The clips of the import, by the store's ids; each file must have one in common with the others."""
        for stream, entries in self.arrays.items():
            if listed is not None:
                others, where = set(listed), f"the list {self.config.ids}"
            else:
                others = {name for other in self.arrays.values() if other is not entries for name in other.places}
                others |= self.known.keys() if stream not in kept else set()
                where = "the other files or the store"
            if others and others.isdisjoint(entries.places):
                raise InputError(
                    f"{entries.path} ({stream}) has no clip in common with {where}: it has "
                    f"'{next(iter(entries.places))}', they have '{min(others)}'; give them the same ids"
                )
            if unlisted := [name for name in entries.places if listed is not None and name not in listed]:
                self.report.unlisted[stream] = unlisted
        if listed is not None:
            return dict(listed)
        in_files = (name for entries in self.arrays.values() for name in entries.places)
        return {name: ListedClip(name, name) for name in (*in_files, *self.known)}

    def _to_write(self, clip_id: str, states: Mapping[str, Mapping[Any, str]]) -> dict[str, Float16Stream | None]:
        """The streams of a clip that the store does not know yet; None: missing."""
        streams: dict[str, Float16Stream | None] = {}
        known = self.config.ids is None and clip_id in self.known
        for stream, entries in self.arrays.items():
            state = states[stream].get(clip_id)
            found = None if state == PRESENT else _read(entries, clip_id, self.config)
            if found is not None or state not in (PRESENT, MISSING):
                streams[stream] = found
                self.report.not_in_file[stream] += known and clip_id not in entries.places
        return streams

    def _record(
        self, clip_id: str, clip: ListedClip, clips_of_video: int, streams: Mapping[str, Float16Stream | None]
    ) -> ClipRecord:
        """A row with these streams of a clip; its other columns repeat the store's where it has the clip."""
        if clip_id in self.known:
            return ClipRecord.of_row(clip_id, self.known[clip_id], streams)
        facts = {**asdict(clip), "clip_id": clip_id, "verdict": OK, "note": "", "reader": READER}
        size = self.file_bytes.get(clip.video, 0)
        return ClipRecord(**facts, clips_of_video=clips_of_video, file_bytes=size, streams=streams)

    def _check(self, manifest: Manifest) -> dict[str, int]:
        """Check every stream of every clip; D of each stream."""
        first: dict[str, tuple[str, int]] = {}
        for number, clip_id in enumerate(self.clips, 1):
            for stream, entries in self.arrays.items():
                small: list[str] = []
                found = _read(entries, clip_id, self.config, small)
                if found is None:
                    continue
                example, dim = first.setdefault(stream, (clip_id, found.shape[1]))
                if found.shape[1] != dim:
                    raise InputError(
                        f"{entries.path}: '{clip_id}' has rows of {found.shape[1]} numbers, '{example}' of {dim}; "
                        "all rows of a stream are of one size, and several streams are in files of their own"
                    )
                kinds = (self.report.small, small), (self.report.zeros, not found.any())
                for report, is_so in (*kinds, (self.report.padded, found.any() and not found[-1].any())):
                    if is_so:
                        report.setdefault(stream, []).append(clip_id)
            self.on_clip("check", number, len(self.clips))
        dims = {stream: dim for stream, (_, dim) in first.items()}
        for stream, entries in self.arrays.items():
            if stream not in dims:
                if stream not in manifest.streams:
                    raise InputError(f"{entries.path} has nothing of any of {len(self.clips)} clips; leave it out")
                dims[stream] = int(manifest.streams[stream].fingerprint["dim"])
        return dims

    def _fingerprints(self, dims: Mapping[str, int]) -> dict[str, Fingerprint]:
        """By name, D and columns if the extractor is named, otherwise by the content of the file."""
        names = by_stream("--name", "NAME", self.config.name, list(self.arrays))
        columns = self._columns(dims)
        self.report.without_name = [stream for stream in self.arrays if stream not in names]
        return {
            stream: Fingerprint(
                extractor=f"imported:{names[stream]}" if stream in names else "imported",
                version=1,
                dim=dim,
                parameters={} if stream in names else {"stream": stream, "sha256": self.sources[stream]["sha256"]},
                columns=columns[stream],
            )
            for stream, dim in dims.items()
        }

    def _columns(self, dims: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """The names of each stream's columns: of a list, which may be of the last only, or of its file."""
        lists = by_stream("--columns", "FILE", self.config.columns, list(self.arrays))
        found = {}
        for stream, entries in self.arrays.items():
            path, names = entries.path, entries.columns
            if stream in lists:
                path = Path(lists[stream])
                names = read_columns(path, dims[stream])
            try:
                found[stream] = check_columns(names, dims[stream])
            except ValueError as error:
                raise InputError(f"{path}: {error}") from error
        return found


def _check_same(directory: Path, manifest: Manifest, wanted: Mapping[str, Fingerprint]) -> None:
    """Refuse a stream of another import; `declare` refuses those of other extractors."""
    for stream, fingerprint in wanted.items():
        old = manifest.streams.get(stream)
        made_by, _, name = str(old.fingerprint["extractor"] if old else "").partition(":")
        if old and old.digest != fingerprint.digest and made_by == "imported":
            same = shlex.quote(f"{stream}={name}") if name else f"{stream}=NAME"
            what = f"was imported as '{name}'" if name else "came, without --name, from a file of other content"
            raise InputError(
                f"{directory}: its '{stream}' {what} (size {old.fingerprint['dim']}, now {fingerprint.dim}), and "
                "a store never mixes two. Write to another store, or replace it with --overwrite; to combine "
                f"files of one extractor, import each with --name {same}"
            )


def _read(
    entries: ClipArrays, clip_id: str, config: ImportConfig, small: list[str] | None = None
) -> Float16Stream | None:
    """One clip's stream in the form of the store; None where it is missing. Shapes and rules: see the top.

    ``small`` gets the clip if most of its numbers are too small for float16.
    """
    array, where = entries.read(clip_id), f"{entries.path}: '{clip_id}'"
    if array is None:
        return None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{where} is of type {array.dtype}; a stream holds plain numbers")
    if array.ndim == 0 and np.isnan(array):
        array = array[None, None]
    if array.ndim > 2 and len(kept := [size for size in array.shape if size != 1]) <= 2:
        array = array.reshape(kept if len(kept) == 2 else (1, -1))
    if array.ndim not in (1, 2):
        raise InputError(f"{where} has shape {array.shape}; a stream is (D,) or (T, D)")
    if len(array) == 0:
        return None
    rows = array if array.ndim == 2 else array[None]
    if rows.shape[1] == 0:
        raise InputError(
            f"{where} has shape {array.shape}, rows without numbers; leave the clip out if it is missing"
        )
    nan = np.isnan(rows)
    if config.nan_is_missing:
        rows, nan = rows[~nan.all(axis=1)], nan[~nan.all(axis=1)]
        if len(rows) == 0:
            return None
    if nan.all(axis=1).any():
        raise InputError(f"{where} holds a row of NaN; if NaN stands for what is missing, use --nan-is-missing")
    if nan.any():
        raise InputError(f"{where} holds NaN among numbers; repair it where it was made")
    if not np.isfinite(rows).all():
        raise InputError(f"{where} holds infinite values; repair it where it was made")
    if config.zero_is_missing:
        last = np.flatnonzero(rows.any(axis=1))[-1:]
        if not len(last):
            return None
        rows = rows[: last[0] + 1]
    with np.errstate(over="ignore", under="ignore"):
        stored: NDArray[np.float16] = np.ascontiguousarray(rows.astype(np.float16))
    problem = "" if stored.any() or not rows.any() else " only, which is 0 in a store's float16; multiply"
    if not np.isfinite(stored).all():
        problem = f", and a store's float16 to {LARGEST:g}; divide"
    if problem:
        raise InputError(
            f"{where} goes up to {np.abs(rows).max():g}{problem} the whole stream by a constant first (training "
            "standardises it in any case)"
        )
    lost = np.count_nonzero(rows) > 2 * np.count_nonzero(stored) or 0 < np.abs(rows).max() < SMALLEST
    if lost and small is not None:
        small.append(clip_id)
    return stored
