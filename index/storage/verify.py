"""Reading an index whole: every checksum, and that its tables, vectors and codes agree.

Opening finds damage of names, sizes and shapes; only this finds a wrong byte in the large files of a large index.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.scanners import Floats
from index.storage.checksums import FileFacts, check_file
from index.storage.entries import NORM, code_of
from index.storage.manifest import Manifest, Origin, damaged, read_manifest, read_text_facts, reading, text_name
from index.storage.merge import BLOCK
from index.storage.segment import (
    TABLE,
    Segment,
    folder_of,
    read_facts,
    read_removed,
    scanner_name,
    vectors_name,
    words_names,
)
from index.storage.shards import shard_folders
from index.storage.snapshot import open_segments, read_snapshot
from mee.errors import InputError

Progress = Callable[[int, int], None]  # bytes read, of how many


def verify_index(directory: Path, progress: Progress | None = None) -> list[str]:
    """What is wrong with an index: one sentence a finding, none if it is valid.

    Another process may write it meanwhile.

    Raises:
        InputError: there is no index, or its manifest cannot be read.
    """
    if not (folders := shard_folders(directory)):
        return _verified(directory, progress)
    found = [finding for folder in folders for finding in _verified(folder, progress)]
    try:
        if not found:
            snapshot = read_snapshot(directory)
            found = [*_checked([*_text(directory, snapshot.origin)], None), *_twice(directory, snapshot.segments)]
    except InputError as error:
        found.append(str(error))
    return found


def _verified(directory: Path, progress: Progress | None) -> list[str]:
    """Of an index that is not in shards."""
    while True:
        manifest, text = read_manifest(directory)
        found = [*_checksums(directory, manifest, progress)] or [*_contents(directory, manifest)]
        if not found or read_manifest(directory)[1] == text:  # else it was replaced while it was read
            return found


def _checksums(directory: Path, manifest: Manifest, progress: Progress | None) -> Iterator[str]:
    files = []
    for ref in manifest.segments:
        folder = folder_of(directory, ref.name)
        try:
            facts = read_facts(folder, ref, manifest.layout)
            files += [(folder / name, file) for name, file in facts.files.items()]
            if ref.removed is not None:
                read_removed(directory, ref.removed, facts.clips)
        except InputError as error:
            yield str(error)
    try:
        files += _text(directory, manifest.origin)
    except InputError as error:
        yield str(error)
    yield from _checked(files, progress)


def _text(directory: Path, origin: Origin) -> Iterable[tuple[Path, FileFacts]]:
    """The files of the text side beside an index, if there is one."""
    text = directory / text_name(origin)
    return read_text_facts(text)[1].items() if os.path.lexists(text) else ()


def _checked(files: Sequence[tuple[Path, FileFacts]], progress: Progress | None) -> Iterator[str]:
    """Which files are not what was written."""
    done, total = 0, sum(about[0] for _, about in files)
    for path, about in files:
        try:
            with reading(path):
                check_file(path, about)
        except InputError as error:
            yield str(error)
        done += about[0]
        if progress is not None:
            progress(done, total)


def _contents(directory: Path, manifest: Manifest) -> Iterator[str]:
    """Of an index whose files are what was written."""
    try:
        segments = open_segments(directory, manifest)
    except InputError as error:
        yield str(error)
        return
    wrong = [
        sentence
        for segment in segments
        for sentence in _segment(folder_of(directory, segment.name), segment, manifest)
    ]
    yield from wrong
    if not wrong:
        yield from _twice(directory, segments)


def _twice(directory: Path, segments: Sequence[Segment]) -> Iterator[str]:
    """Whether a clip counts twice."""
    tables = [segment.live_table()["clip_id"] for segment in segments]
    counts = pc.value_counts(pa.chunked_array(tables, type=pa.string()))
    several = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(several):
        yield str(damaged(directory, f"clip '{several[0]['values']}' is in it twice"))


def _segment(folder: Path, segment: Segment, manifest: Manifest) -> Iterator[str]:
    table = segment.table.arrow
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        yield str(damaged(folder / TABLE, str(error)))
        return
    yield from segment.faults()
    for m, words in segment.words.items():
        if not _valid(words.values, (words.values.shape[1],)):
            name = words_names(manifest.layout.names[m]).split()[1]
            yield str(damaged(folder / name, f"a vector is not finite, or of norm above {NORM}"))
    for partition in segment.partitions:
        code = code_of(partition.pattern)
        if not _valid(partition.vectors, partition.scanner.shape.sizes):
            yield str(damaged(folder / vectors_name(code), f"a vector is not finite, or of norm above {NORM}"))
        try:
            if partition.vectors.shape[1]:
                partition.scanner.scan(np.zeros((1, partition.scanner.shape.width), dtype=np.float32), 1)
        except (ValueError, RuntimeError) as error:
            yield str(damaged(folder / scanner_name(partition.scanner.kind, code), str(error)))


def _valid(vectors: Floats, sizes: Sequence[int]) -> bool:
    """Whether the parts of these sizes of each vector have norms that an index allows."""
    ends = np.cumsum((0, *sizes))
    step = max(1, BLOCK // (4 * max(1, vectors.shape[1])))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        if not np.isfinite(block).all():
            return False
        parts = [block[:, a:b] for a, b in pairwise(ends)]
        if any(np.einsum("ne,ne->n", part, part).max() > NORM**2 for part in parts):
            return False
    return True
