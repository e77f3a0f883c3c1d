"""Marks of clips: laws of what they change, and what they find."""

import zlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.queries import Queries
from index.request import Request, feedback
from index.searcher import Searcher
from index.storage.entries import Entries
from index.text_side import Text
from mee.errors import InputError
from mee.layout import Layout
from tests.index.galleries import RULES, SPOKEN, entries_of, in_memory, random_gallery, random_text

LAYOUTS = (*RULES, *SPOKEN)
COUNT = 40
seeds = st.integers(0, 2**31)


class Encoder:
    """In the place of a text side: a sentence's vectors follow from its letters."""

    readers = ()

    def __init__(self, layout):
        self.layout = layout

    def encode(self, sentences):
        texts = [random_text(1, zlib.crc32(each.encode()), 1.0, self.layout) for each in sentences]
        return Queries.stacked([Queries.of(text) for text in texts])


def searcher_of(entries, layout):
    return Searcher(in_memory(entries, layout), Text(None, Encoder(layout)))


def random_world(seed, layout, missing=0.3):
    """A gallery of COUNT clips, and a sentence with marks of some of them."""
    rng = np.random.default_rng(seed)
    gallery = random_gallery(COUNT, seed % 1000, missing, layout=layout)
    some = rng.permutation(sorted(gallery.clip_ids)).tolist()
    good, bad, pairs = some[: rng.integers(3)], some[3 : 3 + rng.integers(3)], some[5 : 5 + 2 * rng.integers(3)]
    closer = [*zip(pairs[::2], pairs[1::2]), *([(good[0], some[9])] if good else [])]
    request = Request(sentence=f"{seed}", good=(*good,), bad=(*bad,), closer=(*closer,), top=COUNT)
    return gallery, request


def found(searcher, request):
    return searcher.search([request])[0]


def of_clips(gallery, layout):
    """Of each clip and expert that it has, its vectors, and the one that stands for them."""
    vectors = {}
    for g, name in enumerate(gallery.clip_ids):
        for m, its in enumerate(layout.slices):
            if gallery.video.available[g, m]:
                if layout.names[m] in layout.words:
                    words = gallery.video.words[layout.names[m]]
                    rows = words.values[words.offsets[g] : words.offsets[g + 1]].double().numpy()
                else:
                    rows = gallery.video.packed[g : g + 1, its].double().numpy()
                vectors[name, m] = rows, rows.mean(0) / np.linalg.norm(rows.mean(0))
    return vectors


