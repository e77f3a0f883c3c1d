"""Reading an index whole: every checksum, and that its tables, vectors and codes say the same.

Damage that opening finds is found here too; what lies in large files, or was wrong when written, is found here
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.scanners import Partition
from index.storage.columns import code_of
from index.storage.entries import NORM
from index.storage.log import read_log
from index.storage.manifest import BLOCK, Manifest, damaged, read_manifest, read_removed
from index.storage.segment import (
    TABLE,
    Segment,
    check_content,
    folder_of,
    read_facts,
    rows_name,
    scanner_name,
    vectors_name,
)
from index.storage.snapshot import read_snapshot
from mee.errors import InputError

Done = Callable[[int, int], None]  # bytes read, of how many


def verify_index(directory: Path, progress: Done | None = None) -> list[str]:
    """What is wrong with an index: one sentence a finding, none if it is whole.

    Args:
        directory: of the index; others may write it meanwhile.
        progress: told how many bytes are read.

    Raises:
        InputError: there is no index, or its manifest cannot be read.
    """
    while True:
        manifest, text = read_manifest(directory)
        found = [*_checksums(directory, manifest, progress)]
        if not found:
            found = [*_contents(directory)]
        if not found or read_manifest(directory)[1] == text:  # else it was replaced while it was read
            return found


def _checksums(directory: Path, manifest: Manifest, progress: Done | None) -> Iterator[str]:
    files = []
    for part in manifest.segments:
        folder = folder_of(directory, part.name)
        try:
            facts = read_facts(folder, part.sha256)
        except InputError as error:
            yield str(error)
        else:
            files += [(folder / name, file) for name, file in facts.files.items()]
    done, total = 0, sum(file.bytes for _, file in files)
    for path, file in files:
        try:
            check_content(path, file)
        except InputError as error:
            yield str(error)
        done += file.bytes
        if progress is not None:
            progress(done, total)
    for read in (
        lambda: read_removed(directory, manifest.removed),
        lambda: read_log(directory, manifest),
    ):
        try:
            read()
        except InputError as error:
            yield str(error)


def _contents(directory: Path) -> Iterator[str]:
    """Of an index whose files are what was written."""
    try:
        snapshot = read_snapshot(directory)
        names = pa.chunked_array(
            [
                segment.table.arrow["clip_id"].filter(pa.array(np.ones(len(segment.table), bool)))
                if segment.live is None
                else segment.table.arrow["clip_id"].filter(pa.array(segment.live))
                for segment in snapshot.segments
            ],
            type=pa.string(),
        )
    except InputError as error:
        yield str(error)
        return
    if pc.count_distinct(names).as_py() < len(names):
        counts = pc.value_counts(names)
        several = counts.filter(pc.greater(counts.field("counts"), 1))
        yield str(damaged(directory, f"clip '{several[0]['values']}' is in it twice"))
    for segment in snapshot.segments:
        if segment.name:
            yield from _segment(folder_of(directory, segment.name), segment)


def _segment(folder: Path, segment: Segment) -> Iterator[str]:
    table = segment.table.arrow
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        yield str(damaged(folder / TABLE, str(error)))
        return
    ids = np.asarray(table["clip_id"].to_numpy())
    if (ids[1:] <= ids[:-1]).any():
        yield str(damaged(folder / TABLE, "it is not sorted by clip_id"))
    codes = np.asarray(table["pattern"].to_numpy())
    for partition in segment.partitions:
        code = code_of(partition.pattern)
        if not np.array_equal(partition.rows, np.flatnonzero(codes == code)):
            yield str(damaged(folder / rows_name(code), "its rows are not those of its pattern in the table"))
        if not _fit(partition):
            yield str(damaged(folder / vectors_name(code), f"a vector is not finite, or of norm above {NORM}"))
        try:
            partition.scanner.scan(np.zeros((1, partition.scanner.shape.width), dtype=np.float32), 1)
        except (ValueError, RuntimeError) as error:
            yield str(damaged(folder / scanner_name(partition.scanner.kind, code), str(error)))
    missing = set(codes.tolist()) - {code_of(partition.pattern) for partition in segment.partitions}
    if any("1" in code for code in missing):
        yield str(damaged(folder / TABLE, "it has clips of a pattern that has no vectors"))


def _fit(partition: Partition) -> bool:
    """Whether each expert of each vector has a norm that an index takes."""
    ends = np.cumsum(partition.scanner.shape.sizes)
    step = max(1, BLOCK // (4 * partition.vectors.shape[1]))
    for start in range(0, len(partition.vectors), step):
        block = partition.vectors[start : start + step]
        if not np.isfinite(block).all():
            return False
        parts = np.split(block[:, : ends[-1]], ends[:-1], axis=1)
        if any(np.einsum("ne,ne->n", part, part).max() > NORM**2 for part in parts):
            return False
    return True
