"""Scores by id <-> a protocol's queries and gallery."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.external_scores.match import match_scores
from mee.external_scores.read import ScoreFile
from mee.external_scores.scores import MatrixScores, Table

REQUESTED = [("q0", ("a",)), ("q1", ("b", "c")), ("q2", ("a",))]
ALL = [query for query, _ in REQUESTED]
GALLERY = ["a", "b", "c", "d"]


def score_file(query_ids, clip_ids):
    matrix = torch.arange(len(query_ids) * len(clip_ids)).float().view(len(query_ids), -1)
    return ScoreFile("s.npy", MatrixScores(Table("s.npy", matrix), query_ids, clip_ids), {})


def cells(matched):
    """(query id, clip id) -> score, and the right pairs by id."""
    scores = matched.scores
    block = scores.block(slice(0, scores.queries))
    found = dict(zip(product(scores.query_ids, scores.clip_ids), block.flatten().tolist()))
    pairs = zip(matched.positives.query.tolist(), matched.positives.candidate.tolist())
    return found, {(scores.query_ids[query], scores.clip_ids[clip]) for query, clip in pairs}


def test_all_are_there_in_another_order():
    matched = match_scores(score_file(["q2", "q0", "q1"], ["d", "c", "b", "a"]), REQUESTED, GALLERY, partial=False)
    found, right = cells(matched)
    assert (matched.scores.clip_ids, matched.scores.query_ids) == (tuple(GALLERY), ("q0", "q1", "q2"))
    assert (found["q2", "d"], found["q0", "a"], found["q1", "c"]) == (0, 7, 9)
    assert right == {("q0", "a"), ("q1", "b"), ("q1", "c"), ("q2", "a")}
    assert (matched.queries, matched.left_out.sentences) == ((0, 1, 2), ())


@given(seed=st.integers(0, 2**31))
def test_with_partial_what_both_have_keeps_its_scores(seed):
    rng = np.random.default_rng(seed)
    protocol, gallery = [f"q{n}" for n in range(6)], [f"v{n}" for n in range(6)]
    requested = [(name, tuple(rng.choice(gallery, rng.integers(1, 3), replace=False))) for name in protocol]
    query_ids, clip_ids = (
        [str(each) for each in rng.permutation([*ids, "other"])[: rng.integers(1, 8)]]
        for ids in (protocol, gallery)
    )
    file = score_file(query_ids, clip_ids)
    given_scores = {pair: float(place) for place, pair in enumerate(product(query_ids, clip_ids))}
    kept = [n for n, (query, right) in enumerate(requested) if query in query_ids and set(right) & set(clip_ids)]
    if not kept:
        with pytest.raises(InputError, match=r"s\.npy"):
            match_scores(file, requested, gallery, partial=True)
        return
    matched = match_scores(file, requested, gallery, partial=True)
    found, right = cells(matched)
    assert matched.queries == tuple(kept)
    assert matched.scores.clip_ids == tuple(clip for clip in gallery if clip in clip_ids)
    assert found.items() <= given_scores.items()
    assert right == {(requested[n][0], clip) for n in kept for clip in requested[n][1] if clip in clip_ids}
    assert set(matched.left_out.clips) == set(gallery) - set(clip_ids)
    assert matched.left_out.queries == tuple(query for n, (query, _) in enumerate(requested) if n not in kept)
    assert matched.left_out.surplus_queries == tuple(each for each in query_ids if each == "other")
    assert matched.left_out.surplus_clips == tuple(each for each in clip_ids if each == "other")
    assert len(matched.left_out.sentences) == sum(map(bool, vars(matched.left_out).values()))


def test_queries_called_by_their_video():
    requested, clips = [("ret0", ("video1",)), ("ret1", ("video2",))], ["video1", "video2"]
    file = score_file(["video2", "video1"], clips)
    matched = match_scores(file, requested, clips, partial=False)
    assert matched.scores.block(slice(0, 2)).tolist() == [[2, 3], [0, 1]]
    assert matched.left_out.queries == ()
    part = match_scores(score_file(["video2"], clips), requested, clips, partial=True)
    assert (part.queries, part.left_out.queries) == ((1,), ("ret0",))
    several = [*requested, ("ret2", ("video2",))]  # now a video does not name one query
    with pytest.raises(InputError, match="none of its 2 query ids is one of the protocol's 3: it has 'video2'"):
        match_scores(file, several, clips, partial=False)
    both = ["a", "b"]
    crossed = match_scores(score_file(both, both), [("a", ("b",)), ("b", ("a",))], both, partial=False)
    assert crossed.scores.query_ids == ("a", "b")  # an id of the protocol comes before a video


def test_ids_in_other_spellings():
    requested, clips = [("7", ("v_1.mp4",)), ("8", ("v_2.mp4",))], ["v_1.mp4", "v_2.mp4"]
    for ids in (["8.0", "7.0"], ["2.mkv", "x/v_1"]):  # and by the right clip
        file = score_file(ids, [r"C:\v_2.mp4", "./1.npy"])
        assert match_scores(file, requested, clips, partial=False).scores.block(slice(0, 2)).tolist() == [
            [3, 2],
            [1, 0],
        ]


@pytest.mark.parametrize(
    ("query_ids", "clip_ids", "named"),
    [
        (["q0", "q1"], GALLERY, ["1 of the protocol's 3 queries, 'q2'"]),
        ([*ALL, "q3", "q4"], GALLERY, ["2 query ids", "'q3'"]),
        (ALL, ["b", "a"], ["2 of the protocol's 4 clips", "'c'"]),
        (ALL, [*GALLERY, "e"], ["1 clip ids", "'e'"]),
        (ALL, ["a", "b", "c", "dd"], ["1 of the protocol's 4 clips", "'d'", "1 clip ids", "'dd'"]),
        (ALL, ["a1.mp4", "b1.mp4"], ["none of its 2 clip ids", "'a1.mp4'", "'a'"]),
    ],
)
def test_ids_that_do_not_match_are_named(query_ids, clip_ids, named):
    with pytest.raises(InputError) as caught:
        match_scores(score_file(query_ids, clip_ids), REQUESTED, GALLERY, partial=False)
    said = str(caught.value)
    assert said.startswith("s.npy")
    assert [each for each in named if each not in said] == []
    assert said.startswith("s.npy: none") or "--partial" in said


@pytest.mark.parametrize(
    ("ids", "requested", "gallery", "says"),
    [
        ((["q0"], ["b", "d"]), REQUESTED, GALLERY, "scores no query together with its right clip"),
        ((["q0"], ["a"]), [("q0", ("z",))], ["a"], "query 'q0' are not all in the gallery"),
        ((["q0"], ["a"]), [("q0", ("a",))], ["a", "a"], "names a clip twice"),
    ],
)
def test_what_contradicts_itself(ids, requested, gallery, says):
    with pytest.raises(InputError if requested is REQUESTED else ValueError, match=says):
        match_scores(score_file(*ids), requested, gallery, partial=True)
