"""Whether a store is, bit by bit, what was written; and taking out what is not.

    wrong       a file that is gone, changed or senseless; a part that is gone, so that its streams are orphans
    harmless    what killed jobs left, what was begun anew, what is not of the store

What is taken out, the jobs that made it make again: for them it is not there yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from features.store.atomic_files import write_whole
from features.store.leftovers import counts, find_leftovers
from features.store.lock import WriterLock, clear_dead_writers
from features.store.manifest import NAME, UNSEALED, Manifest
from features.store.part import part_path, part_paths, read_part, rows_name, times_name
from features.store.sealed_json import is_unbroken
from features.store.shard_check import Finding, ShardCheck, check_shard

THREADS = 4  # hashing does without the interpreter's lock


@final
@dataclass
class StoreCheck:
    """What was found."""

    shards: int = 0
    files: int = 0
    bytes: int = 0
    superseded: int = 0  # streams of shards that were begun anew since
    unsealed: list[str] = field(default_factory=list)  # shards of an earlier version, without checksums
    findings: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> list[Finding]:
        """Those that are no accident of stopping and going on."""
        return [finding for finding in self.findings if finding.wrong]


def check_store(directory: Path, on_shard: Callable[[int, int], None]) -> StoreCheck:
    """Read all of a store, and change nothing.

    Args:
        directory: of the store.
        on_shard: called after each shard with how many are done, and of how many.

    Raises:
        InputError: there is no store at this path, or its store.json cannot be read.
    """
    manifest = Manifest.read(directory)
    report = StoreCheck(findings=list(_manifest(directory)))
    paths = part_paths(directory)
    report.shards = len(paths)
    known: set[str] = set()

    def check(path: Path) -> ShardCheck:
        return check_shard(directory, path.stem, manifest.streams)

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for number, (path, found) in enumerate(zip(paths, pool.map(check, paths)), 1):
            report.findings += found.findings
            report.superseded += found.superseded
            report.files, report.bytes = report.files + len(found.files), report.bytes + sum(found.files.values())
            known |= found.files.keys()
            if not found.sealed:
                report.unsealed.append(path.stem)
            on_shard(number, len(paths))
    report.findings += _rest(directory, manifest, known, report.findings)
    return report


def _manifest(directory: Path) -> Iterator[Finding]:
    if is_unbroken((directory / NAME).read_bytes(), UNSEALED) is False:
        yield Finding(name=NAME, what="is not what was written: its checksum differs")


def _rest(directory: Path, manifest: Manifest, known: set[str], findings: list[Finding]) -> Iterator[Finding]:
    """Files that no part tells of; but those of a shard whose part is broken are not told of one by one."""
    broken = {finding.shard for finding in findings if finding.shard and not finding.stream}
    told = {
        name(stream, shard) for shard in broken for stream in manifest.streams for name in (rows_name, times_name)
    }
    yield from find_leftovers(directory, manifest.keys, known | told)


def mend(directory: Path, findings: list[Finding]) -> list[Finding]:
    """Take out of a store what was found wrong, and what is left of killed jobs.

    Killed at any moment, what it has not done yet is found again.

    Returns:
        What is still wrong, because it cannot be taken out.

    Raises:
        InputError: there is no store at this path.
    """
    manifest = Manifest.read(directory)
    lock = WriterLock(directory)
    clear_dead_writers(directory, manifest.streams, lock.name)
    spoilt: dict[str, set[str]] = {}
    for finding in findings:
        if finding.shard:
            spoilt.setdefault(finding.shard, set()).add(finding.stream)
        elif finding.deletable and not counts(directory, finding.name, manifest.keys):  # a job may have run since
            (directory / finding.name).unlink(missing_ok=True)
    for shard, streams in spoilt.items():
        if "" in streams:
            lock.claim(shard)  # that a kill leaves no orphans
        _take_out(directory, shard, set(manifest.streams) if "" in streams else streams, whole="" in streams)
    lock.release()
    return [finding for finding in findings if finding.wrong and not finding.shard and not finding.deletable]


def _take_out(directory: Path, shard: str, streams: set[str], *, whole: bool) -> None:
    """Streams of a shard, or the shard: first the part no longer tells of them, then their files go."""
    path = part_path(directory, shard)
    if whole:
        path.unlink(missing_ok=True)
    elif path.exists():
        part = read_part(path)
        gone = {name(stream, shard) for stream in streams for name in (rows_name, times_name)}
        left = replace(
            part,
            table=part.table.drop_columns([stream for stream in streams if stream in part.keys]),
            keys={stream: key for stream, key in part.keys.items() if stream not in streams},
            files=None if part.files is None else {n: f for n, f in part.files.items() if n not in gone},
        )
        write_whole(path, left.encode())
    for stream in streams:
        for name in (times_name(stream, shard), rows_name(stream, shard)):
            (directory / name).unlink(missing_ok=True)
