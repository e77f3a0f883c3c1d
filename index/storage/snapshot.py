"""Snapshot: an index as it is at one moment, for those who search it. It never changes.

Of the clips that were put under one name the last counts, unless it was removed: one row of one segment, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.scanners import TINY, Floats, Partition, Settings
from index.storage.checksums import check_file, worth_checking
from index.storage.entries import together
from index.storage.manifest import INDEX_FILE, SHARDS_FILE, Manifest, Origin, Recall, read_manifest, reading
from index.storage.segment import Segment, SegmentFacts, as_of, folder_of, open_segment, packed_of, read_facts
from index.storage.table import STANDARD
from mee.errors import InputError
from mee.layout import Layout, Scale

if TYPE_CHECKING:
    from mee.data import Names

SAMPLE, FEW = 1000, 50  # clips whose mean stands for that of all; so many are a poor estimate of it
TRIES = 100  # when the writer replaces segments faster than they are opened
AGAIN = 20  # times that a database is searched while others write to it
Asked = ParamSpec("Asked")
Found = TypeVar("Found")


class Changed(InputError):
    """Something else is in a database than in its snapshot."""

    def __init__(self) -> None:
        super().__init__("the index changed while it was searched; search again")


def of_one_state(
    work: Callable[Concatenate[Any, Asked], Found],
) -> Callable[Concatenate[Any, Asked], Found]:
    """A method of a Searcher that is called again where a database was written to meanwhile."""

    @wraps(work)
    def done(self: Any, *asked: Asked.args, **more: Asked.kwargs) -> Found:
        for _ in range(AGAIN):
            try:
                return work(self, *asked, **more)
            except Changed:
                if not self.refresh():
                    raise
        raise Changed

    return cast("Callable[Concatenate[Any, Asked], Found]", done)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An index at one moment."""

    layout: Layout
    origin: Origin
    generation: int = 0  # of its manifest
    settings: Settings = field(default_factory=Settings)
    offsets: Mapping[str, Any] | None = None  # what the clips' offsets are; None: they have none
    recall: Recall | None = None  # None: not measured
    scale: Scale | None = None  # of the experts; None: weights of sentences are the model's
    segments: tuple[Segment, ...] = ()
    source: tuple[Path, bytes] | None = field(default=None, repr=False)  # directory, manifest; None: in memory
    shards: tuple[Snapshot, ...] = ()  # whose segments these are, one after another; () where it is not in shards
    again: Callable[[], Snapshot] | None = field(default=None, repr=False)  # of a database: reads it as it is now

    def with_segments(self, segments: Sequence[Segment]) -> Snapshot:
        """The same of other segments."""
        return replace(self, segments=tuple(segment.numbered(number) for number, segment in enumerate(segments)))

    @cached_property
    def partitions(self) -> tuple[Partition, ...]:
        """Of all segments, those in which a clip can be found."""
        return tuple(partition for segment in self.segments for partition in segment.partitions if partition.count)

    @cached_property
    def videos(self) -> tuple[list[str], list[NDArray[np.int64]]]:
        """The videos of all clips, removed ones included, and for each segment those of its rows, by number."""
        import pyarrow.compute as pc  # here: most searches need none of it

        columns = [segment.table.arrow["video"] for segment in self.segments]
        names = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()).unique()
        return names.to_pylist(), [np.asarray(pc.index_in(column, names)).astype(np.int64) for column in columns]

    @property
    def folders(self) -> list[Path]:
        """Of each segment the directory of its index, or shard; none of one in memory."""
        return [shard.source[0] for shard in self.shards or (self,) if shard.source for _ in shard.segments]

    def check(self) -> None:
        """Check that no file was cut since it was mapped."""
        for segment in self.segments:
            segment.check()

    def __len__(self) -> int:
        """How many clips can be found."""
        return sum(partition.count for partition in self.partitions)

    def find(self, clip_id: str) -> tuple[int, int] | None:
        """The segment's number and the row of a clip, whether or not it has a stream."""
        for number, segment in enumerate(self.segments):
            row = segment.find(clip_id)
            if row is not None:
                return number, row
        return None

    @cached_property
    def names(self) -> Names[tuple[str, tuple[str, ...]]]:
        """Of all clips and videos: the video, and the clips."""
        from mee.data import names_of  # here: most searches need none of it

        tables = [segment.live_table() for segment in self.segments]
        ids = (zip(table["clip_id"].to_pylist(), table["video"].to_pylist()) for table in tables)
        return names_of(chain.from_iterable(ids), "the index")

    def vectors_of(self, clip_ids: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
        """As `vectors`, of clips by their ids; one that is not there has no stream."""
        return self.vectors([self.find(clip_id) or (-1, 0) for clip_id in clip_ids])

    def vectors(self, places: Sequence[tuple[int, int]]) -> tuple[Floats, NDArray[np.bool_]]:
        """Packed vectors of clips, 0 where a stream is missing, and which streams there are: (N, E), (N, M).

        Of words it is the mean of a clip's vectors, as one of norm 1: what it is about as a whole.

        places: segments' numbers and rows of their tables, as of `find`.
        """
        number, row = np.array(places, dtype=np.int64).reshape(-1, 2).T
        vectors = np.zeros((len(row), self.layout.total), dtype=np.float32)
        there = np.zeros((len(row), len(self.layout.names)), dtype=np.bool_)
        for partition in chain.from_iterable(segment.partitions for segment in self.segments):
            own = np.minimum(np.searchsorted(partition.rows, row), len(partition.rows) - 1)
            some = np.flatnonzero((number == partition.segment) & (partition.rows[own] == row))
            columns = np.flatnonzero(np.repeat(packed_of(partition.pattern, self.layout), self.layout.sizes))
            there[some] = partition.pattern
            vectors[some[:, None], columns] = partition.vectors[own[some], : len(columns)]
            for m, (words, clips) in partition.words.items():
                for n, clip in zip(some, clips[own[some]]):
                    mean = words.of(clip).mean(0, dtype=np.float64)
                    vectors[n, self.layout.slices[m]] = mean / max(float(np.linalg.norm(mean)), TINY)
        return vectors, there

    @cached_property
    def sample(self) -> list[tuple[int, int]]:
        """Places, as of `find`, of at most SAMPLE clips that can be found, those whose ids have the least hashes.

        So it is the same, and in the same order, however clips lie in segments and shards.
        """
        if not self.partitions:
            return []
        rows = [each.rows[each.found] for each in self.partitions]
        hashes = [self.segments[each.segment].table.hashes[its] for each, its in zip(self.partitions, rows)]
        found, row = np.concatenate(hashes), np.concatenate(rows)
        segment = np.repeat([each.segment for each in self.partitions], [*map(len, rows)])
        last = min(SAMPLE, len(found)) - 1
        few = np.flatnonzero(found <= np.partition(found, last)[last])
        places = list(zip(segment[few].tolist(), row[few].tolist()))
        names = [self.segments[number].table.ids(np.array([at]))[0] for number, at in places]
        order = sorted(range(len(few)), key=lambda n: (found[few[n]], names[n]))
        return [places[n] for n in order[:SAMPLE]]

    @cached_property
    def centre(self) -> Floats:
        """(E,) about the mean vector of the clips that have a stream, by experts; shorter where they are few.

        Of a sample: sum / (their number + FEW), so that of few clips little is taken off.
        """
        vectors, there = self.vectors(self.sample)
        counts = np.repeat(there.sum(0) + FEW, self.layout.sizes)
        return np.asarray(vectors.sum(0, dtype=np.float64) / counts, dtype=np.float32)

    @cached_property
    def columns(self) -> pa.Schema:
        """Of all clips; a column that a segment's own table lacks is null there."""
        return together([pa.schema(STANDARD), *(segment.table.arrow.schema for segment in self.segments)])

    def without_stream(self) -> list[str]:
        """Clips that have no stream, so that nothing finds them; sorted."""
        import pyarrow.compute as pc  # here: a search needs none of it

        none, found = "0" * len(self.layout.names), list[str]()
        for segment in self.segments:
            table = segment.live_table()
            found += table["clip_id"].filter(pc.equal(table["pattern"], none)).to_pylist()
        return sorted(found)


def snapshot_of(
    manifest: Manifest, segments: Sequence[Segment], source: tuple[Path, bytes] | None = None
) -> Snapshot:
    """What a manifest and its open segments make together."""
    of = manifest
    facts = (of.layout, of.origin, of.generation, of.settings, of.offsets, of.recall, of.scale)
    made = Snapshot(*facts, source=source)
    return made.with_segments(segments)


def read_snapshot(directory: Path) -> Snapshot:
    """Open an index: its files are mapped, and some of their bytes are compared with checksums (checksums.py).

    Of one in shards all are opened.

    Raises:
        InputError: there is no index, it is damaged, or it is of another version.
    """
    return _opened(directory, {})


def refreshed(snapshot: Snapshot) -> Snapshot:
    """The index as its directory, or database, has it now; the snapshot itself where nothing changed.

    Raises:
        InputError: as `read_snapshot`.
    """
    if snapshot.source is None:
        return snapshot if snapshot.again is None else snapshot.again()
    known = {shard.source[0]: shard for shard in snapshot.shards or (snapshot,) if shard.source}
    now = _opened(snapshot.source[0], known)
    same = now.source == snapshot.source and len(now.shards) == len(snapshot.shards)
    return snapshot if same else now


def _shards_of(directory: Path) -> list[Path]:
    if not (directory / SHARDS_FILE).is_file():
        return []
    from index.storage.shards import shard_folders  # here: most indexes have none

    return shard_folders(directory)


def _opened(directory: Path, known: Mapping[Path, Snapshot]) -> Snapshot:
    for _ in range(TRIES):
        folders = _shards_of(directory)
        try:
            if not folders:
                return read_single(directory, known.get(directory))
            return joined_shards(directory, [read_single(folder, known.get(folder)) for folder in folders])
        except InputError:
            if _shards_of(directory) == folders:  # else all were made again
                raise
    raise _changing(directory)


def joined_shards(directory: Path, shards: Sequence[Snapshot], *, agree: bool = True) -> Snapshot:
    """The shards of an index as one snapshot; agree: check that they belong together.

    Raises:
        InputError: they do not.
    """
    first = shards[0]
    for number, shard in enumerate(shards if agree else ()):
        place = shard.source[0] if shard.source else directory / f"shard-{number}"
        for name in ("layout", "offsets", "scale", "settings"):
            if getattr(shard, name) != getattr(first, name):
                raise InputError(
                    f"'{place}' differs from the other shards of '{directory}' ({name}); make the index "
                    "again: mee index STORE MODEL INDEX --overwrite"
                )
        if shard.origin.model_fingerprint != first.origin.model_fingerprint:
            raise InputError(f"'{place}' was made with another model than the other shards")
    source = directory, b"".join(bytes(shard.source[0]) + shard.source[1] for shard in shards if shard.source)
    whole = replace(
        first, generation=sum(shard.generation for shard in shards), source=source, shards=tuple(shards)
    )
    return whole.with_segments([*chain.from_iterable(shard.segments for shard in shards)])


def read_single(directory: Path, known: Snapshot | None = None) -> Snapshot:
    """As `read_snapshot`, of an index that is not in shards; known: as it was."""
    manifest, text = read_manifest(directory)
    for _ in range(TRIES):
        if known is not None and known.source == (directory, text):
            return known
        try:
            return snapshot_of(manifest, open_segments(directory, manifest, known), (directory, text))
        except InputError:
            before, (manifest, text) = text, read_manifest(directory)
            if text == before:  # else the writer replaced it, and deleted files that it named
                raise
    raise _changing(directory)


def _changing(directory: Path) -> InputError:
    return InputError(f"the index at '{directory}' changes faster than it can be opened; try again later")


def open_segments(directory: Path, manifest: Manifest, known: Snapshot | None = None) -> list[Segment]:
    """Open the segments of a manifest; those that a snapshot has open already are used again."""
    segments = () if known is None else known.segments
    there = {(segment.ref.name, segment.ref.sha256): segment for segment in segments if segment.ref}
    facts = {
        ref.name: read_facts(folder_of(directory, ref.name), ref, manifest.layout)
        for ref in manifest.segments
        if (ref.name, ref.sha256) not in there
    }
    _check_files(directory, facts)
    opened = [
        open_segment(directory, manifest, ref, facts[ref.name])
        if ref.name in facts
        else as_of(directory, there[ref.name, ref.sha256], ref)
        for ref in manifest.segments
    ]
    with reading(directory / INDEX_FILE):
        together(segment.table.arrow.schema for segment in opened)
    return opened


def _check_files(directory: Path, facts: Mapping[str, SegmentFacts]) -> None:
    """Compare the files of segments with their checksums, as far as that does not delay opening."""
    files = {
        folder_of(directory, name) / file: about
        for name, segment in facts.items()
        for file, about in segment.files.items()
    }
    for path, whole in worth_checking(files):
        with reading(path):
            check_file(path, files[path], whole=whole)
