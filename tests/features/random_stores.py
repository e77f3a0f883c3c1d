"""Stores with a history drawn at random, and what counts in a store. Loaded by the fixture `random_stores`."""

import itertools

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from features.extractors.base import Fingerprint
from features.store.feature_store import FeatureStore
from features.store.layout import PRESENT, ClipRecord
from features.store.manifest import declare
from features.store.writer import StoreWriter, clear_overwritten

RECORDS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),  # video
        st.sampled_from(["ok", "failed"]),
        st.sampled_from([10, 10, 11]),  # size of its file
        st.sampled_from(["", "x", "y"]),  # its hash
        st.sampled_from([None, "missing", "present"]),  # sight
        st.sampled_from([None, "missing", "present"]),  # sound
        st.booleans(),  # whether --overwrite comes first
    ),
    max_size=4,
)
NUMBERS = itertools.count()
FACTS = {"start_s": 0.0, "end_s": 1.0, "reader": "pyav", "clips_of_video": 1, "note": ""}


def fill(directory, records):
    """A shard a record."""
    fingerprints = {name: Fingerprint(extractor=name, version=1, dim=1) for name in ("sight", "sound")}
    declare(directory, fingerprints, None, overwrite=False)
    for video, verdict, size, digest, sight, hearing, again in records:
        states = {"sight": sight, "sound": hearing} if verdict == "ok" else {}
        streams = {
            name: np.full((1, 1), next(NUMBERS) % 2000, np.float16) if state == "present" else None
            for name, state in states.items()
            if state
        }
        manifest = declare(directory, {"sight": fingerprints["sight"]}, None, overwrite=again)
        if again:
            clear_overwritten(directory, manifest)
        times = {name: np.ones(1, np.float32) for name, rows in streams.items() if rows is not None}
        facts = {**FACTS, "verdict": verdict, "file_bytes": size, "file_sha256": digest}
        with StoreWriter(directory, manifest) as writer:
            writer.add([ClipRecord(clip_id=video, video=video, streams=streams, times=times, **facts)])


def content(directory):
    """All that a store knows, except the names of its shards."""
    store = FeatureStore(directory)
    streams = {}
    for stream in sorted(store.manifest.streams):
        there = list(store.rows.index[store.rows[stream] == PRESENT])
        for name, rows, times in zip(there, store.read(stream, there), store.times(stream, there)):
            streams[stream, name] = (rows.tolist(), None if times is None else times.tolist())
    return store.rows[sorted(store.rows.columns)], streams


def same(one, other):
    """Whether two stores know the same."""
    (rows, streams), (others, other_streams) = map(content, (one, other))
    pd.testing.assert_frame_equal(rows, others)
    return streams == other_streams
