"""Synchronise: bring an index to the state of a source of features.

    no index, or overwrite    a new index is made; the old one is searched until the new one is complete
    an index                  clips that left the source are removed, without `prune` only those of videos that it
                              has other clips of now, as where a file changed; then new and changed clips are
                              embedded and put, a batch at a time; an interrupted run keeps what it has put

    new        in the source only
    changed    in both, but made from another file or stream since, or with other metadata now
    left       in the index only

Beside its vectors an index stores of each clip its video and span, what the source knows of the file (FILE), the
given metadata (of the clips that it names; the others keep theirs), and a version: a digest of the clip's place,
its file, its streams and what made them. It changes when a file was replaced and extracted again, or a stream that
the model reads was made again; not when another stream is added.

Of a model whose weights are how much sentences stand out, the scale (mee.layout) is measured over all clips when
an index is made or compacted here, and stays as it is while clips are added, so that scores can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from index.metadata import Metadata
from index.postgres import Place, created_at, holds_index, home_of, writer_at
from index.scanners import Choice, Settings
from index.storage import (
    OPTIONAL,
    STANDARD,
    Entries,
    Origin,
    Segment,
    Snapshot,
    as_pandas,
    joined,
    packed_of,
    share_of,
)
from index.text_export import keep_text
from mee.encode import encode_gallery
from mee.errors import InputError
from mee.model import VideoEmbedding
from mee.streams import Ragged
from mee.zero_shot import measure_scale

if TYPE_CHECKING:
    import pandas as pd

    from index.postgres import Writer
    from mee.data import FeatureSource
    from mee.model import MEE, TextEmbedding

CLIPS = 4096  # embedded and put at a time
LOOSE = 0.25  # of an index: so much beside its largest segment is worth a compaction
PLACE = ("video", "start_s", "end_s")
FILE = {"file_seconds": "Float64", "file_bytes": "Int64", "width": "Int64", "height": "Int64", "fps": "Float64"}
FILE |= {"video_codec": "string", "audio_codec": "string", "audio_rate": "Int64", "file_modified": "string"}
OWN = (*PLACE, *FILE, "pattern", *OPTIONAL)
WORDS = {"string": "text", "Int64": "numbers", "Float64": "numbers", "boolean": "true or false"}
DIGITS, BETWEEN = 16, "\x1f"

Progress = Callable[[int, int], None]  # done, of how many
Bar = Callable[[str, str], AbstractContextManager[Progress]]  # of a step and what it counts


def _no_bar(step: str, things: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, of: None)


@dataclass
class Report:
    """What was done."""

    new: int = 0  # of those that can be found
    changed: int = 0
    removed: int = 0
    left: list[str] = field(default_factory=list)  # no longer in the source, and still found
    unknown: list[str] = field(default_factory=list)  # ids of the metadata that lead to no usable clip
    no_text: str = ""  # why the index has no text side, so that searches load the model


@dataclass(frozen=True)
class Plan:
    """What is to do so that an index holds what a source has."""

    clips: pd.DataFrame  # all that the source can use: index clip_id, columns as the index will have them
    new: list[str]
    changed: list[str]
    left: list[str]
    outdated: list[str]  # of these, clips of videos of which the source has others

    @property
    def put(self) -> list[str]:
        """Clips to embed, in the source's order."""
        wanted = {*self.new, *self.changed}
        return [clip_id for clip_id in self.clips.index if clip_id in wanted]

    def moved(self, there: pd.DataFrame, count: int) -> list[str]:
        """Clips that are in another one of so many shards, since their videos are others now."""
        old, now = (videos.loc[self.changed] for videos in (there["video"], self.clips["video"]))
        some = old.index[(old != now).to_numpy()]
        return [clip_id for clip_id in some if share_of(old[clip_id], count) != share_of(now[clip_id], count)]


