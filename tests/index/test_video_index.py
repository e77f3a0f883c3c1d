"""The index ranks as exact scoring does, whatever kind of index is beneath, and one query or many."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from index.queries import Queries
from index.scanners import kinds
from index.scanners.kinds import Settings
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.encode import Gallery
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from tests.index.galleries import (
    LAYOUT,
    ORIGIN,
    assert_best,
    clip_rows,
    entries_of,
    loop_scores,
    packed_rows,
    random_gallery,
    random_text,
)

SEEDS = st.integers(0, 2**31)
PRECISIONS = ("float32", "bfloat16")


def built(directory, kind, gallery):
    """An index on disk, of this kind even where partitions are tiny."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "SMALL", 1)
        with IndexWriter.create(directory, LAYOUT, ORIGIN, settings=Settings(kind=kind)) as writer:
            writer.put(entries_of(gallery))
            writer.compact()
    video_index = VideoIndex.open(directory)
    assert {partition.scanner.kind for partition in video_index.snapshot.partitions} == {kind}
    return video_index


@given(
    SEEDS,
    st.integers(1, 60),
    st.integers(1, 70),
    st.floats(0, 0.9),
    st.sampled_from([0.1, 3.0, 100.0]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from(["one", *PRECISIONS]),
)
def test_the_best_k_equal_a_float64_loop(seed, count, k, missing, scale, doubled, way):
    gallery = random_gallery(count, seed, missing, doubled=doubled)
    text = random_text(3 if way == "one" else 20, seed, scale)
    video_index = VideoIndex.of(entries_of(gallery), LAYOUT)
    scores, ids = video_index.rank(text, k, precision="auto" if way == "one" else way)
    assert_best(scores, ids, loop_scores(text, gallery), gallery.clip_ids, k)


@given(seed=SEEDS, k=st.integers(1, 30), missing=st.floats(0, 0.9), kept=st.floats(0, 1), many=st.booleans())
def test_filters_and_removals_leave_exact_answers(seed, k, missing, kept, many):
    gallery = random_gallery(50, seed, missing, doubled=0.3)
    text = random_text(20 if many else 2, seed)
    video_index = VideoIndex.of(entries_of(gallery), LAYOUT)
    rng = np.random.default_rng(seed)
    mask = rng.random(50) < kept
    gone = rng.random(50) < 0.3
    names = video_index.segments[0].table.ids(np.arange(50))
    video_index.snapshot = video_index.snapshot.with_segments(
        [video_index.segments[0].without(np.flatnonzero(gone))]
    )
    scores, ids = video_index.rank(text, k, where=[mask])
    at = [gallery.clip_ids.index(name) for name in names]
    assert_best(scores, ids, loop_scores(text, gallery)[:, at], names, k, mask & ~gone)


@pytest.mark.parametrize("kind", ["flat", "certified"])
@pytest.mark.parametrize("queries", [1, 5, 40])
def test_proven_kinds_are_exact_on_disk(tmp_path, kind, queries):
    first, second = random_gallery(700, 1, doubled=0.2), random_gallery(90, 2, first=1000)
    video_index = built(tmp_path / "index", kind, first)
    with IndexWriter.open(tmp_path / "index") as writer:
        writer.put(entries_of(second))  # these stay in the log
        writer.remove(list(first.clip_ids[:50]))
    assert video_index.refresh()
    text = random_text(queries, 5)
    names = [*first.clip_ids, *second.clip_ids]
    reference = np.concatenate([loop_scores(text, first), loop_scores(text, second)], axis=1)
    allowed = np.array([name not in first.clip_ids[:50] for name in names])
    for k in (1, 10, 2000):
        scores, ids = video_index.rank(text, k)
        assert_best(scores, ids, reference, names, k, allowed)


def test_fastscan_finds_nearly_all_and_all_when_told_to(tmp_path):
    gallery, text = random_gallery(3000, 4, missing=0.1), random_text(50, 3)
    video_index = built(tmp_path / "index", "fastscan", gallery)
    assert not video_index.proven
    reference = loop_scores(text, gallery)
    scores, ids = video_index.rank(text, 10, exact=True)
    assert_best(scores, ids, reference, gallery.clip_ids, 10)
    found = video_index.rank(text, 10, rerank=300)[1]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, ids)]) > 0.9
    for query in (0, 7):  # alone or among others
        alone = Queries.of(text).part(slice(query, query + 1))
        assert video_index.rank(alone, 10, rerank=300)[1] == [found[query]]


