"""Stores of equal fingerprints, cut alike -> one: their files are linked, and nothing is rewritten.

No two jobs give a shard the same name, and its files never change. So the target has a file if it has one of that
name: merging again does nothing, and the order of the sources makes no difference. What any of the stores has
overwritten does not count in the union; otherwise reading decides which of two rows of a clip counts. The sources
are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

import pandas as pd

from features.errors import InputError
from features.files import entry, link_whole
from features.store.feature_store import FeatureStore
from features.store.layout import IMPORTS, STORE_FILE, part_name, shard_names, stream_names, sums_path
from features.store.manifest import Manifest, StreamEntry, change
from features.store.shard import Sums, read_part, read_sums, write_sums
from features.store.writer import StoreWriter
from features.store.writers import store_lock


@dataclass
class MergeReport:
    """What a merge did."""

    shards: int = 0  # of the sources
    added: int = 0  # of these, wholly or partly new in the target
    linked: int = 0  # files
    copied: int = 0
    differing: list[str] = field(default_factory=list)  # videos whose files differ between stores


def merge_stores(target: Path, sources: Sequence[Path], on_shard: Callable[[int, int], None]) -> MergeReport:
    """Add the contents of the sources to the target, a store, which is created if it does not exist.

    Killed at any moment it leaves a valid store, and continues when it is run again. ``on_shard``: called after
    each shard with how many are done, and of how many.

    Raises:
        InputError: a source is no store or the target itself, its streams were made by other extractors, its
            videos are cut in another way, or it changes while it is read.
    """
    for source in sources:
        if source.resolve() == target.resolve():
            raise InputError(f"'{source}' is both the target and a source; name the target once, first")
    manifests = {source: Manifest.read(source) for source in sources}
    there = {target: Manifest.read(target)} if (target / STORE_FILE).is_file() else {}
    _united({**there, **manifests})  # raises before anything is written
    report = MergeReport(differing=_differing([*there, *manifests]))
    manifest = change(target, lambda now: _united({**({} if now is None else {target: now}), **manifests}))
    writer = StoreWriter(target, manifest)
    work = [(source, shard) for source in sources for shard in shard_names(source)]
    report.shards = len(work)
    for number, (source, shard) in enumerate(work, 1):
        try:
            _add(source, shard, target, manifest, report)
        except FileNotFoundError as error:
            raise InputError(
                f"'{error.filename}' is gone; check its store with: mee store verify {quote(str(source))} (if a "
                "job is changing it now, merge again after the job)"
            ) from error
        on_shard(number, len(work))
    for source in sources:
        for note in (source / IMPORTS).glob("[!.]*.json"):
            if not (target / IMPORTS / note.name).exists():
                link_whole(entry(source, IMPORTS, note.name), target / IMPORTS / note.name)
    writer.close()
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
        for stream, declared in manifest.streams.items():
            known = streams.setdefault(stream, declared)
            if known.digest != declared.digest:
                raise InputError(
                    f"{path}: its '{stream}' was made by {_maker(declared)}, that of {owner[stream]} by "
                    f"{_maker(known)}, and a store never mixes two. Make one of them again as the other was made: "
                    f"mee precompute VIDEOS {quote(str(path))} --streams {stream} --overwrite (or mee import … "
                    "--overwrite)"
                )
            owner.setdefault(stream, path)
            streams[stream] = known.united(declared)
    return Manifest(cut, streams)


def _maker(entry: StreamEntry) -> str:
    made_by = entry.fingerprint
    name = made_by.get("model") or made_by.get("extractor")
    return f"{name} (version {made_by.get('version')}, size {made_by.get('dim')}, fingerprint {entry.digest})"


def _differing(stores: Sequence[Path]) -> list[str]:
    """Videos that are different files in different stores."""
    columns = ["video", "file_bytes", "file_sha256"]
    known = [FeatureStore(path).rows.reset_index()[columns].drop_duplicates() for path in stores]
    files = pd.concat(known, ignore_index=True).drop_duplicates()
    files = files[(files["file_bytes"] > 0) & files["video"].duplicated(keep=False)]
    kinds = files.groupby("video")[["file_bytes", "file_sha256"]].nunique()
    return [str(video) for video in kinds.index[(kinds > 1).any(axis=1)]]


def _add(source: Path, shard: str, target: Path, manifest: Manifest, report: MergeReport) -> None:
    """Link the files of a shard that the target lacks, then list them."""
    sums = read_sums(source, shard)
    for stream, version in read_part(source, shard).versions.items():
        if stream not in manifest.streams or version not in manifest.streams[stream].versions:
            for name in stream_names(stream, shard):
                sums.pop(name, None)
    there = _listed(target, shard)
    if any(there.get(name, digest) != digest for name, digest in sums.items()):
        raise InputError(f"the shard {shard} of {source} and of {target} is not the same; one of them is damaged")
    lacking = sorted(sums.keys() - there.keys(), key=lambda name: name == part_name(shard))
    for name in lacking:
        copied = link_whole(entry(source, *name.split("/")), target / name)
        report.copied, report.linked = report.copied + copied, report.linked + (not copied)
    if lacking:
        with store_lock(target):  # another job may be changing the list
            write_sums(target, shard, {**_listed(target, shard), **sums})
        report.added += 1


def _listed(directory: Path, shard: str) -> Sums:
    return read_sums(directory, shard) if sums_path(directory, shard).exists() else {}
