"""Why a clip is where it is: a request's weights, a clip as its hit whatever its rank, what is known of a clip."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from index.queries import Queries
from index.request import Request
from index.searcher import Searcher
from index.storage.writer import IndexWriter
from index.text_side import Text
from index.video_index import Moment, VideoIndex
from mee.errors import InputError
from mee.layout import Layout
from tests.index.galleries import RULES, in_memory, random_gallery, random_text
from tests.index.made_clips import ORIGIN, made_entries

NAMES = ("appearance", "motion", "speech", "text")
SPOKEN = tuple(Layout(NAMES, (6, 3, 4, 2), each.missing, ("speech", "text")) for each in RULES)
EVERY = 1000


class Encoder:
    """In the place of a text side: a sentence's vectors follow from its letters."""

    readers = ()

    def __init__(self, layout):
        self.layout, self.asked = layout, []

    def encode(self, sentences):
        self.asked += sentences
        texts = [random_text(1, zlib.crc32(sentence.encode()), layout=self.layout) for sentence in sentences]
        return Queries.stacked([Queries.of(text) for text in texts])


def searcher_of(video_index):
    return Searcher(video_index, Text(None, Encoder(video_index.layout)))


@pytest.fixture(scope="module")
def searchers(make_index):
    """Of both rules for missing streams, without words and with them, one with offsets."""
    made = []
    for layout in (*RULES, *SPOKEN):
        gallery = random_gallery(60, 3, layout=layout, doubled=0.2)
        offsets = {"method": "nnn"} if layout is RULES[1] else None
        columns = {"number": range(60), **({"offset": np.linspace(-1, 1, 60)} if offsets else {})}
        columns["end_s"] = [n + 5.0 + n % 3 for n in range(60)]
        columns["file_modified"] = [None if n // 4 == 3 else f"2024-0{1 + n // 4 % 5}-01" for n in range(60)]
        columns["file_seconds"] = [None if n // 4 == 7 else n // 4 * 7 % 5 + 30.0 for n in range(60)]
        made.append(searcher_of(make_index(gallery, layout=layout, offsets=offsets, **columns)))
    return made


def listed(searcher, request):
    return searcher.search([request])[0]


REQUESTS = (
    {}, {"where": "number < 30"}, {"video": "v3.mp4"}, {"also": ((-0.5, "a cat"), (2.0, "rain"))}, {"plain": True},
    {"only": ("motion",)}, {"weights": {"motion": 2.0, "appearance": 1.0}}, {"like": "c00007"}, {"min_score": 0.2},
    {"sentence": None, "like": "c00009", "only": ("appearance", "motion")}, {"exact": True, "top": 3},
)  # fmt: skip


@pytest.mark.parametrize("fields", REQUESTS, ids=str)
def test_a_clip_is_explained_as_in_the_list(searchers, fields):
    for searcher in searchers:
        request = Request(**{"sentence": "a dog", "top": EVERY, **fields})
        hits = listed(searcher, request)
        assert hits
        for hit in [*hits[:2], hits[-1]]:
            assert searcher.explain(request, hit.clip_id) == hit
            assert searcher.explain(Request(**{"sentence": "a dog", **fields, "top": 1}), hit.clip_id) == hit


def test_requests_that_are_ranked_together_are_explained_as_in_their_lists(searchers):
    for searcher in searchers:
        requests = [Request(sentence=f"sentence {n}", also=((1.0, "x"),) * (n % 3), top=9) for n in range(20)]
        for request, hits in zip(requests, searcher.search(requests)):
            assert [searcher.explain(request, hit.clip_id) for hit in hits[::4]] == hits[::4]


@pytest.mark.parametrize("by_video", [False, True])
def test_a_clip_that_filters_leave_out_has_the_rank_that_it_would_have(searchers, by_video):
    for searcher in searchers:
        every = listed(searcher, Request(sentence="a dog", top=EVERY))
        request = Request(sentence="a dog", where="number >= 40", top=3, by_video=by_video)
        allowed = {hit.clip_id for hit in every if int(hit.clip_id[1:]) >= 40}
        for place, hit in enumerate(every[::5]):
            explained = searcher.explain(request, hit.clip_id)
            better = sum(other.clip_id in allowed for other in every[: 5 * place])
            assert explained.rank == better + 1
            assert (explained.score, explained.experts, explained.words) == (hit.score, hit.experts, hit.words)


def test_words_that_are_asked_for_are_told_where_a_clip_has_them(searchers):
    for searcher in searchers[len(RULES) :]:
        every = listed(searcher, Request(sentence="a dog", top=EVERY))
        asked = Request(sentence="a dog", said="1 of", top=EVERY)
        hits = {hit.clip_id: hit for hit in listed(searcher, asked)}
        assert 0 < len(hits) < len(every)
        for hit in every:
            words = searcher.explain(asked, hit.clip_id).words
            assert words == (hits[hit.clip_id].words if hit.clip_id in hits else hit.words)
        lists = Request(said="1 of", top=EVERY)
        clips = listed(searcher, lists)
        assert [searcher.explain(lists, clip.clip_id) for clip in clips] == clips
        other = next(hit for hit in every if hit.clip_id not in hits)
        better = sum((clip.video, clip.start_s) < (other.video, other.start_s) for clip in clips)
        assert searcher.explain(lists, other.clip_id) == replace(
            other, rank=better + 1, score=0, experts={}, words={}
        )


ORDERED = (
    {}, {"by_video": True, "moments": 2}, {"min_score": 0.0},
    {"by_video": True, "min_score": 0.0, "where": "number > 9"},
    {"sentence": None, "said": "1 of"}, {"sentence": None, "said": "1 of", "by_video": True},
)  # fmt: skip


def in_order(found, sort, index):
    """By the facts of each clip, or of the file of a video."""

    def key(one):
        first = one.hits[0]
        columns, file = index.facts(first.clip_id)["columns"], one is not first
        value = {
            "date": columns["file_modified"] and -int(columns["file_modified"].replace("-", "")),
            "length": columns["file_seconds"] if file else first.end_s - first.start_s,
        }.get(sort, 0)
        return value is None, value or 0, first.video, first.start_s, first.clip_id

    return sorted(found, key=key)


@pytest.mark.parametrize("fields", ORDERED, ids=str)
@pytest.mark.parametrize("sort", ["score", "date", "length", "name"])
def test_what_is_passed_over_and_how_the_rest_is_sorted(searchers, fields, sort):
    for searcher in searchers[len(RULES) :]:
        request = Request(**{"sentence": "a dog", "sort": sort, **fields})
        every = listed(searcher, replace(request, top=EVERY, sort="score"))
        assert [one.rank for one in every] == list(range(1, len(every) + 1))
        if not request.asks and sort != "score":
            listing = in_order(every, sort, searcher.video_index)
            every = [replace(one, rank=rank) for rank, one in enumerate(listing, 1)]
        for offset, top in ((0, 4), (3, 5), (len(every) - 1, 9), (len(every), 2)):
            part = every[offset : offset + top]
            expected = in_order(part, sort, searcher.video_index) if sort != "score" else part
            asked = replace(request, offset=offset, top=top)
            assert listed(searcher, asked) == expected
            assert request.by_video or all(searcher.explain(asked, hit.clip_id) == hit for hit in expected)


def test_an_index_that_does_not_know_its_files_is_not_sorted_by_them(make_index, says):
    searcher, refused = searcher_of(make_index(random_gallery(9))), []
    assert len(listed(searcher, Request(sentence="a dog", sort="length"))) == 9
    for fields in ({"sort": "date"}, {"sort": "length", "by_video": True}, {"sort": "size"}):
        for refuse in (lambda one: searcher.search([one]), searcher.check):
            with pytest.raises(InputError) as caught:
                refuse(Request(sentence="a dog", **fields))
        refused.append(str(caught.value))
    says("\n".join(refused))
    empty = searcher_of(make_index(random_gallery(0)))
    assert listed(empty, Request(sentence="a dog", sort="date", offset=3)) == []


@pytest.mark.parametrize("kind", ["fastscan", "certified"])
def test_other_kinds_of_index(make_index, tmp_path, kind):
    searcher = searcher_of(make_index(random_gallery(300, 5), tmp_path / "ix", kind))
    request = Request(sentence="a dog", top=20)
    hits = listed(searcher, request)
    assert [searcher.explain(request, hit.clip_id) for hit in hits] == hits
    last = listed(searcher, replace(request, top=EVERY, exact=True))[-1]
    assert searcher.explain(request, last.clip_id) == last


def test_weights_are_the_shares_of_a_clip_with_every_stream(searchers):
    for searcher in searchers:
        clip = next(p for p in searcher.video_index.snapshot.partitions if all(p.pattern)).ids(np.array([0]))[0]
        for fields in REQUESTS:
            request = Request(**{"sentence": "a dog", **fields})
            shares = searcher.explain(request, clip).experts
            assert searcher.weights(request) == {name: shares[name].weight for name in searcher.modalities}
        assert sum(searcher.weights(Request(sentence="a dog")).values()) == pytest.approx(1)
        alone = searcher.weights(Request(sentence="a dog", only=("motion",)))
        assert alone == {name: float(name == "motion") for name in searcher.modalities}
    assert searcher.weights(Request(said="a dog")) == {}


def test_what_was_searched_is_not_encoded_again_for_its_weights(make_index, tmp_path):
    searcher = searcher_of(make_index(random_gallery(9), tmp_path / "ix"))
    encoder = searcher.text._exported
    request = Request(sentence="a dog", also=((1.0, "rain"),))
    listed(searcher, request)
    assert searcher.weights(replace(request, only=("audio",))).keys() == set(searcher.modalities)
    searcher.explain(request, listed(searcher, request)[0].clip_id)
    assert encoder.asked == ["a dog", "rain"] * 2
    with IndexWriter.open(tmp_path / "ix") as writer:
        writer.remove(["c00003"])
    searcher.refresh()
    searcher.weights(request)
    assert encoder.asked == ["a dog", "rain"] * 3
    searcher.search([Request(sentence=f"{number}") for number in range(300)])
    assert len(searcher.meaning._held[1]) <= 256


def test_what_cannot_be_explained_is_refused(make_index, says):
    entries = made_entries([f"c{number}" for number in range(20)], layout=RULES[0], offset=[None] * 20)
    index = in_memory(entries, RULES[0])
    searcher = searcher_of(index)
    streams = {moment.clip_id: moment.streams for moment in index.moments([f"c{n}" for n in range(20)])}
    empty = next(name for name, its in streams.items() if not its)
    deaf = next(name for name, its in streams.items() if its and "audio" not in its)
    refused = []
    for fields, clip in (
        ({}, empty),
        ({"only": ("audio",)}, deaf),
        ({}, "c99"),
        ({"where": "nothing == 3"}, deaf),
    ):
        with pytest.raises(InputError) as caught:
            searcher.explain(Request(**{"sentence": "a dog", **fields}), clip)
        refused.append(str(caught.value))
    says("\n".join(refused))


def test_the_facts_of_a_clip_and_the_clips_of_a_video(tmp_path):
    names = [f"{letter}{number}.mp4" for letter in "ab" for number in range(6)]
    layout = SPOKEN[0]
    more = {
        "fps": [25, 0, 29.97, -1, 1e9, None] * 2,
        "rating": [np.inf, 0.5, None, 1, 2, 3] * 2,
        "Taken At": ["x"] * 12,
    }
    with IndexWriter.create(tmp_path / "ix", layout, ORIGIN) as writer:
        writer.put(made_entries(names, layout=layout, video=["v/long.mp4"] * 6 + names[6:], **more))
        writer.put(made_entries(names[2:4], 9, layout=layout, video=["v/long.mp4"] * 2, fps=[24, 1000.5]))
        writer.remove(["a1.mp4", "b5.mp4"])
    index = VideoIndex.open(tmp_path / "ix")
    clips = index.clips_of("v/long.mp4")
    assert [clip.clip_id for clip in clips] == ["a0.mp4", "a4.mp4", "a5.mp4", "a2.mp4", "a3.mp4"]
    assert clips == index.clips_of("long.mp4") == index.moments([clip.clip_id for clip in clips])
    assert [clip.fps for clip in clips] == [25.0, None, None, 24.0, None]
    assert [clip.clip_id for clip in index.clips_of("b3")] == ["b3.mp4"]
    for clip in clips:
        facts = index.facts(clip.clip_id)
        number, row = index.find(clip.clip_id)
        table = index.snapshot.segments[number].table.arrow.slice(row, 1).to_pylist()[0]
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts
        moment = [facts[name] for name in Moment._fields[:5]]
        assert Moment(*moment, clip.fps) == clip._replace(streams=facts["streams"])
        assert sorted([*facts["streams"], *facts["missing"]]) == sorted(layout.names)
        assert [digit == "1" for digit in table["pattern"]] == [name in facts["streams"] for name in layout.names]
        assert facts["columns"].keys() == {"seed", "fps", "rating", "Taken At"}
        assert facts["columns"]["rating"] == (None if clip.clip_id == "a0.mp4" else table.get("rating"))
        assert set(facts["words"]) == set(facts["streams"]) & set(layout.words)
        for name, lines in facts["words"].items():
            words = index.snapshot.segments[number].words[layout.names.index(name)]
            assert [line["text"] for line in lines] == words.table["words"].to_pylist()[words.of(row)]
            assert all(line["end_s"] == line["start_s"] + 0.5 for line in lines)
    for ask, name in ((index.clips_of, "v/lang.mp4"), (index.facts, "a1.mp4"), (index.clips_of, "b5.mp4")):
        with pytest.raises(InputError, match=name):
            ask(name)
