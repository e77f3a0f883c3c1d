"""Many small shards -> few, without what no longer counts.

    rewritten    shards below half of SHARD_BYTES, and those that hold rows or streams that do not count
    left alone   the others

The new shards are there before the old ones go, and say the same of the same clips at the same time, so that a
kill at any moment changes nothing that a reader sees. Rows of a clip are united where they are of one file: what
was extracted, and what was imported without a file, stay apart. What does not count is gone for good, even where
it would have counted again: streams of a file that changes back, a failure of before a success that is
overwritten. A store that was opened before finds its files gone: compact when nobody reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import pandas as pd

from features.store import writer as store_writer
from features.store.feature_store import FeatureStore
from features.store.manifest import Manifest
from features.store.part import ROW, ClipRecord, Float16Stream, Times, part_path, rows_name, times_name
from features.store.rows import WHOLE_NUMBERS, CountedRows, are_failures, count_rows, unite
from features.store.writer import StoreWriter

READ_CLIPS = 64  # read at once


@final
@dataclass
class CompactReport:
    """What compacting did."""

    before: int  # shards
    bytes_before: int
    after: int = 0
    bytes_after: int = 0


def compact(directory: Path, on_clips: Callable[[int, int], None]) -> CompactReport:
    """Rewrite the shards that are small, or hold what no longer counts.

    Args:
        directory: of the store.
        on_clips: called now and then with how many rows are rewritten, and of how many.

    Raises:
        InputError: there is no store at this path, or a file is damaged; then readers see no change.
    """
    manifest = Manifest.read(directory)
    with StoreWriter(directory, manifest, unhurried=True) as writer:
        counted = count_rows(directory, manifest)
        store = FeatureStore(directory)  # looks second: a shard that a job adds now is not one to rewrite
        sizes = {shard: _size(directory, shard, manifest) for shard in counted.shards}
        report = CompactReport(len(sizes), sum(sizes.values()))
        chosen = _chosen(store, counted, sizes)
        for records, done, of in _records(store, counted, set(chosen)) if chosen else ():
            if records:
                writer.add(records)
            on_clips(done, of)
        writer.flush()
        for shard in chosen:
            writer.claim(shard)  # that a kill leaves no orphans
            part_path(directory, shard).unlink(missing_ok=True)
            for stream in manifest.streams:
                for name in (rows_name(stream, shard), times_name(stream, shard)):
                    (directory / name).unlink(missing_ok=True)
    now = count_rows(directory, manifest).shards
    report.after = len(now)
    report.bytes_after = sum(_size(directory, shard, manifest) for shard in now)
    return report


def _size(directory: Path, shard: str, manifest: Manifest) -> int:
    """Bytes of all files of a shard."""
    names = [name(stream, shard) for stream in manifest.streams for name in (rows_name, times_name)]
    paths = [part_path(directory, shard), *(directory / name for name in names)]
    return sum(path.stat().st_size for path in paths if path.exists())


def _chosen(store: FeatureStore, counted: CountedRows, sizes: Mapping[str, int]) -> list[str]:
    """The shards to rewrite."""
    used: Counter[str | None] = Counter()  # streams that readers take from each
    for stream in store.manifest.streams:
        used.update(store.shards_of(stream, list(store.rows.index[store.rows[stream].notna()])))
    rows = Counter(counted.rows["shard"].tolist())
    spoilt = {
        shard
        for number, shard in enumerate(counted.shards)
        if used[shard] < counted.held[number] or not rows[number]
    }
    small = {shard for shard in counted.shards if sizes[shard] < store_writer.SHARD_BYTES / 2}
    if len(small) < 2:
        small = set()  # alone it would only be copied
    return [shard for shard in counted.shards if shard in spoilt | small]


def _records(
    store: FeatureStore, counted: CountedRows, chosen: set[str]
) -> Iterator[tuple[list[ClipRecord], int, int]]:
    """What the chosen shards say that counts, with how many rows are done, and of how many."""
    numbers = [number for number, shard in enumerate(counted.shards) if shard in chosen]
    here, fails = counted.rows["shard"].isin(numbers), are_failures(counted.rows)
    failures = unite(counted.rows[here & fails])
    yield list(_bare(failures, failures.index)), 0, 1
    told = counted.rows[~fails]
    told = told.assign(row=told.groupby(["clip_id", "file_bytes", "file_sha256"], dropna=False).ngroup())
    states: dict[str, dict[int, str]] = {}  # by stream: what the new rows tell of it
    for stream in store.manifest.streams:
        last = told[told[stream].notna()].drop_duplicates("clip_id", keep="last")  # the one that readers go by
        last = last[last["shard"].isin(numbers)]
        states[stream] = dict(zip(last["row"], last[stream]))
    facts = told.groupby("row").last().assign(written_at=told[here[~fails]].groupby("row")["written_at"].max())
    facts = facts.loc[sorted(set().union(*states.values()))].sort_values("shard", kind="stable")  # as they lie
    for first in range(0, len(facts), READ_CLIPS):
        some = facts.iloc[first : first + READ_CLIPS]
        streams: dict[int, dict[str, Float16Stream | None]] = {row: {} for row in some.index}
        times: dict[int, dict[str, Times]] = {row: {} for row in some.index}
        for stream, state_of in states.items():
            rows = [row for row in some.index if row in state_of]
            clip_ids = [str(some["clip_id"][row]) for row in rows]
            for row, stored, seconds in zip(rows, store.read(stream, clip_ids), store.times(stream, clip_ids)):
                streams[row][stream] = stored
                if seconds is not None:
                    times[row][stream] = seconds
        records = zip(some.index, _bare(some, some["clip_id"]))
        done = [replace(record, streams=streams[row], times=times[row]) for row, record in records]
        yield done, first + len(some), len(facts)


def _bare(rows: pd.DataFrame, clip_ids: Iterable[str]) -> Iterator[ClipRecord]:
    """Records without streams, in order."""
    facts = rows[[*ROW[1:], "written_at"]].astype(dict.fromkeys(WHOLE_NUMBERS, "Int32")).astype(object)
    known: Any = facts.where(facts.notna(), None).to_dict("records")
    return (ClipRecord.of_row(str(clip_id), row, {}) for clip_id, row in zip(clip_ids, known))
