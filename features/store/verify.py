"""Whether a store is, bit by bit, what was written; and repair by removing what is not.

    wrong       a listed file that is missing or differs; a damaged list; a dangling file, which no list names
    harmless    remains of killed jobs, overwritten streams, files that are not part of the store

The next run of the job that made them makes removed streams and rows again. While a job runs, unlisted files may
be its own, and are not reported.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from features.errors import InputError
from features.files import entry, open_file, remove
from features.store import layout
from features.store.manifest import Manifest, is_valid
from features.store.shard import drop_shard, drop_streams, read_part, read_sums
from features.store.writer import StoreWriter
from features.store.writers import find_writers, store_lock

THREADS = 4  # hashing releases the interpreter's lock
_TEMPORARY = re.compile(r"\..+\.\d+")  # of features.files
DIFFERS = "is not what was written: its checksum differs"
KILLED = "remains of a job that was killed"
OVERWRITTEN = "no longer counts: its stream was overwritten"
UNLISTED = "no longer counts: its shard does not list it"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to know about one file of a store."""

    name: str  # of the file, relative to the store
    what: str
    wrong: bool = True  # False: harmless
    shard: str = ""  # to remove, so that it is extracted again
    stream: str = ""  # the only one of that shard to remove; empty: all of it
    deletable: bool = False  # the file can go without any loss

    @property
    def can_be_repaired(self) -> bool:
        """Whether `repair` removes it."""
        return bool(self.shard) or self.deletable


@dataclass
class StoreCheck:
    """What was found."""

    shards: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> list[Finding]:
        """Damage, without what killed jobs and overwriting leave."""
        return [finding for finding in self.findings if finding.wrong]


def check_store(directory: Path, on_shard: Callable[[int, int], None]) -> StoreCheck:
    """Read all of a store, and change nothing.

    ``on_shard``: called after each shard with how many are done, and of how many.
    """
    manifest = Manifest.read(directory)
    check = StoreCheck()
    if not is_valid(directory / layout.STORE_FILE):
        check.findings.append(Finding(name=layout.STORE_FILE, what=DIFFERS))
    shards = layout.shard_names(directory)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda shard: _check_shard(directory, shard, manifest), shards)
        for number, (sizes, findings) in enumerate(found, 1):
            check.findings += findings
            check.files, check.bytes = check.files + len(sizes), check.bytes + sum(sizes)
            on_shard(number, len(shards))
    check.shards = len(shards)
    damaged = {finding.shard for finding in check.findings if finding.shard and not finding.stream}
    check.findings += _unlisted(directory, manifest.streams, damaged)
    return check


def _check_shard(directory: Path, shard: str, manifest: Manifest) -> tuple[list[int], list[Finding]]:
    """Sizes of the files of a shard that were read, and what was found."""
    part, list_ = layout.part_name(shard), layout.sums_path(directory, shard).relative_to(directory).as_posix()
    sizes: list[int] = []
    findings: list[Finding] = []
    try:
        sums = read_sums(directory, shard)
        versions = read_part(directory, shard, manifest.streams, check=True).versions
    except InputError as error:
        name = part if part in str(error) else list_
        what = str(error).removeprefix(f"{directory / name} ").partition(". ")[0]
        return sizes, [Finding(name=name, what=what, shard=shard)]
    streams = manifest.streams
    for stream, version in versions.items():
        if stream not in streams or version not in (*streams[stream].versions, *streams[stream].overwritten):
            what = f"has a '{stream}' that {layout.STORE_FILE} does not know; put a newer copy in place"
            findings.append(Finding(name=part, what=what))
    for name, digest in sums.items():
        stream = "" if name == part else name.partition("/")[0]
        if stream and stream not in versions:
            what = f"lists '{name}', a stream that its part does not have"
            findings.append(Finding(name=list_, what=what, shard=shard))
        elif stream in streams and versions[stream] in streams[stream].overwritten:
            findings.append(Finding(name=name, what=OVERWRITTEN, wrong=False, shard=shard, stream=stream))
        elif what := _damage(directory, name, digest, sizes):
            findings.append(Finding(name=name, what=what, shard=shard, stream=stream))
    return sizes, findings


