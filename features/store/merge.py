"""Stores of equal fingerprints, cut alike -> one.

    files of streams    linked (copied where links cannot be made), under the names that they have
    parts               linked too, where target and source call the generations of their streams alike; else
                        written anew, without the streams that the source has begun anew since

Shards have names that no two jobs give, so that what is there already is known by its name: merging again does
nothing, and the order of the sources makes no difference. Which of two rows of a clip counts, reading decides. The
sources are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import InputError
from features.media.clip import FAILED, TIMED_OUT
from features.store.atomic_files import link_whole, write_whole
from features.store.lock import WriterLock, clear_dead_writers
from features.store.manifest import NAME, Manifest, StreamEntry, declare_entries
from features.store.part import IMPORTS, Part, part_path, part_paths, read_part, rows_name, times_name
from features.store.rows import read_rows


@final
@dataclass
class MergeReport:
    """What a merge did."""

    shards: int = 0  # of the sources
    taken: int = 0  # of these, brought in now
    linked: int = 0  # files
    copied: int = 0
    differing: list[str] = field(default_factory=list)  # videos whose files differ from store to store


def merge(target: Path, sources: Sequence[Path], on_shard: Callable[[int, int], None]) -> MergeReport:
    """Bring all that the sources know into the target, which is made if it is not there.

    Killed at any moment it leaves a store that is whole, and goes on when it is run again.

    Args:
        target: directory of a store, or of one to be.
        sources: directories of stores.
        on_shard: called after each shard with how many are done, and of how many.

    Raises:
        InputError: a source is no store or the target itself, its streams were made by others, its videos are cut
            in another way, or it changes while it is read.
    """
    for source in sources:
        if source.resolve() == target.resolve():
            raise InputError(f"'{source}' is both the target and a source; name the target once, first")
    manifests = {source: Manifest.read(source) for source in sources}
    there = {target: Manifest.read(target)} if (target / NAME).is_file() else {}
    wanted, clip_seconds = _common({**there, **manifests})
    report = MergeReport(differing=_differing({**there, **manifests}))
    manifest = declare_entries(target, wanted, clip_seconds)
    lock = WriterLock(target)
    clear_dead_writers(target, manifest.streams, lock.name)
    work = [(source, path) for source in sources for path in part_paths(source)]
    report.shards = len(work)
    for number, (source, path) in enumerate(work, 1):
        try:
            _Shard(source, path, manifests[source], target, manifest).bring(lock, report)
        except FileNotFoundError as error:
            raise InputError(
                f"'{error.filename}' is gone; look at its store with: mee store verify {source} (if a job is just "
                "changing it, merge again when it is done)"
            ) from error
        on_shard(number, len(work))
    for source in sources:
        for note in (source / IMPORTS).glob("[!.]*.json"):
            if not (target / IMPORTS / note.name).exists():
                link_whole(note, target / IMPORTS / note.name)
    lock.release()
    return report


def _common(manifests: Mapping[Path, Manifest]) -> tuple[dict[str, StreamEntry], float | None]:
    """The streams of all, and how all are cut."""
    streams: dict[str, StreamEntry] = {}
    owner: dict[str, Path] = {}
    (first, cut), *others = ((path, manifest.clip_seconds) for path, manifest in manifests.items())
    for path, clip_seconds in others:
        if clip_seconds != cut:
            raise InputError(
                f"{path}: its videos are cut by --clip-seconds {clip_seconds or 'default'}, those of {first} by "
                f"{cut or 'default'}; only stores that are cut alike can be merged"
            )
    for path, manifest in manifests.items():
        for stream, entry in manifest.streams.items():
            known = streams.setdefault(stream, entry)
            if known.digest != entry.digest:
                raise InputError(
                    f"{path}: its '{stream}' was made by {_maker(entry)}, that of {owner[stream]} by "
                    f"{_maker(known)}, and a store never mixes two. Make one of them again as the other was made: "
                    f"mee precompute VIDEOS {path} --streams {stream} --overwrite (or mee import … --overwrite)"
                )
            owner.setdefault(stream, path)
            generation = max(known.generation, entry.generation)  # that most parts can stay as they are
            streams[stream] = replace(known, generation=generation)
    return streams, cut


def _maker(entry: StreamEntry) -> str:
    made_by = entry.fingerprint
    name = made_by.get("model") or made_by.get("extractor", "somebody")
    return f"{name} (version {made_by.get('version')}, size {made_by.get('dim')}, fingerprint {entry.digest})"


def _differing(manifests: Mapping[Path, Manifest]) -> list[str]:
    """Videos that are of different files in different stores."""
    columns = ["video", "file_bytes", "file_sha256"]
    known = [read_rows(path, manifest).rows.reset_index()[columns] for path, manifest in manifests.items()]
    files = pd.concat([rows.drop_duplicates() for rows in known], ignore_index=True).drop_duplicates()
    files = files[(files["file_bytes"] > 0) & files["video"].duplicated(keep=False)]
    kinds = files.groupby("video")[["file_bytes", "file_sha256"]].nunique()
    return [str(video) for video in kinds.index[(kinds > 1).any(axis=1)]]


@final
class _Shard:
    """One shard of a source, and what the target has of it."""

    def __init__(self, source: Path, path: Path, theirs: Manifest, target: Path, ours: Manifest) -> None:
        self.source, self.path, self.target, self.name = source, path, target, path.stem
        self.part = read_part(path)
        self.keys = {  # of the streams that count in the source, as the target calls them
            stream: ours.streams[stream].key
            for stream, key in self.part.keys.items()
            if stream in theirs.streams and theirs.streams[stream].key == key
        }
        self.place = part_path(target, self.name)
        self.there = read_part(self.place) if self.place.exists() else None
        had = {} if self.there is None else self.there.keys
        self.missing = [stream for stream, key in self.keys.items() if had.get(stream) != key]

    def bring(self, lock: WriterLock, report: MergeReport) -> None:
        """Put in place what the target lacks: files of streams first, the part that makes them count last."""
        if not (self.missing or (self.there is None and self._tells_of_failures())):
            return
        lock.claim(self.name)
        for name in self._files():
            copied = link_whole(self.source / name, self.target / name)
            report.copied, report.linked = report.copied + copied, report.linked + (not copied)
        if self.there is None and self.keys == self.part.keys:
            link_whole(self.path, self.place)
        else:
            write_whole(self.place, self._united().encode())
        report.taken += 1

    def _tells_of_failures(self) -> bool:
        return bool(pc.any(pc.is_in(self.part.table["verdict"], pa.array([FAILED, TIMED_OUT]))).as_py())

    def _files(self) -> list[str]:
        names = [name(stream, self.name) for stream in self.missing for name in (rows_name, times_name)]
        if self.part.files is not None:
            return [name for name in names if name in self.part.files]
        return [name for name in names if (self.source / name).exists()]

    def _united(self) -> Part:
        """What the target has of the shard, and what it lacks."""
        if self.there is None:
            base = replace(self.part, keys={}, files=None if self.part.files is None else {})
            base = replace(base, table=self.part.table.drop_columns(list(self.part.keys)))
        else:
            base = self.there
            if not base.table["clip_id"].equals(self.part.table["clip_id"]):
                raise InputError(
                    f"{self.place} and {self.path} are of one name, and tell of other clips; one is damaged"
                )
        table = base.table.drop_columns([stream for stream in self.missing if stream in base.table.schema.names])
        for stream in self.missing:
            table = table.append_column(stream, self.part.table[stream].combine_chunks())
        files = None
        if base.files is not None and self.part.files is not None:
            files = {**base.files, **{name: self.part.files[name] for name in self._files()}}
        keys = {**base.keys, **{stream: self.keys[stream] for stream in self.missing}}
        return replace(self.part, table=table, keys=keys, files=files)