def synchronise(
    directory: Path | Place,
    model: MEE,
    source: FeatureSource,
    origin: Origin,
    *,
    metadata: Metadata | None = None,
    kind: Choice | None = None,
    recall: float | None = None,
    prune: bool = False,
    overwrite: bool = False,
    shards: int | None = None,
    bank: TextEmbedding | None = None,
    bar: Bar = _no_bar,
) -> Report:
    """Make or update an index.

    Args:
        directory: of the index, or its database; made if there is none.
        model: embeds the clips; the source fits it.
        source: of the clips.
        origin: where model and source are.
        metadata: more columns.
        kind: how clips are scanned (index/scanners/kinds.py); None: as it is, auto for a new index.
        recall: to reach, of a kind that is not exact.
        prune: remove clips that are no longer in the source.
        overwrite: make a new index in its place.
        shards: make it in so many (index/storage/shards.py); None: in one piece, or as it is.
        bank: the model's general sentences, where they are encoded already.
        bar: shows the progress of each step.

    Raises:
        InputError: the index is of another model or source, or is written by another process; it has offsets and
            a clip has none; or it cannot keep what is put.
    """
    report, columns = Report(), None
    origin = replace(origin, index=str(directory.resolve()) if isinstance(directory, Path) else "")
    if metadata is not None:
        columns, report.unknown = metadata.of_clips(source)
    facts = facts_of(source, model.modalities)
    writer: Writer | None = None
    with ExitStack() as stack:
        if not overwrite and holds_index(directory):
            writer = writer_at(directory, shards)
            stack.enter_context(writer)
        before = None if writer is None else writer.snapshot
        settings = (Settings() if before is None else before.settings).changed(kind, recall)
        rows = rows_of([] if before is None else before.segments)
        if before is not None:
            _check_same(directory, before.origin, origin, set(rows["version"]), set(facts["version"]))
        plan = planned(facts, rows, columns)
        offsets = None if before is None else _offsets(before, plan, rows)
        count = len(before.shards) if before is not None else shards or 0
        report.left = plan.left
        try:
            if writer is not None and before is not None:
                if before.origin != origin:  # the same model, moved
                    writer.set_origin(origin)
                if gone := plan.left if prune else plan.outdated:
                    report.removed, report.left = writer.remove(gone), sorted({*plan.left} - {*gone})
                if moved := plan.moved(rows, count) if count else ():
                    writer.remove(moved)
            with bar("embed", "clips") as on_embedded:
                parts = _embedded(model, source, plan, offsets, count, report, on_embedded)
                first = list(islice(parts, 1))  # a source or model that cannot be used leaves nothing behind
                if writer is None:
                    how: Any = {"settings": settings, "overwrite": overwrite, "shards": count}
                    writer = created_at(directory, model.layout, origin, **how)
                    stack.enter_context(writer)
                for entries in chain(first, parts):
                    writer.put(entries)
            now = writer.snapshot
            scaled = model.config.weights == "stand-out" and len(now) > 0
            unknown = scaled and now.scale is None
            changed = before is None or not writer.published or settings != now.settings
            if changed or unknown or _compaction_pays(now):
                scale = measure_scale(model, videos_of(now, model.device), bank) if scaled else None
                with bar("compact", "clips") as on_compacted:
                    writer.compact(settings=settings, scale=scale, progress=on_compacted)
            report.no_text = keep_text(writer, home_of(directory), origin, model)
        except InputError:
            raise
        except ValueError as error:  # the writer's, about what it is given
            raise InputError(f"'{directory}' cannot keep these clips: {error}") from error
    return report


def _check_same(directory: Path | Place, there: Origin, now: Origin, versions: set[str], others: set[str]) -> None:
    """Refuse another model or store; one that was moved, or copied, has clips of the same versions."""
    if there.model_fingerprint != now.model_fingerprint or (
        there.store != now.store and versions and versions.isdisjoint(others)
    ):
        raise InputError(
            f"'{directory}' was made with another model or store ('{there.model}', '{there.store}'); "
            "make a new one with --overwrite, or name another place"
        )


