"""Clips that are made up, for an index: entries of random patterns, and what an index should say of them."""

from dataclasses import replace
from itertools import compress

import numpy as np
import pyarrow as pa

from index.storage.entries import Entries
from index.storage.manifest import Origin
from index.storage.segment import packed_of
from index.storage.table import WORDS, Words
from mee.layout import Layout

LAYOUT = Layout(("appearance", "motion", "audio"), (6, 3, 4))
SPOKEN = replace(LAYOUT, words=("audio", "motion"))
ORIGIN = Origin("/models/m", "0123456789ab", "/stores/s")


def made_entries(clip_ids, seed=0, layout=LAYOUT, missing=0.4, offsets=False, **columns):
    """Unit vectors that follow from id and seed; NaN where an expert is missing; some clips have no stream."""
    rows, available = [], []
    for clip_id in clip_ids:
        rng = np.random.default_rng([seed, *clip_id.encode()])
        there = rng.random(len(layout.names)) >= missing
        parts = [rng.normal(size=size) for size in layout.sizes]
        rows.append(np.concatenate([p / np.linalg.norm(p) if t else p * np.nan for p, t in zip(parts, there)]))
        available.append(there)
    packed = np.array(rows, dtype=np.float32).reshape(len(clip_ids), layout.total)
    facts = {
        "clip_id": pa.array(clip_ids, pa.string()),
        "video": pa.array([f"{clip_id}.mp4" for clip_id in clip_ids], pa.string()),
        "start_s": pa.array([float(seed)] * len(clip_ids)),
        "end_s": pa.array([seed + 1.5] * len(clip_ids)),
        "seed": pa.array([seed] * len(clip_ids)),
    }
    if offsets:
        facts["offset"] = pa.array(np.random.default_rng(seed).random(len(clip_ids)))
    columns = {name: pa.array(values) for name, values in columns.items()}
    flags = np.array(available, dtype=bool).reshape(len(clip_ids), len(layout.names))
    words = {name: made_words(clip_ids, seed, layout.names.index(name), flags, layout) for name in layout.words}
    return Entries(pa.table({**facts, **columns}), packed, flags, words)


def made_words(clip_ids, seed, m, available, layout):
    """1 to 3 rows of each clip that has an expert, which follow from id, expert and seed."""
    rows, values = [], [np.empty((0, layout.sizes[m]), np.float32)]
    for clip in np.flatnonzero(available[:, m]).tolist():
        rng = np.random.default_rng([seed, m, *clip_ids[clip].encode()])
        own = rng.normal(size=(rng.integers(1, 4), layout.sizes[m])).astype(np.float32)
        values.append(own / np.linalg.norm(own, axis=1, keepdims=True))
        rows += [(clip, float(n), n + 0.5, f"{clip_ids[clip]} says {n} ü") for n in range(len(own))]
    columns = zip(*rows) if rows else [[]] * len(WORDS)
    table = pa.table({name: pa.array(of, kind) for (name, kind), of in zip(WORDS.items(), columns)})
    return Words(table, np.concatenate(values))


def said_of(words, clip):
    """All that words know of a clip."""
    rows = words.of(clip)
    return words.table.slice(rows.start, rows.stop - rows.start).to_pylist(), words.values[rows].tobytes()


def known(facts):
    """Without nulls: a column that a clip does not have is null."""
    return {name: value for name, value in facts.items() if value is not None}


def as_dict(entries, layout=LAYOUT):
    """Clip id -> what is kept of it: its row of the table, and the bytes of its present experts."""
    kept = {}
    for row, facts in enumerate(entries.checked(layout).table.to_pylist()):
        available = entries.available[row].tolist()
        there = np.repeat(packed_of(available, layout), layout.sizes)
        said = {n: said_of(w, row) for n, w in entries.words.items() if available[layout.names.index(n)]}
        vectors = entries.packed[row, there].tobytes() + as_bytes(said)
        kept[facts["clip_id"]] = known(facts), vectors, available
    return kept


def as_bytes(said):
    """Without the clips' rows, which are not the same in every table of clips."""
    parts = [([{**row, "clip": name} for row in rows], values) for name, (rows, values) in sorted(said.items())]
    return repr(parts).encode() if parts else b""


def contents(snapshot):
    """The same of an index, read clip by clip; each must be found in one place only."""
    kept, found = {}, 0
    for number, segment in enumerate(snapshot.segments):
        for row, facts in enumerate(segment.table.arrow.to_pylist()):
            if segment.live is not None and not segment.live[row]:
                continue
            clip_id, code = facts["clip_id"], facts.pop("pattern")
            assert clip_id not in kept, f"{clip_id} is there twice"
            assert snapshot.find(clip_id) == (number, row)
            vector, said, place = b"", {}, segment.place(row)
            assert (place is None) == ("1" not in code)
            if place is not None:
                partition, at = place
                assert partition.segment == number
                assert "".join("01"[there] for there in partition.pattern) == code
                assert partition.allowed is None or partition.allowed.mask[at]
                width = partition.vectors.shape[1] - (snapshot.offsets is not None)
                vector = partition.vectors[at, :width].tobytes()
                if snapshot.offsets is not None:
                    assert partition.vectors[at, -1] == np.float32(facts["offset"])
                assert partition.ids(np.array([at])) == [clip_id]
                for m, (rows, places) in partition.words.items():
                    said[snapshot.layout.names[m]] = said_of(segment.words[m], row)
                    part = rows.values[rows.starts[places[at]] : rows.starts[places[at] + 1]]
                    assert part.tobytes() == said[snapshot.layout.names[m]][1]
                assert set(said) == set(snapshot.layout.words) & set(
                    compress(snapshot.layout.names, partition.pattern)
                )
                found += 1
            kept[clip_id] = known(facts), vector + as_bytes(said), [digit == "1" for digit in code]
    assert len(snapshot) == found == sum(partition.count for partition in snapshot.partitions)
    return kept