def _damage(directory: Path, name: str, sha256: str, sizes: list[int]) -> str:
    """How a file differs from what was written; empty: not at all."""
    try:
        with open_file(entry(directory, *name.split("/"))) as file:
            sizes.append(os.fstat(file.fileno()).st_size)
            return "" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else DIFFERS
    except FileNotFoundError:
        return "does not exist"
    except InputError as error:
        return str(error).removeprefix(f"'{directory / name}' ").partition(";")[0]
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _unlisted(directory: Path, streams: Collection[str], damaged: Collection[str]) -> Iterator[Finding]:
    """Files in a store that are not part of its shards."""
    try:
        with store_lock(directory):
            writers = find_writers(directory)
    except OSError:  # a read-only store: assume that they run
        writers = dict.fromkeys((path.stem for path in (directory / layout.WRITERS).glob("*.lock")), True)
    running, folders = any(writers.values()), (*layout.FOLDERS, *streams)
    ours = {layout.STORE_FILE, f".{layout.STORE_FILE}.lock", *folders}
    for path in sorted(
        [*directory.iterdir(), *(each for name in folders for each in directory.glob(f"{name}/*"))]
    ):
        name, shard, folder = path.relative_to(directory).as_posix(), layout.shard_of(path), path.parent.name
        if name in ours or (running and path.name.startswith(".")):
            continue
        if _TEMPORARY.fullmatch(path.name):
            yield Finding(name=name, what=KILLED, wrong=False, deletable=True)
        elif name in (f"{layout.WRITERS}/{path.stem}.lock", f"{layout.WRITERS}/{path.stem}.json"):
            if not writers.get(path.stem, True):
                yield Finding(name=name, what=KILLED, wrong=False)
        elif name == f"{layout.IMPORTS}/{path.stem}.json":
            if not is_valid(path):
                what = "is not what was written; it only records which files imported streams came from"
                yield Finding(name=name, what=what, deletable=True)
        elif name not in (layout.part_name(shard), *layout.stream_names(folder, shard)):
            if path != layout.sums_path(directory, shard):
                yield Finding(name=name, what="is not a file of this store", wrong=False)
        elif not running and shard not in damaged and not _is_listed(directory, name):
            if layout.sums_path(directory, shard).exists():
                yield Finding(name=name, what=UNLISTED, wrong=False, deletable=True)
            elif writers:
                yield Finding(name=name, what=KILLED, wrong=False, deletable=True)
            else:
                yield Finding(name=name, what="is dangling: its shard has no checksums", deletable=True)


def _is_listed(directory: Path, name: str) -> bool:
    """Read again each time: a job may have started since the shards were checked."""
    try:
        return name in read_sums(directory, layout.shard_of(directory / name))
    except InputError:
        return False


def repair(directory: Path, findings: list[Finding]) -> list[Finding]:
    """Remove from a store what was found wrong, and the remains of killed jobs; returns what cannot be removed.

    Killed at any moment, the next check finds the rest again.
    """
    manifest = Manifest.read(directory)
    writer = StoreWriter(directory, manifest)
    shards = {finding.shard for finding in findings if finding.shard and not finding.stream}
    for shard in shards:
        drop_shard(directory, shard, manifest.streams)
    for finding in findings:
        if finding.stream and finding.shard not in shards and layout.sums_path(directory, finding.shard).exists():
            drop_streams(directory, finding.shard, [finding.stream])
    with store_lock(directory):  # no other job starts to write meanwhile
        alone = not any(runs for name, runs in find_writers(directory).items() if name != writer.name)
        for finding in findings:
            if finding.deletable and alone and not _is_listed(directory, finding.name):
                remove(directory / finding.name)
    writer.close()
    return [finding for finding in findings if finding.wrong and not finding.can_be_repaired]
