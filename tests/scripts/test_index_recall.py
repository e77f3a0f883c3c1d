"""What a recall is measured with: clips of the index itself, or held-out sentences."""

import numpy as np
import pyarrow as pa
import pytest

from index.storage.entries import Entries
from index.storage.manifest import Origin
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.layout import Layout
from scripts.index_recall import is_outdated, of_before, own_clips, sentences_of, tune

LAYOUT = Layout(("sight", "sound"), (4, 2))


def entries(count, first=0, seed=0):
    generator = np.random.default_rng(seed)
    names = [f"c{number:05d}" for number in range(first, first + count)]
    available = generator.random((count, 2)) < 0.7
    packed = generator.normal(size=(count, LAYOUT.total)).astype(np.float32)
    for columns in LAYOUT.slices:
        packed[:, columns] /= np.linalg.norm(packed[:, columns], axis=1, keepdims=True)
    table = pa.table({"clip_id": names, "video": names, "start_s": [0.0] * count, "end_s": [1.0] * count})
    return Entries(table, packed, available)


@pytest.fixture
def place(tmp_path):
    with IndexWriter.create(tmp_path / "index", LAYOUT, Origin("m", "f", "s")) as writer:
        writer.put(entries(300))
        writer.flush()
        writer.put(entries(200, first=200, seed=1))  # half of them are replaced
        writer.remove([f"c{number:05d}" for number in range(0, 200, 3)])
    return tmp_path / "index"


def test_clips_that_count_look_for_what_is_like_them(place, monkeypatch):
    video_index = VideoIndex.open(place)
    queries, source = own_clips(video_index)
    assert len(queries) == len(video_index)
    assert source == f"{len(queries)} clips of the index itself"
    assert np.isfinite(queries.packed).all()
    assert (np.isfinite(queries.logits[:, 0]).any(axis=1)).all()
    best = [hits[0] for hits in video_index.search(queries, 1)]
    np.testing.assert_allclose([hit.score for hit in best], 1, atol=1e-5)
    heard = [
        {name for name, there in zip(LAYOUT.names, row) if there} for row in np.isfinite(queries.logits[:, 0])
    ]
    assert all(set(hit.experts) & its for hit, its in zip(best, heard))
    assert len({queries.packed[row].tobytes() for row in range(len(queries))}) == len(queries)
    monkeypatch.setattr("scripts.index_recall.ENOUGH", 20)
    few, source = own_clips(video_index)
    assert (len(few), source) == (20, "20 clips of the index itself")
    assert np.array_equal(own_clips(video_index)[0].packed, few.packed)


def test_an_exact_index_is_not_tuned(place):
    assert tune(place) is None
    assert of_before(place) is None
    assert not is_outdated(VideoIndex.open(place))


def test_tuning_is_recorded_with_its_queries(place, monkeypatch, capsys):
    monkeypatch.setattr("index.scanners.kinds.SMALL", 2)
    from index.scanners.kinds import Settings

    with IndexWriter.open(place) as writer:
        writer.compact(settings=Settings("graph", 0.9))
    video_index = VideoIndex.open(place)
    assert is_outdated(video_index)
    measured = tune(place)
    assert measured.target == 0.9
    assert measured.source.endswith("clips of the index itself")
    assert measured.reached >= 0.9
    assert of_before(place) is None  # its own clips are not kept as queries
    queries = own_clips(video_index)[0].part(slice(0, 50))
    measured = tune(place, (queries, "50 sentences of q.txt"))
    opened = VideoIndex.open(place)
    assert opened.measured == measured
    assert not is_outdated(opened)
    kept, source = of_before(place)
    assert (len(kept), source) == (50, "50 sentences of q.txt")
    with IndexWriter.open(place) as writer:
        writer.put(entries(60, first=1000))
    assert is_outdated(VideoIndex.open(place))
    assert capsys.readouterr().err == ""
    tune(place, (queries.part(slice(0, 3)), "3 sentences of q.txt"))
    assert capsys.readouterr().err.startswith("warning: 3 sentences of q.txt are few to measure recall by")


def test_a_target_out_of_reach_is_said(place, monkeypatch, capsys):
    import dataclasses

    monkeypatch.setattr("index.scanners.kinds.SMALL", 2)
    from index.scanners.kinds import Settings

    with IndexWriter.open(place) as writer:
        writer.compact(settings=Settings("graph", 0.9))
    honest = VideoIndex.tune
    monkeypatch.setattr(VideoIndex, "tune", lambda *given: dataclasses.replace(honest(*given), reached=0.5))
    assert tune(place).reached == 0.5
    assert capsys.readouterr().err.startswith(
        "warning: recall@10 is 0.5000, and 0.9 was asked for; --kind certified"
    )
    assert VideoIndex.open(place).measured.reached == 0.5


def test_sentences_of_a_text_or_a_table(tmp_path):
    (tmp_path / "q.txt").write_text("\ufeff a dog \n\na cat\na dog\n", encoding="utf-8")
    assert sentences_of(tmp_path / "q.txt") == ["a dog", "a cat"]
    (tmp_path / "q.csv").write_text("video_id,caption,split\na,one,train\nb,two,val\nc,three,test\nd,two,test\n")
    assert sentences_of(tmp_path / "q.csv") == ["two", "three"]
    (tmp_path / "q.jsonl").write_text('{"video_id": "a", "caption": "one"}\n')
    assert sentences_of(tmp_path / "q.jsonl") == ["one"]