def expected(query, gallery, request, layout):
    """The score of each clip by the formulas of index/request/feedback.py, in plain loops."""
    experts, names = range(len(layout.names)), gallery.clip_ids
    x = of_clips(gallery, layout)
    text = [query.packed[0, 0, its].astype(float) for its in layout.slices]
    to_query = {(name, m): text[m] @ vector for (name, m), (_, vector) in x.items()}
    two = {(a, b, m): x[a, m][1] @ x[b, m][1] for a, m in x for b in names if (b, m) in x and a != b}
    center = [np.mean([value for (*_, m), value in two.items() if m == n]) for n in experts]
    spread = [np.std([value for (*_, m), value in two.items() if m == n]) for n in experts]
    of_query = [np.std([value for (_, m), value in to_query.items() if m == n]) for n in experts]
    having = [np.mean([(name, m) in x for name in names]) for m in experts]

    choices = [(near, {*request.bad}) for near in {*request.good}]
    choices += [(near, {far for a, far in request.closer if a == near}) for near in {a for a, _ in request.closer}]
    counts = dict.fromkeys(names, 0.0)
    for near, far in choices or [(None, {*request.bad})]:
        for name, count in [(near, 1.0)] * bool(near) + [(name, -1 / len(far)) for name in far]:
            counts[name] += count
    if choices and request.bad and not request.good:
        for name in request.bad:
            counts[name] -= 1 / len(request.bad)

    said = np.zeros(len(experts))
    for m in experts:
        for near, far in choices:
            values = []
            for name in far:
                z = (
                    [(to_query[near, m] - to_query[name, m]) / of_query[m]]
                    if {(near, m), (name, m)} <= x.keys()
                    else []
                )
                others = {one for one, _ in choices} - {near, *far}
                both = [other for other in others if {(near, m), (name, m), (other, m)} <= x.keys()]
                z += [(two[near, other, m] - two[name, other, m]) / spread[m] for other in both]
                values += [np.log(2 / (1 + np.exp(-np.mean(z))))] if z else []
            said[m] += np.mean(values) if values else 0
    said = feedback.MOST * np.tanh(said / feedback.MOST)

    own = np.exp(query.logits[0, 0] + said) / np.exp(query.logits[0, 0] + said).sum()
    size = feedback.SHARE * np.linalg.norm(own * of_query)
    e = np.exp(said) / np.linalg.norm(np.exp(said))
    weight = e / spread / sum(e / spread)  # which a clip's experts share, where weights are renormalised
    scale = size / np.linalg.norm(weight * spread)
    longest = max(np.linalg.norm(sum(k * x[u, m][1] for u, k in counts.items() if (u, m) in x)) for m in experts)
    share, scores = scale * longest, {}
    n = np.linalg.norm([p * (1 - p) for p in having])
    for v in names:
        there = [m for m in experts if (v, m) in x]
        first = second = 0.0
        for m in there:
            rows = x[v, m][0]
            first += own[m] * ((rows @ text[m]).max() - query.offsets[0, 0, m])
            u = sum((k * x[u, m][1] for u, k in counts.items() if (u, m) in x), np.zeros(layout.sizes[m]))
            like = (rows @ u).max() - center[m] * sum(k for u, k in counts.items() if (u, m) in x)
            streams = feedback.STREAMS / n * sum(k * (((u, m) in x) - having[m]) for u, k in counts.items())
            second += scale * weight[m] * like + size * streams
        if layout.missing == "renormalise":
            first, second = first / own[there].sum(), second / weight[there].sum()
        if v not in request.refused:
            scores[v] = (first + second) / (1 + share)
    return scores


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.missing} {len(layout.words)}")
@settings(max_examples=25)
@given(seed=seeds)
def test_scores_are_those_of_the_formulas(layout, seed):
    gallery, request = random_world(seed, layout)
    searcher = searcher_of(entries_of(gallery, layout), layout)
    hits = found(searcher, request)
    if not (request.good or request.bad or request.closer):
        return
    scores = expected(searcher.encode([request.sentence]), gallery, request, layout)
    assert [hit.score for hit in hits] == pytest.approx([scores[hit.clip_id] for hit in hits], abs=1e-5)
    assert {hit.clip_id for hit in hits} == scores.keys()  # marks make no others unfindable
    ordered = [scores[hit.clip_id] for hit in hits]
    assert ordered == pytest.approx(sorted(ordered, reverse=True), abs=1e-5)
    for hit in hits:
        assert sum(share.contribution for share in hit.experts.values()) == pytest.approx(hit.score, abs=1e-5)
    assert searcher.explain(request, hits[-1].clip_id) == hits[-1]


@pytest.mark.parametrize("kind", ["certified", "prefixes"])
def test_other_kinds_of_index_find_the_same(make_index, tmp_path, kind):
    gallery = random_gallery(COUNT, 8)
    one, two, three, four = gallery.clip_ids[:4]
    request = Request(sentence="a dog", good=(one,), bad=(two,), closer=((three, four),), top=COUNT)
    flat, other = make_index(gallery), make_index(gallery, tmp_path / "ix", kind)
    found_by = [
        {hit.clip_id: hit.score for hit in found(Searcher(each, Text(None, Encoder(RULES[0]))), request)}
        for each in (flat, other)
    ]
    assert [*found_by[0]] == [*found_by[1]]
    assert found_by[0] == pytest.approx(found_by[1], abs=1e-6)


@settings(max_examples=25)
@given(seed=seeds, filler=st.floats(width=32), layout=st.sampled_from(LAYOUTS))
def test_the_order_of_marks_and_what_stands_in_missing_slots_change_nothing(seed, filler, layout):
    gallery, request = random_world(seed, layout)
    entries = entries_of(gallery, layout)
    columns = np.repeat(entries.available, layout.sizes, axis=1)
    packed = np.where(columns, entries.packed, np.float32(filler))
    other = Entries(entries.table, packed.astype(np.float32), entries.available, entries.words)
    mixed = replace(request, **{name: getattr(request, name)[::-1] * 2 for name in ("good", "bad", "closer")})
    one, another = searcher_of(entries, layout), searcher_of(other, layout)
    assert found(one, request) == found(another, mixed)
    assert one.weights(request) == another.weights(mixed)


@settings(max_examples=25)
@given(seed=seeds, layout=st.sampled_from(LAYOUTS))
def test_weights_move_within_bounds_and_only_where_they_may(seed, layout):
    gallery, request = random_world(seed, layout)
    searcher = searcher_of(entries_of(gallery, layout), layout)
    before, after = (searcher.meaning.of([each])[0] for each in (Request(sentence=request.sentence), request))
    moved = after.logits[0, 0] - before.logits[0, 0]
    assert np.abs(moved).max() <= feedback.MOST
    assert all(np.isfinite(part).all() for part in (after.packed, after.offsets, after.share))
    weights = searcher.weights(request)
    assert min(weights.values()) > 0
    assert sum(weights.values()) == pytest.approx(1)
    only = searcher.weights(replace(request, only=("motion", "face")))
    assert [name for name, weight in only.items() if weight] == ["motion", "face"]
    given = searcher.weights(replace(request, weights={"motion": 3.0, "audio": 1.0}))
    assert given == pytest.approx({"appearance": 0, "motion": 0.75, "audio": 0.25, "face": 0})


