"""Hits that look and sound alike are shown once; and what a whole video is like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.hit import ALIKE, LEAST, SHARED
from index.request import Request
from index.searcher import Searcher
from index.text_side import Text
from mee.errors import InputError
from tests.index.galleries import LAYOUT, SPOKEN, clip_rows, entries_of, in_memory, random_gallery

FEW = 50


def searcher_of(video_index):
    return Searcher(video_index, Text(lambda: None, reason="tests have none"))


def found_by(searcher, **fields):
    return searcher.search([Request(**fields)])[0]


def alike_of(gallery, videos):
    """(G, G) whether clips are alike, by the equation."""
    x, there = np.nan_to_num(gallery.video.packed.double().numpy()), gallery.video.available.numpy()
    both = there[:, None] & there
    cosines = np.full(both.shape, np.nan)
    for m, its in enumerate(LAYOUT.slices):
        centred = x[:, its] - x[there[:, m]][:, its].sum(0) / (there[:, m].sum() + FEW)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        cosines[..., m] = np.where(both[..., m], centred @ centred.T, np.nan)
    shared = (both.sum(-1) >= SHARED) | (there[:, None] == there).all(-1)
    cosines[~both.any(-1)] = -1
    alike = shared & (np.nanmean(cosines, axis=-1) >= ALIKE) & (np.nanmin(cosines, axis=-1) >= LEAST)
    return alike & (np.array(videos)[:, None] != np.array(videos))


@given(seed=st.integers(0, 2**31), top=st.integers(1, 30), doubled=st.sampled_from([0.0, 0.3, 0.9]))
def test_of_alike_clips_the_best_is_shown_with_the_others(seed, top, doubled):
    gallery = random_gallery(60, seed, doubled=doubled)
    searcher, like = searcher_of(in_memory(entries_of(gallery))), gallery.clip_ids[0]
    everything = found_by(searcher, like=like, top=100)
    videos = clip_rows(gallery)["video"]
    alike = alike_of(gallery, [videos[clip_id] for clip_id in gallery.clip_ids])
    row = {clip_id: n for n, clip_id in enumerate(gallery.clip_ids)}
    wanted, place = [], {}
    for hit in everything:
        if not any(alike[row[hit.clip_id], row[other]] for other in wanted):
            place[hit.clip_id] = len(wanted)
            wanted.append(hit.clip_id)
    shown = found_by(searcher, like=like, top=top, fold=True)
    assert [hit.clip_id for hit in shown] == wanted[:top]
    assert [hit.rank for hit in shown] == [*range(1, len(shown) + 1)]
    assert all(alike[row[hit.clip_id], row[copy]] for hit in shown for copy in hit.copies)
    folded = [copy for hit in shown for copy in hit.copies]
    assert len(folded) == len(set(folded))
    assert not {*folded} & {*wanted}
    if len(wanted) < top:  # then everything was looked at
        assert {*folded, *wanted} == {hit.clip_id for hit in everything}
    assert found_by(searcher, like=like, top=top, fold=True, by_video=True) == found_by(
        searcher, like=like, top=top, by_video=True
    )


def copies_of(count, others, **columns):
    """One clip `count` times, each in a video of its own, and others."""
    gallery = random_gallery(count + others, 3, missing=0.0)
    gallery.video.packed[:count] = gallery.video.packed[0]
    names = [f"v{n}" for n in range(count + others)]
    return gallery, searcher_of(in_memory(entries_of(gallery, video=names, **columns)))


def test_the_search_is_widened_until_enough_is_shown():
    gallery, searcher = copies_of(400, 9)
    shown = found_by(searcher, like=gallery.clip_ids[0], top=5, fold=True)
    assert len(shown) == 5
    assert {len(shown[0].copies), *(len(hit.copies) for hit in shown[1:])} == {398, 0}
    assert shown[0].to_dict()["copies"] == [*shown[0].copies]
    assert len(found_by(searcher, like=gallery.clip_ids[0], top=50, fold=True)) == 10
    least = shown[2].score
    assert len(found_by(searcher, like=gallery.clip_ids[0], top=50, fold=True, min_score=least)) == 3


def test_what_sounds_otherwise_has_one_stream_or_is_of_the_same_video_is_not_folded():
    gallery, searcher = copies_of(5, 0)
    like, other_sound, picture, silent, copy = gallery.clip_ids
    assert [len(hit.copies) for hit in found_by(searcher, like=like, fold=True)] == [3]
    gallery.video.packed[1, LAYOUT.slices[2]] *= -1
    gallery.video.available[2, 1:] = False
    gallery.video.available[3, 2] = False
    searcher = searcher_of(in_memory(entries_of(gallery, video=[f"v{n}" for n in range(5)])))
    hits = found_by(searcher, like=like, fold=True)
    assert {hit.clip_id: hit.copies for hit in hits} == {copy: (silent,), other_sound: (), picture: ()}
    searcher = searcher_of(in_memory(entries_of(copies_of(4, 0)[0], video=["v"] * 4)))
    assert [hit.copies for hit in found_by(searcher, like=like, fold=True)] == [()] * 3


@pytest.mark.parametrize("layout", [LAYOUT, SPOKEN[0]])
def test_like_a_video_is_like_the_mean_of_its_clips(layout):
    gallery = random_gallery(40, 5, layout=layout)
    video_index = in_memory(entries_of(gallery, layout), layout)
    searcher, videos = searcher_of(video_index), clip_rows(gallery)["video"]
    clips = [gallery.clip_ids.index(clip_id) for clip_id in videos.index[videos == "v3.mp4"]]
    query, there = video_index.clip_query("v3.mp4"), gallery.video.available.numpy()
    for m, its in enumerate(layout.slices):
        have = [n for n in clips if there[n, m]]
        assert np.isfinite(query.logits[0, 0, m]) == bool(have)
        parts = [video_index.clip_query(gallery.clip_ids[n]).packed[0, 0, its] for n in have]
        if parts:
            mean = np.mean(parts, axis=0, dtype=float)
            np.testing.assert_allclose(query.packed[0, 0, its], mean / np.linalg.norm(mean), atol=1e-6)
    found = {hit.clip_id for hit in found_by(searcher, like="v3.mp4", top=99)}
    assert found == set(gallery.clip_ids) - {gallery.clip_ids[n] for n in clips}
    assert found_by(searcher, like="V3", top=9) == found_by(searcher, like="v3.mp4", top=9)
    removed = video_index.snapshot.segments[0].live_rows([gallery.clip_ids[clips[0]]])
    segment = video_index.snapshot.segments[0].without(removed)
    fewer = searcher_of(type(video_index)(video_index.snapshot.with_segments([segment])))
    assert found_by(fewer, like="v3.mp4", top=99) != found_by(searcher, like="v3.mp4", top=99)
    with pytest.raises(InputError, match="v99"):
        found_by(searcher, like="v99.mp4")
