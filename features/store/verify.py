"""Whether a store is, bit by bit, what was written; and repair by taking out what is not.

    wrong       a listed file that is gone or differs; a damaged list; files that no list vouches for (dangling)
    harmless    what killed jobs left, what was overwritten, what is not of the store

What is taken out, the jobs that made it make again: for them it is not there yet. While a job lives, files that no
list vouches for may be its own, and are not told of.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from features.errors import InputError
from features.store.layout import (
    CHECKSUMS,
    IMPORTS,
    PARTS,
    WRITERS,
    part_name,
    rows_name,
    shard_names,
    shard_of,
    sums_path,
    times_name,
)
from features.store.manifest import STORE_FILE, Manifest, StreamEntry, is_valid, store_lock
from features.store.shard import drop_shard, drop_streams, read_part, read_sums
from features.store.writer import WriterLock, living_writers

THREADS = 4  # hashing does without the interpreter's lock
_ASIDE = re.compile(r"\..+\.\d+")  # of features.store.atomic_files
DIFFERS = "is not what was written: its checksum differs"
KILLED = "was left by a job that was killed"
OVERWRITTEN, UNLISTED = (
    "no longer counts: its stream was overwritten",
    "no longer counts: its shard does not list it",
)


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about one file of a store that a person should know."""

    name: str  # of the file, as seen from the store
    what: str
    wrong: bool = True  # False: harmless
    shard: str = ""  # to take out, so that it is extracted again
    stream: str = ""  # the only one of that shard; empty: all of it
    deletable: bool = False  # nothing is lost with the file

    @property
    def can_be_repaired(self) -> bool:
        """Whether `repair` takes it out."""
        return bool(self.shard) or self.deletable


@final
@dataclass
class StoreCheck:
    """What was found."""

    shards: int = 0
    files: int = 0
    bytes: int = 0
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
    """
    manifest = Manifest.read(directory)
    check = StoreCheck()
    if not is_valid(directory / STORE_FILE):
        check.findings.append(Finding(name=STORE_FILE, what=DIFFERS))
    shards = shard_names(directory)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda shard: _check_shard(directory, shard, manifest.streams), shards)
        for number, (sizes, findings) in enumerate(found, 1):
            check.findings += findings
            check.files, check.bytes = check.files + len(sizes), check.bytes + sum(sizes)
            on_shard(number, len(shards))
    check.shards = len(shards)
    broken = {finding.shard for finding in check.findings if finding.shard and not finding.stream}
    check.findings += _unlisted(directory, manifest.streams, broken)
    return check


def _check_shard(
    directory: Path, shard: str, streams: Mapping[str, StreamEntry]
) -> tuple[list[int], list[Finding]]:
    """Sizes of the files of a shard that were read, and what was found."""
    part, list_ = part_name(shard), sums_path(directory, shard).relative_to(directory).as_posix()
    sizes: list[int] = []
    findings: list[Finding] = []
    try:
        sums = read_sums(directory, shard)
        versions = read_part(directory, shard).versions
    except InputError as error:
        name = part if part in str(error) else list_
        what = str(error).removeprefix(f"{directory / name} ").partition(". ")[0]
        return sizes, [Finding(name=name, what=what, shard=shard)]
    for stream, version in versions.items():
        if stream not in streams or version not in (*streams[stream].versions, *streams[stream].overwritten):
            what = f"tells of a '{stream}' that {STORE_FILE} does not know; put a newer copy in place"
            findings.append(Finding(name=part, what=what))
    for name, digest in sums.items():
        stream = "" if name == part else name.partition("/")[0]
        if stream and stream not in versions:
            what = f"lists '{name}', a stream that its part does not tell of"
            findings.append(Finding(name=list_, what=what, shard=shard))
        elif stream in streams and versions[stream] in streams[stream].overwritten:
            findings.append(Finding(name=name, what=OVERWRITTEN, wrong=False, shard=shard, stream=stream))
        elif what := _changed(directory / name, digest, sizes):
            findings.append(Finding(name=name, what=what, shard=shard, stream=stream))
    return sizes, findings


def _changed(path: Path, sha256: str, sizes: list[int]) -> str:
    """How a file differs from what was written; empty: not at all."""
    try:
        with path.open("rb") as file:
            sizes.append(os.fstat(file.fileno()).st_size)
            return "" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else DIFFERS
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _unlisted(directory: Path, streams: Collection[str], broken: Collection[str]) -> Iterator[Finding]:
    """What lies in a store beside its shards."""
    try:
        with store_lock(directory):
            writers = living_writers(directory)
    except OSError:  # it may only be read, so nobody can tell
        writers = dict.fromkeys((path.stem for path in (directory / WRITERS).glob("*.lock")), True)
    alive, folders = any(writers.values()), (PARTS, CHECKSUMS, WRITERS, IMPORTS, *streams)
    for path in sorted(
        [*directory.iterdir(), *(path for folder in folders for path in directory.glob(f"{folder}/*"))]
    ):
        name, shard, folder = path.relative_to(directory).as_posix(), shard_of(path), path.parent.name
        if name in (STORE_FILE, f".{STORE_FILE}.lock", *folders) or (alive and path.name.startswith(".")):
            continue
        if _ASIDE.fullmatch(path.name):
            yield Finding(name=name, what=KILLED, wrong=False, deletable=True)
        elif name == f"{WRITERS}/{path.stem}.lock":
            if not writers.get(path.stem, True):
                yield Finding(name=name, what=KILLED, wrong=False)
        elif name == f"{IMPORTS}/{path.stem}.json":
            if not is_valid(path):
                what = "is not what was written; it only notes which files imported streams came from"
                yield Finding(name=name, what=what, deletable=True)
        elif name not in (part_name(shard), rows_name(folder, shard), times_name(folder, shard)):
            if path != sums_path(directory, shard):
                yield Finding(name=name, what="is no file of this store", wrong=False)
        elif not alive and shard not in broken and not _is_listed(directory, name):
            if sums_path(directory, shard).exists():
                yield Finding(name=name, what=UNLISTED, wrong=False, deletable=True)
            elif writers:
                yield Finding(name=name, what=KILLED, wrong=False, deletable=True)
            else:
                yield Finding(name=name, what="dangles: the checksums of its shard are gone", deletable=True)


def _is_listed(directory: Path, name: str) -> bool:
    """As things stand now: a job may have come meanwhile."""
    try:
        return name in read_sums(directory, shard_of(directory / name))
    except InputError:
        return False


def repair(directory: Path, findings: list[Finding]) -> list[Finding]:
    """Take out of a store what was found wrong, and what is left of killed jobs.

    Killed at any moment, what it has not done yet is found again.

    Returns:
        What is still wrong, because it cannot be taken out.
    """
    streams = Manifest.read(directory).streams
    lock = WriterLock(directory, streams)
    whole = {finding.shard for finding in findings if finding.shard and not finding.stream}
    for shard in whole:
        drop_shard(directory, shard, streams)
    for finding in findings:
        if finding.stream and finding.shard not in whole and sums_path(directory, finding.shard).exists():
            drop_streams(directory, finding.shard, [finding.stream])
    with store_lock(directory):  # nobody begins to write meanwhile
        alone = not any(lives for writer, lives in living_writers(directory).items() if writer != lock.name)
        for finding in findings:
            if finding.deletable and alone and not _is_listed(directory, finding.name):
                (directory / finding.name).unlink(missing_ok=True)
    lock.release()
    return [finding for finding in findings if finding.wrong and not finding.can_be_repaired]
