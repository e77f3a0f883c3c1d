"""Near-duplicates by a stream: the definition in plain loops, missing streams, several clips a video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.near_duplicates import streams as module
from mee.near_duplicates.streams import near_streams


def side_of(source, videos):
    """All clips of some videos."""
    clips = source.clips.groupby("video").groups
    return {video: tuple(clips[video]) for video in videos}


def plain_similarities(source, stream, train, test):
    """(train video, test video) -> similarity, in float64; without what has no stream."""
    pooled = {}
    for clip_id in source.clips.index:
        if source.streams[stream].get(clip_id) is not None:
            pooled[clip_id] = source.streams[stream][clip_id].astype(np.float64).mean(0)
    compared = [c for side in (train, test) for clip_ids in side.values() for c in clip_ids if c in pooled]
    centre = np.mean([pooled[clip_id] for clip_id in compared], axis=0)

    def cosine(a, b):
        a, b = pooled[a] - centre, pooled[b] - centre
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    found = {}
    for video, ours in train.items():
        for other, theirs in test.items():
            values = [cosine(a, b) for a in ours for b in theirs if a in pooled and b in pooled]
            if values:
                found[video, other] = max(values)
    return found


@given(
    seed=st.integers(0, 1000),
    clips=st.integers(1, 4),
    run=st.sampled_from([1, 3, 1024]),
    read=st.sampled_from([1, 64]),
)
def test_similarities_are_those_of_plain_loops_however_it_is_cut(make_source, seed, clips, run, read):
    source = make_source([f"v{number}" for number in range(9)], clips_of_video=clips, seed=seed, missing=0.4)
    train = side_of(source, [f"v{number}" for number in range(6)])
    test = side_of(source, ["v6", "v7", "v8"])
    expected = plain_similarities(source, "motion", train, test)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RUN", run)
        patch.setattr(module, "READ", read)
        overlap = near_streams(source, "motion", train, test, threshold=-1.0)
    found = {(pair.train, pair.test): pair.value for pair in overlap.pairs}
    assert found.keys() == expected.keys()
    for pair, value in expected.items():
        assert found[pair] == pytest.approx(value, abs=2e-6)
    seen = {video for pair in expected for video in pair}
    if expected:
        assert set(overlap.blank) == {f"v{number}" for number in range(9)} - seen


@pytest.fixture
def copied(make_source):
    """Forty videos of three clips; the second clip of v30 is nearly the third of v02."""
    source = make_source([f"v{number:02d}" for number in range(40)], clips_of_video=3, missing=0.0)
    rows = source.streams["appearance"]["v02#t=20,30"].astype(np.float32)
    source.streams["appearance"]["v30#t=10,20"] = (rows + 0.01).astype(np.float16)
    return source


def test_a_copied_clip_is_found_with_its_moment_and_what_all_clips_share_does_not_count(copied):
    names, steps = list(dict.fromkeys(copied.clips["video"])), []
    sides = side_of(copied, names[:30]), side_of(copied, names[30:])
    overlap = near_streams(copied, "appearance", *sides, threshold=0.999, on_done=lambda *done: steps.append(done))
    (pair,) = overlap.pairs
    assert (pair.train, pair.test, pair.why) == ("v02", "v30", "alike")
    assert pair.value > 0.999
    assert (pair.train_s, pair.test_s) == (20.0, 10.0)
    assert overlap.train * overlap.test == 300
    assert steps[-1] == (120, 120)
    before = near_streams(copied, "motion", *sides, threshold=0.8)
    for clip_id, rows in copied.streams["motion"].items():
        copied.streams["motion"][clip_id] = (rows.astype(np.float32) + 50).astype(np.float32)
    after = near_streams(copied, "motion", *sides, threshold=0.8)
    assert [(p.train, p.test) for p in before.pairs] == [(p.train, p.test) for p in after.pairs]
    assert before.found == after.found > 0


def test_no_copy_falls_short_of_one_by_rounding_and_clips_that_are_all_equal_are_like_nothing(make_source):
    names = [f"v{number:03d}" for number in range(200)]
    source = make_source(names, missing=0.0)
    for number in range(100):
        source.streams["appearance"][names[100 + number]] = source.streams["appearance"][names[number]]
    sides = side_of(source, names[:100]), side_of(source, names[100:])
    overlap = near_streams(source, "appearance", *sides, threshold=1.0)
    assert {(pair.train, pair.test) for pair in overlap.pairs} == set(zip(names[:100], names[100:]))
    assert max(pair.value for pair in overlap.pairs) == 1
    source.streams["audio"] = dict.fromkeys(source.clips.index, np.ones((2, 3), np.float16))
    assert near_streams(source, "audio", *sides, threshold=0.5).pairs == ()


@pytest.mark.parametrize(
    ("settings", "spoil", "says"),
    [
        ({"stream": "face"}, None, "store has no stream 'face'; it has appearance, motion, audio"),
        ({"threshold": 1.2}, None, "1.2 is out of range; try 0.85"),
        ({"threshold": float("nan")}, None, "nan is out of range"),
        ({}, dict.clear, "store: no clip that is compared has the stream 'audio'"),
        ({}, lambda rows: rows["v03#t=10,20"].fill(np.nan), "'audio' of clip 'v03#t=10,20'"),
        ({}, lambda rows: rows["v03#t=10,20"].fill(np.inf), "'audio' of clip 'v03#t=10,20'"),
    ],
)
def test_bad_input(copied, settings, spoil, says):
    if spoil is not None:
        spoil(copied.streams["audio"])
    sides = {"train": side_of(copied, ["v01", "v02"]), "test": side_of(copied, ["v03"])}
    with pytest.raises(InputError, match=says):
        near_streams(copied, **{"stream": "audio", **sides, **settings})
