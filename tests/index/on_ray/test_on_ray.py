"""An index whose shards are scored by Ray actors answers as one index; without a shard it says so."""

import socket
import time

import numpy as np
import pytest

import features.errors
from features.cluster import connected
from index.on_ray import Shards
from index.on_ray.actor import Shard, version_of
from index.queries import Queries
from index.request import Request
from index.searcher import Searcher
from index.storage import IndexWriter, refreshed, share_of
from index.text_side import Text
from index.video_index import VideoIndex
from mee.errors import InputError, Unavailable
from mee.layout import Layout
from tests.index.galleries import entries_of, in_memory, random_gallery, random_text
from tests.index.on_ray.ray_world import actors, in_shards, on_two_nodes

pytest.importorskip("ray")
COUNT = 240
LAYOUT = Layout(("appearance", "speech", "audio", "face"), (6, 3, 4, 2), words=("speech",))
ASKED = [
    {}, {"top": 100}, {"also": ((0.5, "3"), (-0.3, "4"))}, {"only": ("audio",)},
    {"weights": {"face": 1, "audio": 2}}, {"where": "number > 100"}, {"where": "number < 0"}, {"video": "v3.mp4"},
    {"said": "speech"}, {"offset": 30, "top": 5}, {"by_video": True, "moments": 5},
    {"by_video": True, "where": "number > 100"},
    {"fold": True}, {"then": ("5",)}, {"then": ("5", "6"), "within": 3.0, "top": 30},
    {"then": ("7",), "where": "number > 100"}, {"min_score": 0.1}, {"plain": True}, {"exact": True},
    {"sort": "name"},
    {"like": "c00003", "sentence": None}, {"like": "v4.mp4"}, {"good": ("c00001", "c00002"), "bad": ("c00009",)},
    {"closer": (("c00005", "c00006"),)}, {"sentence": None, "said": "speech", "by_video": True},
]  # fmt: skip


class Given:
    """In the place of a text side: sentences are numbers of queries."""

    readers = ()

    def __init__(self, queries):
        self.queries = queries

    def encode(self, sentences):
        return self.queries.part(np.array([int(sentence) for sentence in sentences]))


def searcher_of(video_index):
    return Searcher(video_index, Text(None, Given(Queries.of(random_text(9, 5, layout=LAYOUT)))))


def entries(count=COUNT, seed=0, first=0):
    number = np.arange(first, first + count)
    return entries_of(
        random_gallery(count, seed, first=first, doubled=0.1, layout=LAYOUT), LAYOUT, number=number,
        video=[f"v{n % 20}.mp4" for n in number], start_s=number // 20 * 1.0, end_s=number // 20 + 1.0,
    )  # fmt: skip


def requests(shown=("0", "1")):
    return [Request(**({"sentence": sentence} | its)) for its in ASKED for sentence in shown]


@pytest.fixture(scope="module")
def cluster():
    with on_two_nodes():
        yield


@pytest.fixture
def held(cluster, place):
    """A searcher over the shards of an index, scored by actors."""
    shards = Shards(60.0)
    searcher = searcher_of(VideoIndex.open(in_shards(place, entries(), LAYOUT)))
    shards.hold(searcher.video_index)
    yield searcher
    shards.close()


@pytest.mark.slow
def test_requests_of_every_kind_are_answered_as_by_one_index(held):
    asked, whole = requests(), searcher_of(in_memory(entries(), LAYOUT))
    here = searcher_of(VideoIndex(held.video_index.snapshot))
    found = held.search(asked)
    assert found == here.search(asked)
    assert not any(held.missing)
    for request, answer, wanted in zip(asked, found, whole.search(asked)):
        assert answer == wanted or request.good or request.closer  # these add up other clips, in another order
    one = requests("2")
    assert [held.search([its])[0] for its in one] == here.search(one)
    clip = found[2][-1].clip_id
    assert held.explain(asked[0], clip) == whole.explain(asked[0], clip)
    many = held.text.encode(["0", "1", "2"]).part(np.arange(40) % 3)  # more than are scanned
    ranked, others = (its.video_index.rank(many, 7) for its in (held, whole))
    assert (ranked.ids, ranked.scores.tolist()) == (others.ids, others.scores.tolist())


@pytest.mark.slow
def test_what_is_written_meanwhile_is_found_and_the_version_before_can_still_be_asked(held, place):
    before, own = held.search(requests()), held.video_index.snapshot
    for number in range(3):
        with IndexWriter.open(place / f"shard-{number}") as writer:
            writer.put(more := entries(20, 7, first=1000 + 100 * number))
    while not held.refresh():
        assert held.search(requests()) == before
    names = {hit.clip_id for hit in held.search([Request(sentence="0", also=((1.0, "1"),), top=1000)])[0]}
    assert names & {*more.table["clip_id"].to_pylist()}
    held.video_index.snapshot = own
    assert held.search(requests()) == before
    assert not any(held.missing)


@pytest.mark.slow
def test_a_killed_actor_is_missing_and_named_until_it_is_back(held):
    asked = [*requests("0"), Request(sentence="0", top=COUNT)]
    whole, partial, end = held.search(asked), 0, time.monotonic() + 60
    actors()[0].kill()
    while time.monotonic() < end and not (partial and not any(held.missing)):
        found = held.search(asked)
        assert all(missing or answer == wanted for answer, missing, wanted in zip(found, held.missing, whole))
        gone = {int(name.removeprefix("shard-")) for name in held.missing[-1]}
        left = [hit for hit in whole[-1] if share_of(hit.video, 3) not in gone]
        assert [(hit.clip_id, hit.score) for hit in found[-1]] == [(hit.clip_id, hit.score) for hit in left]
        assert not any(its for its, request in zip(held.missing, asked) if not request.asks)
        partial += any(held.missing)
        time.sleep(0.1)
    assert partial
    assert held.search(asked) == whole
    for process in actors():
        process.kill()
    with pytest.raises(Unavailable, match="'shard-0', 'shard-1', 'shard-2'"):
        held.search(asked)


@pytest.mark.slow
def test_a_damaged_shard_is_refused_by_its_name(cluster, place):
    index = VideoIndex.open(in_shards(place, entries(), LAYOUT))
    (place / "shard-1" / "index.json").write_text("{}")
    with pytest.raises(InputError, match="shard-1"):
        Shards().hold(index)


def test_an_actor_answers_for_the_version_it_is_asked_for(place, says, tmp_path):
    snapshot = VideoIndex.open(in_shards(place, entries(), LAYOUT)).snapshot.shards[0]
    shard, queries = Shard(str(place / "shard-0")), Queries.of(random_text(2, 5, layout=LAYOUT))
    first = version_of(snapshot)
    found = shard.rank(first, None, queries, 5, {})
    with IndexWriter.open(place / "shard-0") as writer:
        writer.put(entries(20, 7, first=1000))
    later = version_of(refreshed(snapshot))
    with pytest.raises(Unavailable, match="shard-0"):
        Shard(str(place / "shard-0")).open(first)
    shard.open(later)
    for its, wanted in zip(shard.rank(first, None, queries, 5, {}), found):
        np.testing.assert_array_equal(its, wanted)
    with pytest.raises(InputError) as caught:
        Shard(str(place / "shard-7")).open(first)
    says(str(caught.value).replace(socket.gethostname(), "HOST"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "here"])
def test_where_no_cluster_answers_it_says_so(address):
    with pytest.raises(features.errors.InputError, match=address), connected(address):
        pass