@pytest.mark.parametrize("kind", ["flat", "certified", "fastscan"])
def test_every_pattern_at_once_with_extreme_logits(tmp_path, kind):
    patterns = torch.tensor([p for p in product([False, True], repeat=4) if any(p)]).repeat(2, 1)
    generator = torch.Generator().manual_seed(0)
    columns = torch.repeat_interleave(torch.arange(4), torch.tensor(LAYOUT.sizes))
    packed = packed_rows(30, generator).masked_fill(~patterns[:, columns], torch.inf)
    names = tuple(f"c{number:05d}" for number in range(30))
    gallery = Gallery(names, VideoEmbedding(packed, patterns), ("c00099",))
    logits = torch.tensor(list(product([-100.0, 100.0], repeat=4)))
    text = TextEmbedding(packed_rows(16, generator), logits)
    video_index = built(tmp_path / "index", kind, gallery)
    assert len(video_index.snapshot.partitions) == 15
    assert video_index.without_stream() == ["c00099"]
    reference = loop_scores(text, gallery)
    for k in (30, 100):
        scores, ids = video_index.rank(text, k, exact=True)
        assert_best(scores, ids, reference, names, k)
        found = video_index.rank(text, k)[1]
        assert all(set(ids) == set(names) for ids in found)  # a clip without streams never


def test_one_query_and_many_give_the_same_to_the_bit(tmp_path):
    gallery, text = random_gallery(2000, 3), random_text(64, 2)
    video_index = built(tmp_path / "index", "certified", gallery)
    whole = video_index.rank(text, 7)
    for precision in PRECISIONS:
        scores, ids = video_index.rank(text, 7, precision=precision)
        assert ids == whole[1]
        np.testing.assert_array_equal(scores, whole[0])
    for query in range(0, 64, 9):
        scores, ids = video_index.rank(Queries.of(text).part(slice(query, query + 1)), 7)
        np.testing.assert_array_equal(scores[0], whole[0][query])
        assert ids == [whole[1][query]]


def test_parts_add_up_to_the_score_and_a_hit_knows_its_moment():
    gallery, text = random_gallery(40), random_text()
    rows = clip_rows(gallery)[["video", "start_s", "end_s"]]
    for hits in VideoIndex.of(entries_of(gallery), LAYOUT).search(text, 40):
        assert [hit.rank for hit in hits] == list(range(1, 41))
        for hit in hits:
            assert sum(share.contribution for share in hit.experts.values()) == pytest.approx(hit.score, abs=1e-6)
            assert sum(share.weight for share in hit.experts.values()) == pytest.approx(1)
            row = gallery.clip_ids.index(hit.clip_id)
            has = [name for name, there in zip(LAYOUT.names, gallery.video.available[row].tolist()) if there]
            assert list(hit.experts) == has
            assert (hit.video, hit.start_s, hit.end_s) == tuple(rows.loc[hit.clip_id])


def test_k_is_at_least_one_and_may_be_larger_than_the_gallery():
    video_index = VideoIndex.of(entries_of(random_gallery(5)), LAYOUT)
    assert [len(hits) for hits in video_index.search(random_text(), 10**9)] == [5] * 4
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        video_index.search(random_text(), 0)


def test_an_index_of_nothing_finds_nothing():
    for gallery in (random_gallery(0), Gallery((), random_gallery(0).video, ("c1", "c2"))):
        video_index = VideoIndex.of(entries_of(gallery), LAYOUT)
        assert len(video_index) == 0
        assert video_index.search(random_text(), 3) == [[], [], [], []]
        assert video_index.rank(random_text(30), 3)[0].shape == (30, 0)


@given(seed=SEEDS, shares=st.lists(st.floats(-2, 2).filter(lambda x: abs(x) > 0.01), min_size=1, max_size=4))
def test_mixtures_are_sums_of_scores(seed, shares):
    gallery, text = random_gallery(40, seed), random_text(len(shares), seed)
    one = [Queries.of(text).part(slice(n, n + 1)) for n in range(len(shares))]
    mixture = Queries.mixture(list(zip(shares, one)))
    video_index = VideoIndex.of(entries_of(gallery), LAYOUT)
    reference = np.array(shares) @ loop_scores(text, gallery) / np.abs(shares).sum()
    scores, ids = video_index.rank(mixture, 12)
    assert_best(scores, ids, reference[None], gallery.clip_ids, 12)
    for hit in video_index.search(mixture, 12)[0]:
        assert sum(share.contribution for share in hit.experts.values()) == pytest.approx(hit.score, abs=1e-6)
        assert all(abs(share.similarity) <= 1 + 1e-6 for share in hit.experts.values())


