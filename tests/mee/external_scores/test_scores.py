"""A matrix as it is; inner products of two tables: one definition, whatever the block, and a margin that holds."""

from math import fsum

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.external_scores.scores import MatrixScores, Table, TableScores
from mee.ranking.rank import rank_queries
from mee.ranking.scores import Positives
from tests.mee.whole_scores import whole_matrix


def table(name, array):
    return Table(f"s.npz: {name!r}", torch.from_numpy(np.asarray(array)))


def ids(*counts):
    return [[f"{letter}{n}" for n in range(count)] for letter, count in zip("qv", counts)]


def matrix_scores(array):
    return MatrixScores(table("scores", array), *ids(*array.shape))


@given(seed=st.integers(0, 2**31))
def test_some_of_some(seed):
    rng = np.random.default_rng(seed)
    array = rng.normal(size=rng.integers(1, 12, 2)).astype(rng.choice([np.float16, np.float32, np.float64]))
    scores, expected = matrix_scores(array), array
    for _ in range(2):  # what was picked can be picked from
        counts = scores.queries, scores.candidates
        rows, columns = (rng.choice(n, rng.integers(1, n + 1), replace=False) for n in counts)
        names = [scores.query_ids[row] for row in rows], [scores.clip_ids[column] for column in columns]
        scores, expected = scores.take(rows.tolist(), columns.tolist()), expected[rows][:, columns]
        assert (list(scores.query_ids), list(scores.clip_ids)) == names
    assert (scores.queries, scores.candidates) == expected.shape
    start = int(rng.integers(scores.queries))
    for _ in range(2):
        block = scores.block(slice(start, scores.queries))
        assert (block.numpy() == expected[start:]).all()
        block[:] = -torch.inf  # a block may be written to
    query, clip = (torch.tensor(rng.integers(count, size=9)) for count in expected.shape)
    assert (scores.pairs(query, clip).numpy() == expected[query, clip]).all()


def tables(text, video, **settings):
    return TableScores(table("text", text), table("video", video), *ids(len(text), len(video)), **settings)


def random_tables(seed, size, kind=np.float32):
    rng = np.random.default_rng(seed)
    lengths = 10.0 ** rng.uniform(-3, 3, (7, 1))
    return (lengths[:3] * rng.normal(size=(3, size))).astype(kind), rng.normal(size=(7, size)).astype(kind) * 5


@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 700),
    kind=st.sampled_from([np.float16, np.float32, np.float64]),
    unit_norm=st.booleans(),
)
def test_blocks_are_within_the_margin_and_pairs_are_the_sum(seed, size, kind, unit_norm):
    text, video = random_tables(seed, size, kind)
    scores = tables(text, video, unit_norm=unit_norm)
    pairs = whole_matrix(scores)
    for _ in range(2):
        block = scores.block(slice(0, 3))
        assert pairs.dtype == block.dtype == torch.float32
        assert (block.double() - pairs.double()).abs().max() <= scores.margin
        block[:] = -torch.inf  # a block may be written to
    wide = [text.astype(np.float64), video.astype(np.float64)]
    if unit_norm:
        wide = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in wide]
    exact = [[fsum(t * v) for v in wide[1]] for t in wide[0]]
    assert (np.abs(pairs.double().numpy() - exact) <= 1e-12 * scores.margin * 2**24 + np.abs(exact) * 2**-24).all()


@given(seed=st.integers(0, 2**31), size=st.integers(1, 300))
def test_pairs_are_the_same_numbers_in_any_company_and_added_in_the_stated_order(seed, size):
    scores = tables(*random_tables(seed, size), unit_norm=bool(seed % 2))
    together = whole_matrix(scores)
    alone = [scores.pairs(torch.tensor([q]), torch.tensor([g])) for q in range(3) for g in range(7)]
    assert together.equal(torch.cat(alone).reshape(3, 7))
    picked = scores.take([2, 0], [6, 1, 3])
    assert whole_matrix(picked).equal(together[[2, 0]][:, [6, 1, 3]])
    assert (picked.query_ids, picked.clip_ids) == (("q2", "q0"), ("v6", "v1", "v3"))
    assert (picked.block(slice(0, 2)) - whole_matrix(picked)).abs().max() <= picked.margin
    assert picked.margin <= scores.margin
    rng, size, half = np.random.default_rng(seed), min(size, 60), min(size, 60) // 2
    text, video = (
        10.0 ** rng.uniform(-8, 8, (count, size)) * rng.choice([-1, 1], (count, size)) for count in (3, 7)
    )  # terms cancel so far that every other order gives other numbers
    text[:, half : 2 * half] = text[:, :half]
    video[:, half : 2 * half] = -video[:, :half] * (1 + 1e-10 * rng.uniform(size=half))
    expected = [[by_halves((t * v).tolist()) for v in video] for t in text]
    assert (whole_matrix(tables(text, video)).numpy() == np.float32(expected)).all()


