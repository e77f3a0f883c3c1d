"""Sequences of moments are those of a float64 double loop over all clips, whatever holds the clips."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.queries import Queries
from index.request import Request, sequences
from index.request.sequences import best_sequences
from index.scanners import kinds
from index.scanners.kinds import Settings
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.errors import InputError
from tests.index.galleries import (
    LAYOUT,
    ORIGIN,
    RULES,
    SPOKEN,
    entries_of,
    in_memory,
    loop_scores,
    random_gallery,
    random_text,
)
from tests.index.test_explained import searcher_of

SEEDS, COUNT = st.integers(0, 2**31), 40
SECONDS = np.arange(60.0)
LENGTHS = (0, 0, 1, 2, 5)  # of stills, and of clips that overlap
asked = st.fixed_dictionaries(
    {
        "parts": st.integers(2, 4),
        "within": st.sampled_from([0.0, 1.0, 3.0, 1e6, 1e300]),
        "top": st.sampled_from([1, 2, 3, 50]),
        "plain": st.booleans(),
        "min_score": st.sampled_from([None, None, -0.1, 0.2]),
        "kept": st.sampled_from([1.0, 0.7, 0.2, 0.0]),
    }
)


def spans(seed, videos):
    """Columns of COUNT clips: some of the same times, some a rounding error before the end of another."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 8, COUNT) - rng.choice([0, 1e-9, 9e-4, 2e-3], COUNT)
    end = np.maximum(start, np.round(start) + rng.choice(LENGTHS, COUNT))
    names = [f"v{n}.mp4" for n in rng.integers(videos, size=COUNT)]
    return {"video": names, "start_s": start, "end_s": end, "offset": rng.normal(size=COUNT) / 3}


def by_loops(index, queries, request, kept):
    """(-mean, video, ids and scores of the moments) of each video that has some, by a loop over all chains."""
    ranked = index.rank(queries, len(index), plain=request.plain, exact=True)
    scores = [dict(zip(ids, its.tolist())) for ids, its in zip(ranked.ids, ranked.scores)]
    videos = {}
    for segment in index.snapshot.segments:
        for clip in segment.live_table().to_pylist():
            if clip["clip_id"] in kept:
                videos.setdefault(clip["video"], []).append((clip["start_s"], clip["end_s"], clip["clip_id"]))
    found = []
    for video, clips in videos.items():
        chains = [()]
        for score in scores:
            chains = [
                (*chain, clip)
                for chain, clip in product(chains, sorted(clips))
                if clip[2] in score
                and (not chain or (clip > chain[-1] and -1e-3 <= clip[0] - chain[-1][1] <= request.within + 1e-3))
            ]
        sums = []
        for chain in chains:
            total, values = 0.0, [score[clip[2]] for score, clip in zip(scores, chain)]
            for value in reversed(values):
                total += value
            sums.append((-total / len(values), chain, values))
        if sums:
            mean, chain, values = min(sums)
            found.append((mean, video, [clip[2] for clip in chain], values))
    least = -np.inf if request.min_score is None else request.min_score
    return [one for one in sorted(found) if -one[0] >= least][: request.top]


def assert_agrees(index, text, request, seed, kept=1.0, listed=sequences.LISTED):
    rng, queries = np.random.default_rng(seed), Queries.of(text)
    ids = [name for segment in index.snapshot.segments for name in segment.table.arrow["clip_id"].to_pylist()]
    some = {name for name in sorted(set(ids)) if rng.random() < kept}
    where = [np.isin(segment.table.arrow["clip_id"].to_pylist(), [*some]) for segment in index.snapshot.segments]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "LISTED", listed)
        found = best_sequences(index, queries, request, None if kept == 1 else where)
    expected = by_loops(index, queries, request, some)
    shown = [
        (-one.score, one.video, [hit.clip_id for hit in one.hits], [hit.score for hit in one.hits])
        for one in found
    ]
    assert shown == expected
    assert [one.rank for one in found] == [*range(1, len(found) + 1)]
    for one in found:
        assert [hit.rank for hit in one.hits] == [*range(1, len(queries) + 1)]
        assert all(
            sum(share.contribution for share in hit.experts.values()) - hit.offset * (not request.plain)
            == pytest.approx(hit.score, abs=1e-5)
            for hit in one.hits
        )
    return found


def request_of(asked):
    words = tuple("bcd"[: asked["parts"] - 1])
    return Request(sentence="a", then=words, **{n: asked[n] for n in ("within", "top", "plain", "min_score")})