def test_good_clips_alone_find_clips_that_share_an_expert_with_them():
    for layout in LAYOUTS:
        gallery = random_gallery(COUNT, 5, 0.5, layout=layout)
        searcher, there = searcher_of(entries_of(gallery, layout), layout), gallery.video.available.numpy()
        row = next(g for g in range(COUNT) if there[g].sum() == 2)
        near, bad = gallery.clip_ids[row], gallery.clip_ids[row - 1]
        hits = found(searcher, Request(good=(near,), bad=(bad,), top=COUNT))
        shared = {name for name, its in zip(gallery.clip_ids, there) if (its & there[row]).any()}
        assert {hit.clip_id for hit in hits} == shared - {bad}
        assert layout != RULES[0] or found(searcher, Request(good=(near,)))[0].clip_id == near
        weights = searcher.weights(Request(good=(near,), bad=(bad,)))
        assert [weight > 0 for weight in weights.values()] == there[row].tolist()


@pytest.mark.parametrize("marks", ["good and bad", "closer"])
def test_marks_tell_which_expert_is_meant(marks):
    """The sentence fits the first looks and the first sounds alike; marks by one of them bring its clips up."""
    layout = Layout(("looks", "sound"), (8, 8))
    rng = np.random.default_rng(0)
    groups = np.array([(a, b) for a in range(6) for b in range(6)])
    packed = np.concatenate([np.eye(8)[groups[:, m]] + 0.2 * rng.normal(size=(36, 8)) for m in range(2)], axis=1)
    packed /= np.repeat(np.linalg.norm(packed.reshape(36, 2, 8), axis=2), 8, axis=1)
    table = {
        "clip_id": [f"{a}{b}" for a, b in groups],
        "video": ["v"] * 36,
        "start_s": [0.0] * 36,
        "end_s": [1.0] * 36,
    }
    entries = Entries(pa.table(table), packed.astype(np.float32), np.ones((36, 2), bool)).checked(layout)

    class Both(Encoder):
        def encode(self, sentences):
            vectors = np.eye(1, 16) + np.eye(1, 16, 8)
            return Queries(
                vectors[None].astype(np.float32), np.zeros((1, 1, 2)), np.zeros((1, 1, 2)), np.ones((1, 1))
            )

    searcher = Searcher(in_memory(entries, layout), Text(None, Both(layout)))
    request = Request(sentence="either", top=36)
    for m, name in enumerate(layout.names):
        near, far = (["10", "20"], ["01", "02"]) if m else (["01", "02"], ["10", "20"])
        changed = {"good": (*near,), "bad": (*far,)} if marks != "closer" else {"closer": (*zip(near, far),)}
        before, after = searcher.weights(request), searcher.weights(replace(request, **changed))
        assert after[name] > before[name] + 0.1
        places = [hit.clip_id[m] for hit in found(searcher, replace(request, **changed))]
        assert np.mean([n for n, place in enumerate(places) if place == "0"]) < 5


def test_a_clip_that_another_is_closer_than_is_not_found():
    gallery = random_gallery(COUNT, 3)
    searcher = searcher_of(entries_of(gallery), RULES[0])
    plain = [hit.clip_id for hit in found(searcher, Request(sentence="a dog", top=COUNT))]
    one, two, three, *_ = plain
    request = Request(sentence="a dog", closer=((three, one), (three, two)), top=COUNT)
    assert {*plain} - {hit.clip_id for hit in found(searcher, request)} == {one, two}
    assert {*plain} - {hit.clip_id for hit in found(searcher, replace(request, good=(one,)))} == {two}


def test_marks_that_make_no_sense_are_refused(says):
    gallery = random_gallery(COUNT, 3)
    entries = entries_of(gallery)
    entries.available[2] = False
    empty = entries.table["clip_id"][2].as_py()
    searcher = searcher_of(entries, RULES[0])
    some = next(
        n
        for n, there in zip(entries.table["clip_id"].to_pylist(), entries.available)
        if not there[2] and there.any()
    )
    refused = []
    for fields in (
        {"good": ("c99",)}, {"bad": ("c99",)}, {"closer": (("c00001", "c99"),)}, {"good": (empty,)},
        {"bad": (empty,)}, {"sentence": None, "good": (some,), "only": ("audio",)},
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            searcher.search([Request(**{"sentence": "a dog", **fields})])
        refused.append(str(caught.value))
    says("\n".join(refused))
