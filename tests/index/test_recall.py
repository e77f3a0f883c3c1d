"""Recall: what is measured, at how many candidates, with which queries, and what an index records of it."""

from types import SimpleNamespace

import numpy as np
import pytest

from index.queries import Queries
from index.recall import GRID, held_out, measure, own_clips, recall, record_recall
from index.scanners.kinds import AT, RERANK, SMALL, Settings
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


def ranked(*ids, scores=None):
    width = max(map(len, ids))
    return SimpleNamespace(ids=ids, scores=np.array(scores or [np.arange(width, 0, -1)] * len(ids), np.float32))


@pytest.mark.parametrize(
    ("found", "exact", "expected"),
    [
        (ranked("abc"), ranked("abc"), 1),
        (ranked("abx", scores=[[3, 2, 0]]), ranked("abc"), 2 / 3),
        (ranked("abx", scores=[[3, 2, 1]]), ranked("abc", scores=[[3, 2, 1]]), 1),  # as good as the last
        (ranked("a", "xy"), ranked("a", ""), 1),  # a query that nothing can be found for does not count
        (ranked("ab", "xy"), ranked("ab", "zw", scores=[[2, 1], [9, 8]]), 0.5),
        (ranked(""), ranked(""), 1),
        (ranked("abcdefghijklmnopqrst"), ranked("abcdefghijXYZ"), 1),  # of the first ten only
    ],
    ids=range(7),
)
def test_recall_is_the_share_of_the_exact_results(found, exact, expected):
    assert AT == 10
    assert recall(found, exact) == pytest.approx(expected)


def test_clips_of_the_index_are_queries(place, monkeypatch):
    video_index = VideoIndex.open(place)
    queries, source = own_clips(video_index)
    assert len(queries) == len(video_index)
    assert source == f"{len(queries)} clips of the index itself"
    assert np.isfinite(queries.packed).all()
    np.testing.assert_allclose(video_index.rank(queries, 1).scores, 1, atol=1e-5)
    assert len({queries.packed[row].tobytes() for row in range(len(queries))}) == len(queries)
    monkeypatch.setattr("index.recall.ENOUGH", 20)
    few, source = own_clips(video_index)
    assert (len(few), source) == (20, "20 clips of the index itself")
    assert np.array_equal(own_clips(video_index)[0].packed, few.packed)


def test_it_is_recorded_and_searched_with(place, monkeypatch):
    assert record_recall(place) is None  # an exact index is not measured
    assert VideoIndex.open(place).snapshot.recall is None
    monkeypatch.setitem(SMALL, "fastscan", 2)
    with IndexWriter.open(place) as writer:
        writer.compact(settings=Settings("fastscan", 0.9))
    measured = record_recall(place)
    opened = VideoIndex.open(place)
    assert opened.snapshot.recall == measured
    assert opened.snapshot.recall.rerank == measured.rerank
    assert (measured.target, measured.at, measured.clips) == (0.9, 10, len(opened))
    assert measured.reached >= 0.9
    assert measured.rerank in GRID
    measured = record_recall(place, (own_clips(opened)[0].part(slice(0, 50)), "50 sentences of q.txt"))
    assert (measured.source, measured.queries) == ("50 sentences of q.txt", 25)
    assert record_recall(place) == measured  # clips of the index do not replace held-out sentences


class Engine:
    """Query i finds everything from so many candidates on, and nothing with fewer."""

    def __init__(self, needs):
        self.needs, self.seen = needs, []

    def __len__(self):
        return 10_000

    def rank(self, queries, k, *, exact=False, rerank=0):
        numbers = queries.packed[:, 0, 0].astype(int)
        if not exact:
            self.seen.append((set(numbers.tolist()), rerank))
        found = [exact or rerank >= self.needs(number) for number in numbers]
        return ranked(*("a" if there else "b" for there in found), scores=[[float(there)] for there in found])


def measured(needs, count, target):
    engine = Engine(needs)
    packed = np.arange(count, dtype=np.float32).reshape(-1, 1, 1)
    queries = Queries(packed, *np.zeros((2, count, 1, 1)), np.ones((count, 1)))
    return measure(engine, queries, target, "made up"), engine.seen


def test_half_of_the_queries_choose_and_the_others_measure():
    found, seen = measured(lambda number: 150 if number % 2 else 20, 400, 0.99)
    assert (found.rerank, found.reached, found.queries) == (200, 1.0, 200)
    chosen, judged = (set.union(*(some for some, _ in part)) for part in (seen[:-1], seen[-1:]))
    assert chosen.isdisjoint(judged)
    assert chosen | judged == set(range(400))
    assert [rerank for some, rerank in seen if some == chosen] == [20, 50, 100, 200]
    chosen = measured(lambda number: 0, 100, 0.9)[1][0][0]
    found, _ = measured(lambda number: 0 if number in chosen else 60, 100, 0.9)  # the others miss the target
    assert (found.rerank, found.reached) == (100, 1.0)
    found, _ = measured(lambda number: 10**9 if number % 4 == 0 else 20, 400, 0.99)  # out of reach
    assert found.rerank == GRID[-1]
    assert 0.6 < found.reached < 0.9
    found, _ = measured(lambda number: 60, 40, None)  # no target
    assert (found.target, found.rerank, found.reached, found.queries) == (None, RERANK, 1.0, 40)
    assert measured(lambda number: 60, 1, 1.0)[0].reached == 1.0
    with pytest.raises(ValueError, match="give one at least"):
        measured(lambda number: 60, 0, 0.9)


def test_held_out_sentences_are_those_that_were_not_trained_on(tmp_path, model):
    (tmp_path / "q.csv").write_text("video_id,caption,split\na,one,train\nb,two,val\nc,three,test\nd,two,test\n")
    queries, source = held_out(tmp_path / "q.csv", model)
    assert (len(queries), source) == (2, "2 sentences of q.csv")
