"""Requests as vectors: clips as queries, and queries of different lengths together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.queries import Queries
from index.request.queries import clip_query, queries_of, stacked
from index.request.request import Request
from index.storage.entries import Entries
from index.video_index import VideoIndex
from mee.encode import encode_gallery
from mee.errors import InputError


@pytest.fixture
def video_index(model, source):
    """The first clip has no stream, the second appearance alone; what is missing holds NaN."""
    gallery = encode_gallery(model, source, list(source.clips.index))
    entries = Entries.of(gallery, source.clips, model.layout)
    available, packed = entries.available.copy(), entries.packed.copy()
    available[0], available[1] = (False, False, False), (True, False, False)
    packed[~np.repeat(available, model.layout.sizes, axis=1)] = np.nan
    return VideoIndex.of(Entries(entries.table, packed, available), model.layout)


def test_a_clip_is_its_own_query(video_index):
    query = clip_query("v01.mp4", video_index)
    assert np.isfinite(query.packed).all()
    assert query.packed.shape == (1, 1, video_index.layout.total)
    assert query.logits.tolist() == [[[0, -np.inf, -np.inf]]]
    assert query.share.tolist() == [[1]]
    np.testing.assert_array_equal(query.packed[0, 0], video_index.embedding("v01.mp4")[0])
    hits = video_index.search(query, 99)[0]
    assert (hits[0].clip_id, hits[0].score) == ("v01.mp4", pytest.approx(1, abs=1e-5))
    assert all("appearance" in hit.experts for hit in hits)


@given(terms=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_together_they_are_what_each_is_alone(terms, seed):
    rng = np.random.default_rng(seed)
    queries = [
        Queries(rng.normal(size=(1, t, 5)).astype(np.float32), rng.normal(size=(1, t, 2)), np.full((1, t), 1 / t))
        for t in terms
    ]
    together = stacked(queries)
    assert len(together) == len(queries)
    for pattern in (np.array([True, True]), np.array([False, True])):
        factors = together.weights(pattern) * together.share[..., None]
        for number, (query, count) in enumerate(zip(queries, terms)):
            alone = query.weights(pattern) * query.share[..., None]
            np.testing.assert_allclose(factors[number, :count], alone[0])
            assert not factors[number, count:].any()
            np.testing.assert_array_equal(together.packed[number, :count], query.packed[0])
    assert np.isfinite(together.packed).all()


def test_what_cannot_be_compared(video_index, model):
    with pytest.raises(InputError, match=r"clip 'v00\.mp4' has no stream, so nothing can be like it"):
        queries_of([Request(like="v00.mp4")], video_index, model)
    for fields in ({"only": ("audio",)}, {"weights": {"audio": 1.0}}):
        request = Request(like="v01.mp4", sentence="a dog", **fields)
        with pytest.raises(InputError, match=r"clip 'v01\.mp4' has none of the experts that are listened to"):
            queries_of([request], video_index, model)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing to look for"),
        ({"sentence": "a dog", "also": ((1.0, ""),)}, "a sentence is empty"),
        ({"also": ((0.0, "a dog"),)}, "what 'a dog' counts"),
        ({"also": ((float("nan"), "a dog"),)}, "what 'a dog' counts"),
        ({"also": ((1.0, "a cat"), (-1e308, "a dog"))}, "what 'a dog' counts"),
        ({"sentence": "x", "weights": {"audio": -1.0}}, "expert 'audio' must be a number from 0 on, got -1"),
        ({"sentence": "x", "weights": {"audio": float("inf")}}, "must be a number from 0 on, got inf"),
        ({"sentence": "x", "weights": {"audio": 0.0}}, "no expert is given a weight above 0"),
        ({"sentence": "x", "weights": {"audio": 1.0}, "only": ("motion",)}, "expert 'audio' is given a weight"),
        ({"sentence": "x", "top": 0}, "top must be at least 1, got 0"),
        ({"sentence": "x", "moments": 0}, "moments must be at least 1, got 0"),
        ({"sentence": "x", "where": "duration <"}, "the filter 'duration <'"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Request(**fields)
