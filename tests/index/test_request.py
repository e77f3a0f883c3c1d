"""Requests: what is refused, and what they mean as query vectors."""

import numpy as np
import pytest

from index.request import Request
from index.searcher import Searcher
from index.storage.entries import Entries
from index.video_index import VideoIndex
from mee.encode import encode_gallery
from mee.errors import InputError


@pytest.fixture
def video_index(model, source):
    """The first clip has no stream, the second appearance alone; missing streams hold NaN."""
    gallery = encode_gallery(model, source, list(source.clips.index))
    entries = Entries.of(gallery, source.clips, model.layout)
    available, packed = entries.available.copy(), entries.packed.copy()
    available[0], available[1] = (False, False, False), (True, False, False)
    packed[~np.repeat(available, model.layout.sizes, axis=1)] = np.nan
    return VideoIndex.of(Entries(entries.table, packed, available), model.layout)


def test_a_clip_is_its_own_query(video_index):
    query = video_index.clip_query("v01.mp4")
    assert np.isfinite(query.packed).all()
    assert query.packed.shape == (1, 1, video_index.layout.total)
    assert query.logits.tolist() == [[[0, -np.inf, -np.inf]]]
    assert query.share.tolist() == [[1]]
    ranked = video_index.rank(query, 99)
    assert (ranked.ids[0][0], ranked.scores[0, 0]) == ("v01.mp4", pytest.approx(1, abs=1e-5))
    assert len(ranked.ids[0]) == sum(p.count for p in video_index.snapshot.partitions if p.pattern[0])


@pytest.mark.parametrize(
    "fields",
    [
        {"like": "v00.mp4"},
        {"like": "v01.mp4", "sentence": "a dog", "only": ("audio",)},
        {"like": "v01.mp4", "sentence": "a dog", "weights": {"audio": 1.0}},
    ],
)
def test_a_clip_that_cannot_be_compared_is_refused(video_index, model, fields, says):
    with pytest.raises(InputError, match=fields["like"]) as caught:
        Searcher(video_index, model).search([Request(**fields)])
    says(caught.value)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "nothing to look for"),
        ({"sentence": "a dog", "also": ((1.0, ""),)}, "sentence"),
        ({"sentence": " "}, "sentence"),
        ({"also": ((0.0, "a dog"),)}, "'a dog'"),
        ({"also": ((float("nan"), "a dog"),)}, "'a dog'"),
        ({"also": ((1.0, "a cat"), (-1e308, "a dog"))}, "'a dog'"),
        ({"sentence": "x", "weights": {"audio": -1.0}}, "'audio'"),
        ({"sentence": "x", "weights": {"audio": float("inf")}}, "'audio'"),
        ({"sentence": "x", "weights": {"audio": 0.0}}, "weight"),
        ({"sentence": "x", "weights": {"audio": 1.0}, "only": ("motion",)}, "'audio'"),
        ({"sentence": "x", "top": 0}, "top"),
        ({"sentence": "x", "moments": 0}, "moments"),
        ({"sentence": "x", "where": "duration <"}, "'duration <'"),
    ],
)
def test_what_is_refused(fields, name, says):
    with pytest.raises(InputError, match=name) as caught:
        Request(**fields)
    says(caught.value)


def test_requests_are_ranked_together_where_they_differ_in_the_query_alone():
    base = Request(sentence="a dog")
    same = [{"also": ((1.0, "x"),)}, {"only": ("audio",)}, {"weights": {"audio": 1.0}}, {"sentence": "a cat"}]
    assert all(Request(**{"sentence": "a dog", **fields}).shared == base.shared for fields in same)
    other = [{"like": "a"}, {"where": "True"}, {"video": "a"}, {"top": 3}, {"by_video": True}, {"plain": True}]
    assert all(Request(sentence="a dog", **fields).shared != base.shared for fields in other)
