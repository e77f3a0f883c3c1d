"""The full store and the first look as one source: whose clips count, and what they have."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.base import LOOKS, Fingerprint
from features.store.feature_store import FeatureStore
from features.store.first_look import SoFar
from features.store.manifest import declare
from features.store.upkeep import drop_videos
from features.store.writer import StoreWriter
from index.sync import facts_of
from tests.features.small_stores import RECORDS, fill

SIGHT = Fingerprint(extractor="sight", version=1, dim=3)
SOUND = Fingerprint(extractor="sound", version=1, dim=2)
SAID = Fingerprint(extractor="said", version=1, dim=0)
FULL = {"sight": SIGHT, "sound": SOUND, "said": SAID}
FIRST = {"sight": replace(SIGHT, parameters=LOOKS)}


@pytest.fixture
def stores(tmp_path, store_job):
    """stores(videos): the source of what `full` and `first`, called with records, have written."""
    places = {"full": (tmp_path / "full", FULL), "first": (tmp_path / "first", FIRST)}
    for directory, streams in places.values():
        declare(directory, streams, None, overwrite=False)

    def opened(name):
        return FeatureStore(places[name][0], so_far=True)

    def write(name, *records, times=None):
        with StoreWriter(places[name][0], opened(name).manifest) as writer:
            for clip_id, columns in records:
                writer.add([store_job.record(clip_id, times=times or {}, **columns)])

    def source(videos, *, first=True):
        return SoFar(opened("full"), opened("first") if first else None, videos)

    source.write, source.opened, source.first = write, opened, places["first"][0]
    return source


def rows(number, width=3, length=1):
    return np.full((length, width), number, np.float16)


def test_the_first_look_is_replaced_file_by_file(stores):
    stores.write("first", *((name, {"sight": rows(n)}) for n, name in enumerate("abc")), ("d", {"sight": None}))
    before, streams = stores("abcd"), ["sight", "sound", "said"]
    assert before.clips[streams].to_numpy().tolist() == [["first look", "missing", "missing"]] * 3 + [
        ["missing"] * 3
    ]
    assert [float(sight[0, 0]) for sight in before.read("sight", ["c", "a"])] == [2.0, 0.0]
    assert before.read("sound", ["a"]) == before.words("said", ["a"]) == [None]
    assert before.unfinished(streams) == list("abcd")
    stores.write("full", ("b", {"sight": rows(7, length=2), "said": ("hello",)}), times={"said": np.ones((1, 2))})
    now = stores("abd")
    assert now.clips["sight"].to_dict() == {"a": "first look", "b": "present", "d": "missing"}
    found = now.read("sight", ["d", "b", "a"])
    assert [None if sight is None else (len(sight), float(sight[0, 0]), sight.dtype) for sight in found] == [
        None,
        (2, 7.0, np.float16),
        (1, 0.0, np.float16),
    ]
    assert now.words("said", ["a", "b"]) == [None, [(1.0, 1.0, "hello")]]
    assert now.unfinished(["sight"]) == ["a", "d"]
    assert now.unfinished(streams) == ["a", "b", "d"]
    versions = [facts_of(each, streams)["version"] for each in (before, now, stores.opened("full"))]
    assert versions[0]["b"] != versions[1]["b"] == versions[2]["b"]
    assert versions[0]["a"] == versions[1]["a"]
    for method, stream in (("read", "taste"), ("read", "said"), ("words", "sight")):
        with pytest.raises(KeyError):
            getattr(now, method)(stream, [])


def test_a_file_that_changed_keeps_its_old_clips_until_there_are_new_ones(stores):
    stores.write("full", ("a", {"sight": rows(1), "sound": rows(2, 2)}))
    stores.write("first", ("a", {"sight": rows(3), "file_bytes": 99, "file_sha256": "new"}))
    (old,) = stores("a").read("sight", ["a"])
    assert float(old[0, 0]) == 1
    stores.write("full", ("a", {"sight": rows(4), "file_bytes": 99, "file_sha256": "new"}))
    now = stores("a")
    assert (float(now.read("sight", ["a"])[0][0, 0]), now.read("sound", ["a"])) == (4, [None])


def test_failures_and_videos_that_are_gone(stores):
    failed = {"verdict": "failed", "file_sha256": ""}
    stores.write("full", ("a", {"sight": rows(1)}), ("b", {**failed, "note": "slow"}), ("e", failed))
    stores.write("first", ("b", {"sight": rows(2)}), ("c", {**failed, "note": "no video"}))
    now = stores("abcd")
    assert (list(now.clips.index), now.failed) == (["a", "b"], {"c": "no video"})
    assert stores("abe", first=False).failed == {"b": "slow", "e": ""}
    drop_videos(stores.opened("full"), ["a", "nowhere"])
    drop_videos(stores.opened("full"), ["nowhere"])
    assert list(stores("abcd").clips.index) == ["b"]
    assert len(list(stores.first.parent.glob("full/parts/*"))) == 4 - 2


def test_without_anything_and_with_vectors_of_another_extractor(stores, says):
    for first in (True, False):
        nothing = stores("ab", first=first)
        assert (len(nothing.clips), nothing.failed, nothing.unfinished(["sight"])) == (0, {}, [])
        assert nothing.read("sight", []) == []
        assert len(facts_of(nothing, ["sight", "said"])) == 0
        assert (nothing.dims, list(nothing.fingerprints)) == ({"sight": 3, "sound": 2, "said": 0}, list(FULL))
    declare(stores.first, {"sight": replace(SIGHT, version=2, parameters=LOOKS)}, None, overwrite=True)
    with pytest.raises(InputError) as raised:
        stores("ab")
    says(str(raised.value))


def facts(clips):
    return clips.astype(object).fillna("-").to_dict("index")


@given(full=RECORDS, first=RECORDS, videos=st.sets(st.sampled_from("abcd")))
def test_whose_clips_count(full, first, videos):
    with TemporaryDirectory() as place:
        for name, records, parameters in (("full", full, {}), ("first", first, LOOKS)):
            fill(Path(place, name), records, **parameters)
        store, looks = (FeatureStore(Path(place, name), so_far=True) for name in ("full", "first"))
        source = SoFar(store, looks, videos)
        own = store.clips[store.clips["video"].isin(list(videos))]
        assert set(source.clips.index) == set(own.index) | (videos & set(looks.clips.index))
        assert source.failed.keys() == (videos & {*store.failed, *looks.failed}) - set(source.clips.index)
        assert facts(source.clips.loc[list(own.index)]) == facts(own)
        for stream, method in (("sight", "read"), ("sound", "words")):
            for clip_id in source.clips.index:
                origin, known = (store, "present") if clip_id in own.index else (looks, "first look")
                (found,), (there,) = (getattr(each, method)(stream, [clip_id]) for each in (source, origin))
                assert source.clips.loc[clip_id, stream] == ("missing" if there is None else known)
                np.testing.assert_array_equal(found, there)
        if len(own) == len(store.clips) == len(source.clips):
            pd.testing.assert_frame_equal(source.clips, store.clips)