@given(
    asked=asked,
    seed=SEEDS,
    layout=st.sampled_from((*RULES, *SPOKEN)),
    videos=st.sampled_from([1, 5, 12]),
    missing=st.floats(0, 0.9),
    doubled=st.sampled_from([0.0, 0.6]),
    listed=st.sampled_from([1, 4, 16]),
    removed=st.integers(0, 20),
)
def test_sequences_are_those_of_a_loop_over_all(asked, seed, layout, videos, missing, doubled, listed, removed):
    gallery = random_gallery(COUNT, seed, missing, doubled=doubled, layout=layout)
    index = in_memory(entries_of(gallery, layout, **spans(seed, videos)), layout, {"method": "nnn"})
    text = random_text(asked["parts"], seed, layout=layout)
    ranked, own = index.rank(text, COUNT, plain=True), loop_scores(text, gallery, layout)
    for its, ids, scores in zip(own, ranked.ids, ranked.scores):  # what the loop takes are the equation's scores
        rows = [gallery.clip_ids.index(name) for name in ids]
        np.testing.assert_allclose(scores[: len(ids)], its[rows], atol=1e-6)
    segment = index.snapshot.segments[0].without(np.random.default_rng(seed).permutation(COUNT)[:removed])
    index = VideoIndex(index.snapshot.with_segments([segment]))
    assert_agrees(index, text, request_of(asked), seed, asked["kept"], listed)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """Of every kind, in two segments; clips are replaced and removed."""
    made = {}
    for kind in ("flat", "certified", "fastscan"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kinds, "SMALL", {})
            place = tmp_path_factory.mktemp(kind)
            with IndexWriter.create(place, LAYOUT, ORIGIN, settings=Settings(kind=kind)) as writer:
                for first, seed in ((0, 5), (COUNT // 2, 6)):
                    gallery, columns = random_gallery(COUNT, seed, 0.4, first, doubled=0.3), spans(seed, 6)
                    del columns["offset"]
                    writer.put(entries_of(gallery, **columns))
                writer.remove([f"c{number:05d}" for number in range(0, 60, 7)])
        made[kind] = VideoIndex.open(place)
        assert len(made[kind].snapshot.segments) == 2
    return made


@pytest.mark.parametrize("kind", ["flat", "certified", "fastscan"])
@given(asked=asked, seed=SEEDS, listed=st.sampled_from([1, 16]))
def test_all_kinds_find_the_same(indexes, kind, asked, seed, listed):
    request = replace(request_of(asked), exact=kind == "fastscan")
    assert_agrees(indexes[kind], random_text(asked["parts"], seed), request, seed, asked["kept"], listed)
    near = best_sequences(indexes[kind], Queries.of(random_text(2, seed)), Request(sentence="a", then=("b",)))
    assert near


@pytest.mark.parametrize(
    "fields", [{}, {"only": ("motion",)}, {"where": "number < 30"}, {"like": "c00007"}, {"within": 20.0}], ids=str
)
def test_a_clip_is_explained_by_its_part_of_the_sequence(make_index, fields):
    gallery = random_gallery(60, 3)
    searcher = searcher_of(make_index(gallery, number=range(60), end_s=SECONDS + 1))
    request = Request(**{"sentence": "a dog", "then": ("a cat", "rain"), "within": 0.0, "top": 9, **fields})
    found = searcher.search([request, Request(sentence="x"), request])
    assert found[0] == found[2] != []
    taken = {hit.clip_id: hit for one in found[0] for hit in one.hits}
    for clip_id, hit in taken.items():
        assert searcher.explain(replace(request, top=1), clip_id) == hit
    assert searcher.weights(request) == searcher.weights(replace(request, then=()))
    parts = [
        replace(request, then=()),
        *(replace(request, sentence=each, like=None, then=()) for each in request.then),
    ]
    for clip_id in {*gallery.clip_ids} - {*taken}:
        try:
            alone = [searcher.explain(part, clip_id) for part in parts]
        except InputError:
            with pytest.raises(InputError, match=clip_id):
                searcher.explain(request, clip_id)
            continue
        hit, best = searcher.explain(request, clip_id), max(alone, key=lambda one: one.score)
        assert hit.rank <= 3 or replace(hit, rank=0) == replace(best, rank=0)


def test_words_and_filters_hold_for_every_moment(make_index):
    layout = SPOKEN[0]
    searcher = searcher_of(
        make_index(random_gallery(60, 4, layout=layout), layout=layout, number=range(60), end_s=SECONDS + 1)
    )
    request = Request(sentence="a", then=("b",), where="number >= 20", top=50)
    hits = [hit for one in searcher.search([request])[0] for hit in one.hits]
    assert len(hits) > 10
    assert all(int(hit.clip_id[1:]) >= 20 for hit in hits)
    (one,) = searcher.search([replace(request, video=hits[0].video)])[0]
    assert [hit.clip_id for hit in one.hits] == [hit.clip_id for hit in hits[:2]]
    for more in ({"where": "False"}, {"where": "number == 20"}, {"min_score": 9.0}):
        assert searcher.search([replace(request, **more)]) == [[]]
