"""What is asked: captions in their order, their right clips, and every clip that competes."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.data.pairs import Pairs
from mee.encode import Gallery
from mee.errors import InputError
from mee.evaluation.question import Asked, gallery_of
from mee.model import VideoEmbedding
from mee.protocols.protocol import Benchmark
from mee.protocols.table import PROTOCOLS
from mee.ranking.rank import group_bounds

CLIPS = ("a", "b", "c", "d")


def gallery(clip_ids, without_stream=()):
    video = VideoEmbedding(torch.zeros(len(clip_ids), 1), torch.ones(len(clip_ids), 1, dtype=torch.bool))
    return Gallery(tuple(clip_ids), video, tuple(without_stream))


def pairs(*clip_ids):
    return Pairs(tuple(f"caption {n}" for n in range(len(clip_ids))), ("v",) * len(clip_ids), clip_ids)


def benchmark(*video_ids):
    table = pd.DataFrame(columns=["query_id", "video_id", "caption", "split"])
    return Benchmark(protocol=PROTOCOLS["msvd"], train_list=None, table=table, gallery=video_ids)


@given(
    st.lists(st.lists(st.sampled_from((*CLIPS, "elsewhere")), min_size=1, max_size=3, unique=True), max_size=12),
    st.integers(0, len(CLIPS)),
)
def test_every_caption_with_a_clip_in_the_gallery_is_asked_once(rights, count):
    held = gallery(CLIPS[:count], CLIPS[count:])
    given_pairs = pairs(*map(tuple, rights))
    expected = [n for n, right in enumerate(rights) if set(right) & set(CLIPS)]
    if not expected:
        with pytest.raises(InputError, match="none of the captions to rank belongs to a clip of the gallery"):
            Asked.of(given_pairs, held)
        return
    asked = Asked.of(given_pairs, held)
    assert sorted(asked.numbers.tolist()) == expected
    assert (asked.positives.queries, asked.positives.candidates) == (len(expected), len(CLIPS))
    found = [set() for _ in expected]
    for query, candidate in zip(asked.positives.query.tolist(), asked.positives.candidate.tolist()):
        found[query].add(CLIPS[candidate])
    assert found == [set(rights[number]) & set(CLIPS) for number in asked.numbers.tolist()]
    group_bounds(asked.positives)  # captions of the same clips stand side by side, or this refuses


def test_captions_of_a_clip_keep_their_order():
    asked = Asked.of(pairs(("b",), ("a",), ("b",), ("a",)), gallery(["a", "b"]))
    assert asked.numbers.tolist() == [1, 3, 0, 2]
    assert asked.positives.candidate.tolist() == [0, 0, 1, 1]


def test_the_gallery_is_the_protocols_in_its_order(make_source):
    source = make_source(["clips/b.mp4", "a.webm", "deep/er/c.avi", "not asked.mp4"])
    found = gallery_of(benchmark("c", "a", "b"), source, partial=False)
    assert found.clip_ids == ["deep/er/c.avi", "a.webm", "clips/b.mp4"]
    assert found.left_out == ()


def test_a_video_that_is_not_there_is_refused_or_told(make_source):
    source = make_source(["a.mp4", "b.mp4"], failed={"c.mp4": "no picture"})
    with pytest.raises(InputError, match=r"2 of 4 captioned videos .* c \(no picture\); d \(not in the store\)"):
        gallery_of(benchmark("a", "b", "c", "d"), source, partial=False)
    found = gallery_of(benchmark("a", "c", "b", "d"), source, partial=True)
    assert (found.clip_ids, found.left_out) == (["a.mp4", "b.mp4"], ("c", "d"))


@pytest.mark.parametrize("partial", [False, True])
def test_a_video_that_is_cut_into_clips_is_refused(make_source, partial):
    source = make_source(["a.mp4", "b.mp4"], clips_of_video=3)
    source.clips = source.clips.drop(source.clips.index[1:3])  # of a.mp4 the first clip is left
    source.clips.index = ["a.mp4", *source.clips.index[1:]]
    with pytest.raises(
        InputError, match=r"1 of its 2 test videos cut into clips \(b.mp4#t=0,10, for one\); .*--clip"
    ):
        gallery_of(benchmark("a", "b"), source, partial=partial)
    assert gallery_of(benchmark("a"), source, partial=partial).clip_ids == ["a.mp4"]


def test_clips_of_one_video_are_pieces_whatever_they_are_called(make_source):
    source = make_source(["x1", "x2"])
    source.clips["video"] = "a.mp4"
    with pytest.raises(InputError, match=r"1 of its 1 test videos cut into clips \(x1, for one\)"):
        gallery_of(benchmark("a"), source, partial=False)


def test_a_piece_is_no_whole_video_where_the_others_failed(make_source):
    source = make_source(["a.mp4"], clips_of_video=3, failed={"a.mp4": "timed out"})
    source = replace(source, clips=source.clips.iloc[1:2])
    with pytest.raises(InputError, match=r"1 of its 1 test videos cut into clips \(a.mp4#t=10,20, for one\)"):
        gallery_of(benchmark("a"), source, partial=False)


def test_a_clip_that_the_protocol_itself_names_is_taken(make_source):
    source = make_source(["film.mkv"], clips_of_video=3)
    assert gallery_of(benchmark("film.mkv#t=10,20"), source, partial=False).clip_ids == ["film.mkv#t=10,20"]
