"""The index ranks as exact scoring does, whatever its kind, for one query and for many."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from index.exact import proven
from index.hit import hits_of
from index.queries import Queries
from index.scanners import coding
from index.scanners.certified import Certified
from index.storage.segment import packed_of
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.encode import Gallery
from mee.errors import InputError
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.mixture import MixtureScores
from mee.ranking.top import Best
from mee.scoring import mee_scores
from tests.index import galleries
from tests.index.galleries import LAYOUT, assert_best, clip_rows, loop_scores, random_gallery, random_text

SEEDS = st.integers(0, 2**31)
PRECISIONS = ("float32", "bfloat16")
LAYOUTS = (*galleries.RULES, *galleries.SPOKEN)
by_rule = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda each: each.missing + "-words" * bool(each.words))


@by_rule
@given(
    seed=SEEDS,
    count=st.integers(1, 60),
    k=st.integers(1, 70),
    missing=st.floats(0, 0.9),
    scale=st.sampled_from([0.1, 3.0, 1000.0]),
    offset=st.sampled_from([0.0, 0.3, 30.0]),
    doubled=st.sampled_from([0.0, 0.5]),
    way=st.sampled_from(["one", *PRECISIONS]),
)
def test_the_best_k_equal_a_float64_loop(make_index, layout, seed, count, k, missing, scale, offset, doubled, way):
    gallery = random_gallery(count, seed, missing, doubled=doubled, layout=layout)
    text = random_text(3 if way == "one" else 20, seed, scale, offset=offset)
    ranked = make_index(gallery, layout=layout).rank(text, k, precision="auto" if way == "one" else way)
    assert_best(ranked, loop_scores(text, gallery, layout), gallery.clip_ids, k)


@by_rule
@given(seed=SEEDS, scale=st.sampled_from([3.0, 100.0]), queries=st.sampled_from([2, 20]))
def test_the_index_gives_the_scores_of_training_and_of_evaluation(make_index, layout, seed, scale, queries):
    gallery, text = random_gallery(30, seed, layout=layout), random_text(queries, seed, scale)
    video, ranked = gallery.video, make_index(gallery, layout=layout).rank(text, 30)
    every = (text.packed, video.packed, text.logits, video.available, layout, text.offsets, video.words)
    trained = mee_scores(*every)
    evaluated = MixtureScores(text, video, layout).block(slice(0, queries))
    for ids, scores, *others in zip(ranked.ids, ranked.scores, trained, evaluated):
        for other in others:
            np.testing.assert_allclose(scores, other[[gallery.clip_ids.index(name) for name in ids]], atol=1e-5)


@given(seed=SEEDS, k=st.integers(1, 30), missing=st.floats(0, 0.9), kept=st.floats(0, 1), many=st.booleans())
def test_filters_and_removals_leave_exact_results(make_index, seed, k, missing, kept, many):
    gallery = random_gallery(50, seed, missing, doubled=0.3)
    text = random_text(20 if many else 2, seed)
    video_index = make_index(gallery)
    rng = np.random.default_rng(seed)
    mask, gone = rng.random(50) < kept, rng.random(50) < 0.3
    segment = video_index.snapshot.segments[0]
    video_index.snapshot = video_index.snapshot.with_segments([segment.without(np.flatnonzero(gone))])
    names = segment.table.ids(np.arange(50))
    at = [gallery.clip_ids.index(name) for name in names]
    reference = loop_scores(text, gallery)[:, at]
    assert_best(video_index.rank(text, k, where=[mask]), reference, names, k, mask & ~gone)


@by_rule
@given(
    seed=SEEDS,
    k=st.integers(1, 80),
    missing=st.floats(0, 0.9),
    kept=st.floats(0, 1),
    scale=st.sampled_from([0.1, 3.0, 1000.0]),
    short=st.booleans(),
    queries=st.sampled_from([1, 3, 20]),
    threads=st.sampled_from([1, 2]),
    exactly=st.booleans(),
)
def test_prefixes_are_exact_in_every_way(
    make_index, layout, seed, k, missing, kept, scale, short, queries, threads, exactly
):
    """With filters, equal scores, by threads, where scans are widened, and where bytes are not exact."""
    gallery, text = (
        random_gallery(70, seed, missing, doubled=0.4, layout=layout),
        random_text(queries, seed, scale),
    )
    video_index, mask = make_index(gallery, layout=layout), np.random.default_rng(seed).random(70) < kept
    (segment,) = video_index.snapshot.segments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coding, "STEP", 2)
        patch.setattr(coding, "SHORT", 9 if short else 0)
        patch.setattr(proven, "LARGE", 0)
        patch.setattr(proven, "MANY", 3)
        patch.setattr(proven, "threads", lambda: threads)
        patch.setattr(proven, "bytes_multiply_exactly", lambda: exactly)
        wide = [partition for partition in segment.partitions if partition.vectors.shape[1]]
        parts = [(packed_of(partition.pattern, layout), partition.vectors) for partition in wide]
        coded = dict(zip(map(id, wide), Certified.built(parts, layout.sizes) if parts else ()))
        partitions = tuple(replace(one, scanner=coded.get(id(one), one.scanner)) for one in segment.partitions)
        video_index.snapshot = video_index.snapshot.with_segments([replace(segment, partitions=partitions)])
        names = segment.table.ids(np.arange(70))
        reference = loop_scores(text, gallery, layout)[:, [gallery.clip_ids.index(name) for name in names]]
        assert_best(video_index.rank(text, k, where=[mask]), reference, names, k, mask)


@pytest.mark.parametrize("kind", ["flat", "certified", "prefixes"])
@pytest.mark.parametrize("queries", [1, 5, 40])
@by_rule
def test_proven_kinds_are_exact_on_disk(make_index, tmp_path, kind, queries, layout):
    first = random_gallery(700, 1, doubled=0.2, layout=layout)
    second = random_gallery(90, 2, first=1000, layout=layout)
    video_index = make_index(first, tmp_path / "index", kind, layout=layout)
    with IndexWriter.open(tmp_path / "index") as writer:
        writer.put(galleries.entries_of(second, layout))  # these stay in the log
        writer.remove(list(first.clip_ids[:50]))
    assert video_index.refresh()
    text = random_text(queries, 5)
    names = [*first.clip_ids, *second.clip_ids]
    reference = np.concatenate([loop_scores(text, each, layout) for each in (first, second)], axis=1)
    allowed = np.array([name not in first.clip_ids[:50] for name in names])
    for k in (1, 10, 2000):
        assert_best(video_index.rank(text, k), reference, names, k, allowed)
    kept = (False, True, False, True)  # clips that have neither are never found
    reference = np.concatenate([loop_scores(text, each, layout, kept=kept) for each in (first, second)], axis=1)
    for k in (10, 2000):
        assert_best(video_index.rank(Queries.of(text).only(kept), k), reference, names, k, allowed)


@by_rule
def test_fastscan_finds_nearly_all_and_all_where_exact_is_requested(make_index, tmp_path, layout):
    gallery, text = random_gallery(3000, 4, missing=0.1, layout=layout), random_text(50, 3)
    video_index = make_index(gallery, tmp_path / "index", "fastscan", layout=layout)
    assert not video_index.proven
    exact = video_index.rank(text, 10, exact=True)
    assert_best(exact, loop_scores(text, gallery, layout), gallery.clip_ids, 10)
    found = video_index.rank(text, 10, rerank=300).ids
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact.ids)]) > 0.9
    for query in (0, 7):  # alone or among others
        alone = Queries.of(text).part(slice(query, query + 1))
        assert video_index.rank(alone, 10, rerank=300).ids == [found[query]]


@pytest.mark.parametrize("kind", ["flat", "certified", "prefixes", "fastscan"])
@by_rule
def test_every_pattern_at_once_with_extreme_logits(make_index, tmp_path, kind, layout):
    patterns = torch.tensor([p for p in product([False, True], repeat=4) if any(p)]).repeat(2, 1)
    generator = torch.Generator().manual_seed(0)
    columns = torch.repeat_interleave(torch.arange(4), torch.tensor(LAYOUT.sizes))
    packed = galleries.packed_rows(30, generator).masked_fill(~patterns[:, columns], torch.inf)
    names = tuple(f"c{number:05d}" for number in range(30))
    words = galleries.random_words(patterns, generator, layout)
    gallery = Gallery(names, VideoEmbedding(packed, patterns, words), ("c00099",))
    logits = torch.tensor(list(product([-500.0, 500.0], repeat=4)))
    text = TextEmbedding(galleries.packed_rows(16, generator), logits, torch.randn(16, 4, generator=generator))
    video_index = make_index(gallery, tmp_path / "index", kind, layout=layout)
    assert len(video_index.snapshot.partitions) == 15
    assert video_index.snapshot.without_stream() == ["c00099"]
    reference = loop_scores(text, gallery, layout)
    for k in (30, 100):
        assert_best(video_index.rank(text, k, exact=True), reference, names, k)
        assert all(set(ids) == set(names) for ids in video_index.rank(text, k).ids)  # never c00099


@pytest.mark.parametrize("terms", [1, 3])
@pytest.mark.parametrize("kind", ["certified", "prefixes"])
def test_one_query_and_many_give_the_same_to_the_bit(make_index, tmp_path, terms, kind):
    """Sentences, and mixtures of several sentences, some with a weight below 0."""
    text = Queries.of(random_text(60, 4))
    shares = np.random.default_rng(0).uniform(-1, 1, (60 // terms, terms))
    shares /= np.abs(shares).sum(1, keepdims=True)
    arrays = (text.packed, text.logits, text.offsets)
    queries = Queries(*(array.reshape(60 // terms, terms, -1) for array in arrays), shares)
    video_index = make_index(random_gallery(2000, 3, doubled=0.2), tmp_path / "index", kind)
    whole = [video_index.rank(queries, 7, precision=precision) for precision in ("auto", *PRECISIONS)]
    for ranked in whole[1:]:
        assert ranked.ids == whole[0].ids
        np.testing.assert_array_equal(ranked.scores, whole[0].scores)
    for query in range(0, 60 // terms, 9):
        alone = video_index.rank(queries.part(slice(query, query + 1)), 7)
        np.testing.assert_array_equal(alone.scores[0], whole[0].scores[query])
        assert alone.ids == [whole[0].ids[query]]


@by_rule
def test_contributions_add_up_to_the_score_and_a_hit_knows_its_moment(make_index, layout):
    gallery, text = random_gallery(40, layout=layout), random_text()
    queries, video_index = Queries.of(text), make_index(gallery, layout=layout)
    rows, weights = clip_rows(gallery)[["video", "start_s", "end_s"]], text.logits.double().softmax(1).tolist()
    for own, hits in zip(weights, hits_of(video_index.rank(queries, 40), queries, video_index)):
        weight_of = dict(zip(LAYOUT.names, own))
        assert [hit.rank for hit in hits] == list(range(1, 41))
        for hit in hits:
            assert sum(share.contribution for share in hit.experts.values()) == pytest.approx(hit.score, abs=1e-6)
            held = 1 if layout.missing == "evidence" else sum(weight_of[name] for name in hit.experts)
            for name, share in hit.experts.items():
                assert share.weight == pytest.approx(weight_of[name] / held)
            row = gallery.clip_ids.index(hit.clip_id)
            has = [name for name, there in zip(LAYOUT.names, gallery.video.available[row].tolist()) if there]
            assert list(hit.experts) == has
            assert (hit.video, hit.start_s, hit.end_s) == tuple(rows.loc[hit.clip_id])


def test_an_empty_index_and_k_out_of_range(make_index):
    video_index = make_index(random_gallery(5))
    assert [len(ids) for ids in video_index.rank(random_text(), 10**9).ids] == [5] * 4
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        video_index.rank(random_text(), 0)
    for gallery in (random_gallery(0), Gallery((), random_gallery(0).video, ("c1", "c2"))):
        video_index = make_index(gallery)
        assert len(video_index) == 0
        assert video_index.rank(random_text(), 3).ids == [[], [], [], []]
        assert video_index.rank(random_text(30), 3).scores.shape == (30, 0)


@by_rule
@given(seed=SEEDS, shares=st.lists(st.floats(-2, 2).filter(lambda x: abs(x) > 0.01), min_size=1, max_size=4))
def test_mixtures_are_sums_of_scores(make_index, layout, seed, shares):
    gallery, text = random_gallery(40, seed, layout=layout), random_text(len(shares), seed)
    one = [Queries.of(text).part(slice(n, n + 1)) for n in range(len(shares))]
    mixture, video_index = Queries.mixture(list(zip(shares, one))), make_index(gallery, layout=layout)
    reference = np.array(shares) @ loop_scores(text, gallery, layout) / np.abs(shares).sum()
    ranked = video_index.rank(mixture, 12)
    assert_best(ranked, reference[None], gallery.clip_ids, 12)
    for hit in hits_of(ranked, mixture, video_index)[0]:
        assert sum(share.contribution for share in hit.experts.values()) == pytest.approx(hit.score, abs=1e-6)
        assert all(abs(share.similarity) <= 1 + 1e-6 for share in hit.experts.values())


@by_rule
@given(
    seed=SEEDS,
    kept=st.lists(st.booleans(), min_size=4, max_size=4).filter(any),
    weights=st.lists(st.sampled_from([0.0, 0.3, 1.0, 4.0]), min_size=4, max_size=4).filter(any),
    many=st.booleans(),
)
def test_some_experts_and_weights_of_the_user_add_up_to_one(make_index, layout, seed, kept, weights, many):
    gallery, text = random_gallery(40, seed, layout=layout), random_text(20 if many else 3, seed)
    video_index, queries = make_index(gallery, layout=layout), Queries.of(text)
    reference = loop_scores(text, gallery, layout, kept=kept)
    assert_best(video_index.rank(queries.only(kept), 40), reference, gallery.clip_ids, 40)
    weighted = queries.weighted(dict(zip(LAYOUT.names, weights)), LAYOUT)
    reference = loop_scores(text, gallery, layout, weights=weights)
    assert_best(video_index.rank(weighted, 40), reference, gallery.clip_ids, 40)


def test_a_clip_as_a_query_is_its_vectors_with_equal_weights(make_index):
    gallery = random_gallery(30)
    video_index = make_index(gallery)
    for row, name in enumerate(gallery.clip_ids):
        query, available = video_index.clip_query(name), gallery.video.available[row].numpy()
        np.testing.assert_array_equal(query.logits, np.where(available, 0.0, -np.inf)[None, None])
        assert not query.offsets.any()
        np.testing.assert_array_equal(query.packed[0, 0], gallery.video.packed[row].nan_to_num().numpy())
        assert query.share.tolist() == [[1]]
        ranked = video_index.rank(query, 1)
        assert (ranked.ids, ranked.scores[0, 0]) == ([[name]], pytest.approx(1, abs=1e-5))
    with pytest.raises(InputError, match="'nobody'"):
        video_index.clip_query("nobody")


@pytest.mark.parametrize("queries", [2, 30])
def test_an_index_made_again_with_another_layout_is_searched_as_it_is_now(make_index, tmp_path, queries):
    video_index = make_index(random_gallery(50), tmp_path / "index")
    other = Layout(LAYOUT.names, (3, 5, 2, 7))
    gallery, text = random_gallery(60, 4, layout=other), random_text(queries, 2, layout=other)
    with IndexWriter.create(tmp_path / "index", other, galleries.ORIGIN, overwrite=True) as writer:
        writer.put(galleries.entries_of(gallery, other))
    assert video_index.refresh()
    assert_best(video_index.rank(text, 8), loop_scores(text, gallery, other), gallery.clip_ids, 8)


# ---- batches: results that rounded products alone would get wrong

HALF = 2.0**-8  # of the distance of two bfloat16 numbers, in terms of the lower: no number is rounded by more


def unit_vector(most, last=None):
    """(16,) the same number 15 times, and one that makes it a unit vector."""
    return torch.tensor([most] * 15 + [(1 - 15 * most**2) ** 0.5 if last is None else last])


def test_what_bfloat16_rounds_down_is_not_lost_to_what_it_rounds_up(make_index):
    """The better clip and its query lose all that rounding can take, the worse and its query gain all of it."""
    layout = Layout(("down", "up"), (16, 16))
    down, up = unit_vector(0.25 * (1 + HALF - 2**-16)), unit_vector(0.25 * (1 + HALF + 2**-16))
    worse = unit_vector(float(up[0]), last=float(up[15]) - 4e-3)  # of a score that is 1e-3 less
    packed = torch.zeros(2, 32)
    packed[0, :16], packed[1, 16:] = down, worse
    gallery = Gallery(("c0", "c1"), VideoEmbedding(packed, torch.eye(2, dtype=torch.bool)), ())
    text = TextEmbedding(torch.cat([down, up])[None], torch.zeros(1, 2), torch.zeros(1, 2))
    exact = [float(down.double() @ down.double()), float(up.double() @ worse.double())]
    rounded = [float(down.bfloat16().double() @ down.bfloat16().double())]
    rounded += [float(up.bfloat16().double() @ worse.bfloat16().double())]
    assert exact[0] > exact[1]
    assert rounded[0] < rounded[1] - 0.01
    video_index = make_index(gallery, layout=layout)
    many = text[torch.zeros(20, dtype=torch.int64)]
    for precision in ("float32", "bfloat16"):
        assert video_index.rank(many, 1, precision=precision).ids == [["c0"]] * 20


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_program_with_rough_products_gets_exact_results(make_index, precision):
    layout = Layout(("appearance", "motion"), (64, 64))
    gallery, text = random_gallery(2000, 1, layout=layout), random_text(40, 2, layout=layout)
    packed = gallery.video.packed
    for columns in layout.slices:  # all alike, so that a little error puts them in another order
        packed[:, columns] = F.normalize(packed[0, columns].nan_to_num(1) + 0.01 * packed[:, columns], dim=1)
    video_index = make_index(gallery, layout=layout)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ranked = video_index.rank(text, 10, precision=precision)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert_best(ranked, loop_scores(text, gallery, layout), gallery.clip_ids, 10)


@given(
    seed=st.integers(0, 2**31),
    candidates=st.integers(1, 80),
    k=st.integers(1, 12),
    wide=st.integers(1, 40),
    shift=st.sampled_from([-3.0, 0.0, 3.0]),
)
def test_no_candidate_is_lost_to_the_rounding_of_estimates(seed, candidates, k, wide, shift):
    """Whose error grows with them: among scores near 0 and -3 as among those near 3."""
    generator = torch.Generator().manual_seed(seed)
    scores = 0.03 * torch.randn(4, candidates, generator=generator) + shift
    signs = torch.randint(0, 2, scores.shape, generator=generator) * 2 - 1
    best = Best(4, k, torch.full((4,), 1e-6), rounding=HALF)
    for start in range(0, candidates, wide):
        best.update((scores * (1 + HALF * signs))[:, start : start + wide], start)
    query, candidate, _ = best.candidates()
    for number in range(4):
        right = set(scores[number].topk(min(k, candidates)).indices.tolist())
        assert right <= set(candidate[query == number].tolist())


def test_a_batch_in_a_precision_that_the_processor_emulates_is_refused(make_index, monkeypatch):
    video_index, text = make_index(random_gallery(30)), random_text(20)
    expected = video_index.rank(text, 5)
    monkeypatch.setattr("mee.products._pays_on_cpu", lambda kind: False)
    assert video_index.rank(text, 5).ids == expected.ids
    with pytest.raises(InputError, match=r"'bfloat16': this processor .*; give 'auto' or 'float32'"):
        video_index.rank(text, 5, precision="bfloat16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_gives_the_same_results(make_index, precision):
    on_cpu, text = make_index(random_gallery(5000, doubled=0.2)), random_text(100)
    on_gpu = VideoIndex(on_cpu.snapshot, device=torch.device("cuda"))
    for some in (text, Queries.of(text).part(slice(0, 1))):
        expected, found = on_cpu.rank(some, 10), on_gpu.rank(some, 10, precision=precision)
        assert found.ids == expected.ids
        np.testing.assert_array_equal(found.scores, expected.scores)
