"""Stores of equal fingerprints, cut alike -> one: their files are linked, and nothing is rewritten.

Shards have names that no two jobs give, and their files never change, so that what is there already is known by
its name: merging again does nothing, and the order of the sources makes no difference. What one store has
overwritten no longer counts in the union; else reading decides which of two rows of a clip counts. The sources are
only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import pandas as pd

from features.errors import InputError
from features.store.atomic_files import link_whole
from features.store.layout import IMPORTS, part_name, rows_name, shard_names, sums_path, times_name
from features.store.manifest import STORE_FILE, Manifest, StreamEntry, change, store_lock
from features.store.rows import read_rows
from features.store.shard import read_sums, stream_versions, write_sums
from features.store.writer import WriterLock


@final
@dataclass
class MergeReport:
    """What a merge did."""

    shards: int = 0  # of the sources
    taken: int = 0  # of these, brought in now
    linked: int = 0  # files
    copied: int = 0
    differing: list[str] = field(default_factory=list)  # videos whose files differ from store to store


def merge_stores(target: Path, sources: Sequence[Path], on_shard: Callable[[int, int], None]) -> MergeReport:
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
    there = {target: Manifest.read(target)} if (target / STORE_FILE).is_file() else {}
    _united({**there, **manifests})  # what cannot be merged leaves nothing behind
    report = MergeReport(differing=_differing({**there, **manifests}))
    manifest = change(target, lambda now: _united({**({} if now is None else {target: now}), **manifests}))
    lock = WriterLock(target, manifest.streams)
    work = [(source, shard) for source in sources for shard in shard_names(source)]
    report.shards = len(work)
    for number, (source, shard) in enumerate(work, 1):
        try:
            _bring(source, shard, target, manifest, report)
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


def _united(manifests: Mapping[Path, Manifest]) -> Manifest:
    """The streams of all stores, and how all are cut."""
    streams: dict[str, StreamEntry] = {}
    owner: dict[str, Path] = {}
    first, cut = next((path, manifest.clip_seconds) for path, manifest in manifests.items())
    for path, manifest in manifests.items():
        if manifest.clip_seconds != cut:
            raise InputError(
                f"{path}: its videos are cut by --clip-seconds {manifest.clip_seconds or 'default'}, those of "
                f"{first} by {cut or 'default'}; only stores that are cut alike can be merged"
            )
        for stream, entry in manifest.streams.items():
            known = streams.setdefault(stream, entry)
            if known.digest != entry.digest:
                raise InputError(
                    f"{path}: its '{stream}' was made by {_maker(entry)}, that of {owner[stream]} by "
                    f"{_maker(known)}, and a store never mixes two. Make one of them again as the other was made: "
                    f"mee precompute VIDEOS {path} --streams {stream} --overwrite (or mee import … --overwrite)"
                )
            owner.setdefault(stream, path)
            streams[stream] = known.united(entry)
    return Manifest(cut, streams)


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


def _bring(source: Path, shard: str, target: Path, manifest: Manifest, report: MergeReport) -> None:
    """Link what the target lacks of a shard, and list it then."""
    versions, sums = stream_versions(source, shard), read_sums(source, shard)
    for stream, version in versions.items():
        if stream not in manifest.streams or version not in manifest.streams[stream].versions:
            for name in (rows_name(stream, shard), times_name(stream, shard)):
                sums.pop(name, None)
    there = read_sums(target, shard) if sums_path(target, shard).exists() else {}
    if any(there.get(name, digest) != digest for name, digest in sums.items()):
        raise InputError(f"the shard {shard} of {source} and of {target} is not the same; one of them is damaged")
    lacking = sorted(sums.keys() - there.keys(), key=lambda name: name == part_name(shard))
    if not lacking:
        return
    for name in lacking:
        copied = link_whole(source / name, target / name)
        report.copied, report.linked = report.copied + copied, report.linked + (not copied)
    with store_lock(target):  # another job may be changing the list
        there = read_sums(target, shard) if sums_path(target, shard).exists() else {}
        write_sums(target, shard, {**there, **sums})
    report.taken += 1