def _embedded(
    model: MEE,
    source: FeatureSource,
    plan: Plan,
    offsets: pd.Series[float] | None,
    shards: int,
    report: Report,
    on_embedded: Progress,
) -> Iterator[Entries]:
    """What is to be put, a batch of clips at a time, one shard after another; counts what can be found."""
    wanted, new = plan.put, set(plan.new)
    if shards:
        share = partial(share_of, count=shards)
        wanted.sort(key=dict(zip(wanted, map(share, plan.clips["video"].loc[wanted]))).__getitem__)
    on_embedded(0, len(wanted))
    for start in range(0, len(wanted), CLIPS):
        some = wanted[start : start + CLIPS]
        gallery = encode_gallery(model, source, some)
        fresh = sum(clip_id in new for clip_id in gallery.clip_ids)
        report.new += fresh
        report.changed += len(gallery.clip_ids) - fresh
        clips = plan.clips.loc[some]
        if offsets is not None:
            clips = clips.assign(offset=offsets.reindex(some))
        words = {name: source.words(name, gallery.clip_ids) for name in model.layout.words}
        yield Entries.of(gallery, clips, model.layout, words)
        on_embedded(start + len(some), len(wanted))


def videos_of(snapshot: Snapshot, device: torch.device) -> Iterator[VideoEmbedding]:
    """The embeddings of all clips of an index, some thousand at a time, sorted by their streams and ids.

    So what is measured over them is the same to the last bit, however they lie in segments and shards.
    """
    layout = snapshot.layout
    for pattern in sorted({partition.pattern for partition in snapshot.partitions}):
        some = [partition for partition in snapshot.partitions if partition.pattern == pattern]
        columns = np.flatnonzero(np.repeat(packed_of(pattern, layout), layout.sizes))
        ids = [
            snapshot.segments[its.segment].table.arrow["clip_id"].take(pa.array(its.rows[its.found]))
            for its in some
        ]
        chunks = [chunk for each in ids for chunk in each.chunks]
        order = np.asarray(pc.sort_indices(pa.chunked_array(chunks, pa.string())))
        number, row = (
            np.repeat(np.arange(len(some)), [its.count for its in some]),
            np.concatenate([its.found for its in some]),
        )
        number, row = number[order], row[order]
        for start in range(0, len(row), CLIPS):
            numbers, rows = number[start : start + CLIPS], row[start : start + CLIPS]
            packed = torch.zeros(len(rows), layout.total)
            for n in np.unique(numbers):
                at = np.flatnonzero(numbers == n)
                packed[at[:, None], columns] = torch.from_numpy(some[n].vectors[rows[at], : len(columns)])
            words = {}
            for m, name in enumerate(layout.names):
                if name in layout.words:
                    own = [some[n].words[m] if pattern[m] else None for n in numbers]
                    each = [torch.from_numpy(its[0].of(its[1][r])) if its else None for its, r in zip(own, rows)]
                    words[name] = Ragged.of(each, torch.empty(0, layout.sizes[m]))
            available = torch.tensor(pattern).expand(len(rows), -1)
            yield VideoEmbedding(packed.to(device), available.to(device), words)


def _offsets(snapshot: Snapshot, plan: Plan, there: pd.DataFrame) -> pd.Series[float] | None:
    """Offsets of the index, if it has them; every clip to put needs one."""
    if snapshot.offsets is None:
        return None
    offsets: pd.Series[float] = there["offset"].dropna()
    lacking = [clip_id for clip_id in plan.put if clip_id not in offsets.index]
    if lacking:
        raise InputError(
            f"the index has offsets, and {len(lacking)} clips have none, '{lacking[0]}' among them; drop them "
            "first: mee gallery compact INDEX --drop-offsets (mee gallery normalise makes them again)"
        )
    return offsets