@given(seed=SEEDS, kept=st.lists(st.booleans(), min_size=4, max_size=4).filter(any), many=st.booleans())
def test_only_some_experts_is_scoring_with_the_others_missing(seed, kept, many):
    gallery, text = random_gallery(40, seed), random_text(20 if many else 3, seed)
    available = gallery.video.available & torch.tensor(kept)
    there = available.any(1).numpy()
    reference = np.full((len(text.packed), 40), -np.inf)
    rest = VideoEmbedding(gallery.video.packed[there], available[there])
    reference[:, there] = loop_scores(text, Gallery((), rest, ()))
    scores, ids = VideoIndex.of(entries_of(gallery), LAYOUT).rank(Queries.of(text).only(kept), 40)
    assert_best(scores, ids, reference, gallery.clip_ids, 40)


@given(seed=SEEDS, weights=st.lists(st.sampled_from([0.0, 0.3, 1.0, 4.0]), min_size=4, max_size=4).filter(any))
def test_weights_of_the_user_are_renormalised_over_what_a_clip_has(seed, weights):
    gallery, text = random_gallery(40, seed), random_text(3, seed)
    queries = Queries.of(text).weighted(dict(zip(LAYOUT.names, weights)), LAYOUT)
    reference = np.full((3, 40), -np.inf)
    for row, has in enumerate(gallery.video.available.numpy()):
        its = np.where(has, weights, 0)
        if its.any():
            x = gallery.video.packed[row].double().nan_to_num()
            parts = [(text.packed[:, c].double() @ x[c]).numpy() for c in LAYOUT.slices]
            reference[:, row] = (its / its.sum()) @ np.array(parts)
    scores, ids = VideoIndex.of(entries_of(gallery), LAYOUT).rank(queries, 40)
    assert_best(scores, ids, reference, gallery.clip_ids, 40)


def test_weights_that_mean_nothing_are_refused():
    queries = Queries.of(random_text())
    for weights in ({"audio": -1.0}, {"audio": float("nan")}, {"audio": 0.0}, {}):
        with pytest.raises(ValueError, match="one of them positive"):
            queries.weighted(weights, LAYOUT)
    with pytest.raises(ValueError, match="there is no expert 'smell'; there are appearance, motion"):
        queries.weighted({"smell": 1.0}, LAYOUT)
    with pytest.raises(ValueError, match="not all 0"):
        Queries.mixture([(0.0, queries.part(slice(0, 1)))])


def test_a_clips_own_embedding_comes_back():
    gallery = random_gallery(30)
    video_index = VideoIndex.of(entries_of(gallery), LAYOUT)
    for row, name in enumerate(gallery.clip_ids):
        packed, available = video_index.embedding(name)
        np.testing.assert_array_equal(available, gallery.video.available[row].numpy())
        np.testing.assert_array_equal(packed, gallery.video.packed[row].nan_to_num().numpy())
    with pytest.raises(KeyError):
        video_index.embedding("nobody")


@pytest.mark.parametrize("queries", [2, 30])
def test_an_index_made_again_with_another_layout_is_searched_as_it_is_now(tmp_path, queries):
    video_index = built(tmp_path / "index", "flat", random_gallery(50))
    other = Layout(LAYOUT.names, (3, 5, 2, 7))
    gallery, text = random_gallery(60, 4, layout=other), random_text(queries, 2, layout=other)
    with IndexWriter.create(tmp_path / "index", other, ORIGIN, overwrite=True) as writer:
        writer.put(entries_of(gallery, other))
    assert video_index.refresh()
    scores, ids = video_index.rank(text, 8)
    assert_best(scores, ids, loop_scores(text, gallery, other), gallery.clip_ids, 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_gives_the_same_ids(precision):
    gallery, text = random_gallery(5000, doubled=0.2), random_text(100)
    on_cpu = VideoIndex.of(entries_of(gallery), LAYOUT)
    on_gpu = VideoIndex(on_cpu.snapshot, device=torch.device("cuda"))
    for some in (text, Queries.of(text).part(slice(0, 1))):
        expected, found = on_cpu.rank(some, 10), on_gpu.rank(some, 10, precision=precision)
        assert found[1] == expected[1]
        np.testing.assert_array_equal(found[0], expected[0])
