"""What an index is told of a clip, and when its version changes."""

import json
import shutil

import pandas as pd
import pytest

from features.store.feature_store import FeatureStore
from scripts.import_features import main as import_features
from scripts.index_facts import FILE, facts_of
from scripts.precompute import main as precompute
from scripts.store import main as store_command

MODEL = ("appearance", "motion", "audio", "face")


@pytest.fixture
def facts(own):
    return lambda modalities=MODEL: facts_of(FeatureStore(own.store), modalities)


def test_the_facts_of_files(facts, own):
    table = facts()
    store = FeatureStore(own.store)
    assert list(table.columns) == ["video", "start_s", "end_s", *FILE, "version"]
    assert table.index.equals(store.clips.index)
    assert {name: str(table[name].dtype) for name in FILE} == FILE
    assert table["width"].tolist() == store.clips["width"].tolist()
    assert table["audio_codec"].notna().tolist() == store.clips["audio_codec"].notna().tolist()
    assert table["version"].map(len).unique().tolist() == [16]
    assert table["version"].is_unique


def test_a_version_is_the_same_again_and_after_a_merge(facts, own, tmp_path):
    assert store_command(["merge", str(tmp_path / "all"), str(own.store)]) == 0
    merged = facts_of(FeatureStore(tmp_path / "all"), MODEL)
    pd.testing.assert_frame_equal(merged, facts())


def test_a_version_changes_with_the_file(facts, own, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    before = facts()["version"]
    shutil.copy(own.videos / "clip1.mp4", videos / "clip0.mp4")
    assert precompute([str(videos), str(tmp_path / "later"), "--workers", "1"]) == 0
    assert store_command(["merge", str(own.store), str(tmp_path / "later")]) == 0
    after = facts()["version"]
    assert after.index[before != after].tolist() == ["clip0.mp4"]


def test_a_version_changes_with_its_streams_and_with_those_of_the_model_only(facts, own):
    before, fewer = facts(), facts(("appearance", "motion"))
    content = json.loads((own.store / "store.json").read_text())
    content["streams"]["audio"]["overwritten"] = ["before"]  # as if all of it had been extracted again
    (own.store / "store.json").write_text(json.dumps(content))
    assert (facts()["version"] != before["version"]).all()
    assert facts(("appearance", "motion")).equals(fewer)
    assert (fewer["version"] != before["version"]).all()


def test_what_an_import_cannot_know_is_nothing(tmp_path):
    import numpy as np

    np.savez(tmp_path / "a.npz", one=np.ones((2, 3), np.float32), two=np.ones((1, 3), np.float32))
    assert import_features([str(tmp_path / "store"), f"appearance={tmp_path / 'a.npz'}"]) == 0
    table = facts_of(FeatureStore(tmp_path / "store"), ["appearance"])
    assert table[list(FILE)].isna().all(axis=None)
    assert table["version"].is_unique