def facts_of(source: FeatureSource, modalities: Sequence[str]) -> pd.DataFrame:
    """What an index stores of all usable clips: index clip_id; PLACE, FILE, version."""
    import pandas as pd

    clips = source.clips
    there = {name: kind for name, kind in FILE.items() if name in clips}
    facts = clips[list(PLACE)].join(clips[list(there)].astype(there))
    if "file_bytes" in facts:
        facts["file_bytes"] = facts["file_bytes"].mask(facts["file_bytes"] == 0)  # an import knows of no file
    if "file_mtime" in clips:  # text in UTC, which sorts, and compares with a part of it: "2024-05"
        times = pd.to_datetime(clips["file_mtime"], unit="s", errors="coerce").dt
        facts["file_modified"] = times.strftime("%Y-%m-%d %H:%M:%S").astype("string")
    made = hashlib.sha256(BETWEEN.join(f"{name} {source.versions[name]}" for name in modalities).encode())
    known = clips[[name for name in (*PLACE, "file_bytes", "file_sha256", *modalities) if name in clips]]
    digests = []
    for start in range(0, len(known), CLIPS):
        for row in zip(*(known[name].iloc[start : start + CLIPS].tolist() for name in known)):
            digest = made.copy()
            digest.update(BETWEEN.join(map(str, row)).encode())
            digests.append(digest.hexdigest()[:DIGITS])
    return facts.assign(version=digests)


def rows_of(segments: Sequence[Segment]) -> pd.DataFrame:
    """All clips of an index, those without a stream included: index clip_id, nullable columns."""
    tables = [pa.schema(STANDARD).empty_table(), *(segment.live_table() for segment in segments)]
    rows = as_pandas(joined(tables)).set_index("clip_id")
    rows.index = rows.index.astype("string").astype(object)
    if not rows.index.is_unique:
        twice = rows.index[rows.index.duplicated()][0]
        raise InputError(f"the index has clip '{twice}' twice, so it is damaged; make a new one with --overwrite")
    return rows


def planned(facts: pd.DataFrame, there: pd.DataFrame, metadata: pd.DataFrame | None) -> Plan:
    """Compare the source's `facts_of` with the index's `rows_of`."""
    import pandas as pd

    old, now = there.reindex(facts.index), facts.copy()
    differs = ~_same(old["version"], facts["version"].astype("string"))
    given = [] if metadata is None else list(metadata.columns)
    for name in dict.fromkeys([*(name for name in there if name not in OWN), *given]):
        merged = _merged(str(name), old.get(name), None if metadata is None else metadata.get(name), facts.index)
        now[name] = merged
        before = old[name] if name in old else pd.Series(pd.NA, index=facts.index, dtype=merged.dtype)
        differs |= ~_same(before, merged)
    is_new = ~facts.index.isin(there.index)
    new, changed = facts.index[is_new].tolist(), facts.index[differs.to_numpy() & ~is_new].tolist()
    left = there.loc[there.index.difference(facts.index)]
    return Plan(now, new, changed, list(left.index), list(left.index[left["video"].isin(facts["video"])]))


def _same(one: pd.Series, other: pd.Series) -> pd.Series:
    """Row by row, where nothing equals nothing."""
    return (one == other).fillna(False).astype(bool) | (one.isna() & other.isna())


def _merged(name: str, old: pd.Series | None, given: pd.Series | None, clips: pd.Index) -> pd.Series:
    """A column: what is given, else what was there."""
    if given is None:
        assert old is not None
        return old
    if old is None or old.isna().all():
        return given.reindex(clips)
    if given.isna().all():
        given = given.astype(old.dtype)
    kinds = {str(old.dtype), str(given.dtype)}
    if len(kinds) > 1 and kinds != {"Int64", "Float64"}:
        raise InputError(
            f"column '{name}' of the metadata is {WORDS[str(given.dtype)]}, and in the index it is "
            f"{WORDS[str(old.dtype)]}; give it another name, or make a new index with --overwrite"
        )
    if len(kinds) > 1:
        old, given = old.astype("Float64"), given.astype("Float64")
    return old.where(~clips.isin(given.index), given.reindex(clips))


def _compaction_pays(snapshot: Snapshot) -> bool:
    """Whether many rows of an index are outside the largest segment of it, or of their shard, or removed."""
    rows = sum(len(segment.table) for segment in snapshot.segments)
    largest = sum(max(map(len, each.segments), default=0) for each in snapshot.shards or (snapshot,))
    return rows - largest > LOOSE * sum(map(len, snapshot.segments))
