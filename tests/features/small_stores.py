"""What the tests of stores share: two rows a clip, what is on disk, and stores drawn at random."""

import itertools
import json

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from features.extractors.base import Fingerprint
from features.store.feature_store import FeatureStore
from features.store.layout import PRESENT, STORE_FILE, ClipRecord
from features.store.manifest import checksummed, declare
from features.store.summary import summarise
from features.store.verify import check_store
from features.store.writer import StoreWriter, clear_overwritten

ROWS = np.arange(6, dtype=np.float16).reshape(2, 3)
TIMES = np.array([0.25, 0.75], np.float32)
NAMES = ["a b.mp4", "übung 漢字.mp4", "c#1.mp4", "d#t=0,10", "-e/%20[x].mp4", "f'\".mp4"]


def check(directory):
    return check_store(directory, lambda done, of: None)


def wrong(directory):
    return {finding.name: finding.what for finding in check(directory).wrong}


def files(directory, pattern="**/*"):
    """Name -> when it was written; without locks."""
    paths = (path for path in directory.glob(pattern) if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(directory).as_posix(): path.stat().st_mtime_ns for path in paths}


def die(writer):
    """What a kill does to a job's lock."""
    writer.lock.release()


def run_at_once(processes):
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}


# ---- stores that came from anyone


def quiet(*_):
    pass


def read_all(store):
    opened = FeatureStore(store)
    ids = list(opened.clips.index)
    for stream in opened.manifest.streams:
        for look in (opened.lengths, opened.read, opened.times):
            look(stream, ids)
    summarise(opened)


def shard_of(store):
    """The first shard, of the clips a and b."""
    return min((path.stem for path in (store / "parts").iterdir()), key=lambda name: name.rpartition("-")[2])


def change(store, edit):
    content = json.loads((store / STORE_FILE).read_text())
    del content["sha256"]
    edit(content)
    (store / STORE_FILE).write_bytes(checksummed(content))


# ---- stores with a history drawn at random, and what counts in a store

STATES = st.sampled_from([None, "missing", "present"])
RECORDS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),  # video
        st.sampled_from(["ok", "ok", "failed", "dropped"]),
        st.sampled_from([10, 10, 11]),  # size of its file
        st.sampled_from(["", "x", "y"]),  # its hash
        STATES,  # sight
        STATES,  # sound
        st.booleans(),  # whether --overwrite comes first
    ),
    max_size=4,
)
NUMBERS = itertools.count()
FACTS = {"start_s": 0.0, "end_s": 1.0, "reader": "pyav", "clips_of_video": 1, "note": ""}


def fill(directory, records, **parameters):
    """A shard a record; `sound` is of words."""
    dims = {"sight": 1, "sound": 0}
    fingerprints = {
        name: Fingerprint(extractor=name, version=1, dim=dim, parameters=parameters) for name, dim in dims.items()
    }
    declare(directory, fingerprints, None, overwrite=False)
    for video, verdict, size, digest, sight, sound, again in records:
        states = {"sight": sight, "sound": sound} if verdict == "ok" else {}
        streams = {
            name: _value(next(NUMBERS) % 2000, dims[name]) if state == "present" else None
            for name, state in states.items()
            if state
        }
        manifest = declare(directory, {"sight": fingerprints["sight"]}, None, overwrite=again)
        if again:
            clear_overwritten(directory, manifest)
        times = {
            name: np.ones(1, np.float32) if dims[name] else np.ones((1, 2))
            for name, state in states.items()
            if state == "present"
        }
        facts = {**FACTS, "verdict": verdict, "file_bytes": size, "file_sha256": digest}
        with StoreWriter(directory, manifest) as writer:
            writer.add([ClipRecord(clip_id=video, video=video, streams=streams, times=times, **facts)])


def _value(number, dim):
    return np.full((1, dim), number, np.float16) if dim else (f"number {number}",)


def content(directory):
    """All that a store knows, except the names of its shards."""
    store = FeatureStore(directory)
    streams = {}
    for stream in sorted(store.manifest.streams):
        there = list(store.rows.index[store.rows[stream] == PRESENT])
        if store.dims[stream] == 0:
            streams |= {(stream, name): said for name, said in zip(there, store.words(stream, there))}
            continue
        for name, rows, times in zip(there, store.read(stream, there), store.times(stream, there)):
            streams[stream, name] = (rows.tolist(), None if times is None else times.tolist())
    return store.rows[sorted(store.rows.columns)], streams


def same(one, other):
    """Whether two stores know the same."""
    (rows, streams), (others, other_streams) = map(content, (one, other))
    pd.testing.assert_frame_equal(rows, others)
    return streams == other_streams
