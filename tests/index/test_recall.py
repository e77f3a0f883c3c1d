"""Recall: what is measured, at how many candidates, with which queries, and what an index records of it."""

import numpy as np
import pytest

from index.queries import Queries
from index.recall import GRID, held_out, measure, own_clips, recall, record_recall
from index.scanners.kinds import AT, RERANK, Settings
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from tests.index.made_clips import LAYOUT, ORIGIN, made_entries


@pytest.fixture
def place(tmp_path):
    names = [f"c{number:05d}" for number in range(400)]
    with IndexWriter.create(tmp_path / "index", LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(names[:300]))
        writer.put(made_entries(names[200:], seed=1))  # half of them are replaced
        writer.remove(names[:200:3])
    return tmp_path / "index"


def answers(*ids, scores=None):
    width = max(map(len, ids))
    return np.array(scores or [np.arange(width, 0, -1)] * len(ids), np.float32), ids


def test_the_share_of_the_exact_answers():
    assert recall(answers("abc"), answers("abc")) == 1
    assert recall(answers("abx", scores=[[3, 2, 0]]), answers("abc")) == pytest.approx(2 / 3)
    as_good = [[3, 2, 1]]  # as the last
    assert recall(answers("abx", scores=as_good), answers("abc", scores=as_good)) == 1
    assert recall(answers("a", "xy"), answers("a", "")) == 1  # nothing to find is no query
    assert recall(answers("ab", "xy"), answers("ab", "zw", scores=[[2, 1], [9, 8]])) == 0.5
    assert recall(answers(""), answers("")) == 1
    many = "".join(map(chr, range(97, 117)))
    assert recall(answers(many), answers(many[:AT] + "XYZ")) == 1


def test_clips_that_count_look_for_what_is_like_them(place, monkeypatch):
    video_index = VideoIndex.open(place)
    queries, source = own_clips(video_index)
    assert len(queries) == len(video_index)
    assert source == f"{len(queries)} clips of the index itself"
    assert np.isfinite(queries.packed).all()
    best = [hits[0] for hits in video_index.search(queries, 1)]
    np.testing.assert_allclose([hit.score for hit in best], 1, atol=1e-5)
    assert len({queries.packed[row].tobytes() for row in range(len(queries))}) == len(queries)
    monkeypatch.setattr("index.recall.ENOUGH", 20)
    few, source = own_clips(video_index)
    assert (len(few), source) == (20, "20 clips of the index itself")
    assert np.array_equal(own_clips(video_index)[0].packed, few.packed)


def test_it_is_recorded_and_searched_with(place, monkeypatch):
    assert record_recall(place) is None  # an exact index is not measured
    assert VideoIndex.open(place).snapshot.recall is None
    monkeypatch.setattr("index.scanners.kinds.SMALL", 2)
    with IndexWriter.open(place) as writer:
        writer.compact(settings=Settings("fastscan", 0.9))
    measured = record_recall(place)
    opened = VideoIndex.open(place)
    assert opened.snapshot.recall == measured
    assert opened.rerank == measured.rerank
    assert (measured.target, measured.at, measured.clips) == (0.9, 10, len(opened))
    assert measured.reached >= 0.9
    assert measured.rerank in GRID
    queries = own_clips(opened)[0].part(slice(0, 50))
    measured = record_recall(place, (queries, "50 sentences of q.txt"))
    assert (measured.source, measured.queries) == ("50 sentences of q.txt", 25)
    assert record_recall(place) == measured  # what held-out sentences said is not replaced by less


class Engine:
    """Query i finds everything from so many candidates on, and before that nothing."""

    def __init__(self, needs):
        self.needs, self.seen = needs, []

    def __len__(self):
        return 10_000

    def rank(self, queries, k, *, exact=False, rerank=0):
        numbers = queries.packed[:, 0, 0].astype(int)
        if not exact:
            self.seen.append((set(numbers.tolist()), rerank))
        found = [["a"] if exact or rerank >= self.needs(number) else ["b"] for number in numbers]
        return np.array([[1.0] if names == ["a"] else [0.0] for names in found], np.float32), found


def numbered(count):
    packed = np.arange(count, dtype=np.float32).reshape(-1, 1, 1)
    return Queries(packed, np.zeros((count, 1, 1)), np.ones((count, 1)))


def test_half_of_the_queries_choose_and_the_others_measure():
    engine = Engine(lambda number: 150 if number % 2 else 20)
    measured = measure(engine, numbered(400), 0.99, "made up")
    assert (measured.rerank, measured.reached, measured.queries) == (200, 1.0, 200)
    chosen, judged = (set.union(*(some for some, _ in part)) for part in (engine.seen[:-1], engine.seen[-1:]))
    assert chosen.isdisjoint(judged)
    assert chosen | judged == set(range(400))
    assert [rerank for some, rerank in engine.seen if some == chosen] == [20, 50, 100, 200]


def test_a_target_that_the_others_miss_takes_more_candidates():
    easy = Engine(lambda number: 0)
    measure(easy, numbered(100), 0.9, "made up")
    chosen = easy.seen[0][0]
    measured = measure(Engine(lambda number: 0 if number in chosen else 60), numbered(100), 0.9, "made up")
    assert (measured.rerank, measured.reached) == (100, 1.0)


def test_a_target_out_of_reach_and_none():
    out_of_reach = Engine(lambda number: 10**9 if number % 4 == 0 else 20)
    measured = measure(out_of_reach, numbered(400), 0.99, "made up")
    assert measured.rerank == GRID[-1]
    assert 0.6 < measured.reached < 0.9
    fixed = measure(Engine(lambda number: 60), numbered(40), None, "made up")
    assert (fixed.target, fixed.rerank, fixed.reached, fixed.queries) == (None, RERANK, 1.0, 40)
    assert measure(Engine(lambda number: 60), numbered(1), 1.0, "made up").reached == 1.0
    with pytest.raises(ValueError, match="give one at least"):
        measure(Engine(lambda number: 60), numbered(0), 0.9, "made up")


def test_held_out_sentences_are_those_that_nothing_learnt_from(tmp_path, model):
    (tmp_path / "q.csv").write_text("video_id,caption,split\na,one,train\nb,two,val\nc,three,test\nd,two,test\n")
    queries, source = held_out(tmp_path / "q.csv", model)
    assert (len(queries), source) == (2, "2 sentences of q.csv")