@given(seed=st.integers(0, 2**31))
def test_equal_embeddings_tie_exactly_and_unit_norm_ignores_lengths(seed):
    """The right clip is there ten times: its expected rank is 5.5, however products are rounded."""
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(40, 96)).astype(np.float32)
    video = np.concatenate([np.repeat(text[:1], 10, 0), rng.normal(size=(23, 96)).astype(np.float32) * 1e-3])
    ranking = rank_queries(tables(text, video), Positives(torch.tensor([0]), torch.tensor([4]), 40, 33))
    assert ranking.t2v.rank.tolist() == [5.5]
    text, video = rng.normal(size=(3, 8)), rng.normal(size=(5, 8))
    one = tables(text, video, unit_norm=True)
    stretched = 2.0 ** rng.integers(-20, 20, (5, 1)) * video  # powers of two are exact
    assert whole_matrix(one).equal(whole_matrix(tables(text, stretched, unit_norm=True)))
    assert whole_matrix(one).abs().max() <= 1
    assert one.rule != tables(text, video).rule


def test_products_are_full_ones_whatever_the_program_lets_torch_do_and_may_underflow():
    scores = tables(*random_tables(0, 512))
    expected, before = scores.block(slice(0, 3)), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            block = scores.block(slice(0, 3))
    finally:
        torch.set_float32_matmul_precision(before)
    assert block.dtype == torch.float32
    assert block.equal(expected)
    rng = np.random.default_rng(0)  # products near 1e-44 have a few bits in float32; the margin must know
    scores = tables(rng.normal(size=(20, 64)) * 1e-22, rng.normal(size=(30, 64)) * 1e-22)
    assert (scores.block(slice(0, 20)).double() - whole_matrix(scores).double()).abs().max() <= scores.margin


def by_halves(terms):
    """The definition, in plain floats."""
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [*map(sum, zip(terms[:half], terms[half : 2 * half])), *terms[2 * half :]]
    return terms[0]


def test_embeddings_that_cannot_be_used_are_named():
    text, video = random_tables(0, 4)
    for value in (np.nan, np.inf, -np.inf):
        spoilt = video.copy()
        spoilt[5, 2] = value
        with pytest.raises(InputError, match=r"s.npz: 'video': the embedding of clip 'v5'"):
            tables(text, spoilt)
    with pytest.raises(InputError, match=r"'text' has 4 numbers a row and s.npz: 'video' 3"):
        tables(text, video[:, :3])
    wide_text, wide_video = (side.astype(np.float64) for side in (text, video))
    with pytest.raises(InputError, match="more than float32"):
        tables(wide_text * 1e20, wide_video * 1e20)
    tables(wide_text * 1e200, wide_video * 1e-150, unit_norm=True)
    text[1] = 0
    assert whole_matrix(tables(text, video))[1].abs().max() == 0
    with pytest.raises(InputError, match="'text': the embedding of query 'q1' is zero"):
        tables(text, video, unit_norm=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("unit_norm", [False, True])
def test_a_gpu_gives_the_same_pairs_and_keeps_the_margin(unit_norm):
    rng = np.random.default_rng(0)
    text, video = (rng.normal(size=(count, 768)).astype(np.float32) for count in (300, 2000))
    cpu = tables(text, video, unit_norm=unit_norm)
    gpu = tables(text, video, unit_norm=unit_norm, device=torch.device("cuda"))
    pairs = whole_matrix(cpu)
    assert whole_matrix(gpu).cpu().equal(pairs)
    assert (gpu.block(slice(0, 300)).cpu().double() - pairs.double()).abs().max() <= gpu.margin
