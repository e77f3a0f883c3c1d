"""Near-duplicates by a stream: plain loops, several clips a video; which videos are on which side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.near_duplicates import streams as module
from mee.near_duplicates.sides import FolderNames, find_side, sides_of_annotations
from mee.near_duplicates.streams import near_streams
from tests.mee.protocols.made_annotations import activitynet, write_json


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


@given(st.integers(0, 1000), st.integers(1, 4), st.sampled_from([1, 3, 1024]), st.sampled_from([1, 64]))
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


# ---- which videos are on which side

PLACE = FolderNames("'videos'", ["train/a.mp4", "train/b.mp4", "test/c.mp4", "test/a.mkv"])


@pytest.fixture
def table(tmp_path):
    """table(*splits): a caption of each of the videos a, b, … in these splits."""

    def write(*splits):
        rows = (f"{video},x{',' * bool(split)}{split}\n" for video, split in zip("aabcd", splits))
        header = "video_id,caption,split\n" if splits[0] else "video_id,caption\n"
        (tmp_path / "captions.csv").write_text(header + "".join(rows))
        return tmp_path / "captions.csv"

    return write


def find(*ids, source=PLACE, partial=False):
    return find_side(ids, "training", source, partial=partial, remedy="Look elsewhere")


@pytest.mark.parametrize(
    ("split", "says"),
    [("train", "no test videos"), ("test", "no training"), ("val", "no training"), ("", "no column 'split'")],
)
def test_a_caption_table_has_both_sides(table, split, says):
    path = table("train", "train", "train", "val", "test")
    assert sides_of_annotations(path, "folder", None, partial=False) == ((("a", "b"), ("d",)), ())
    with pytest.raises(InputError, match=rf"captions\.csv .*{says}.*--train and --test"):
        sides_of_annotations(table(split), "folder", None, partial=False)


def test_a_named_protocol(tmp_path):
    test = activitynet("val", 2)
    test["v_val1"]["sentences"] = ["", ""]  # of the gallery, though no caption names it
    write_json(tmp_path / "val_1.json", test)
    with pytest.raises(InputError, match="no training captions of activitynet"):
        sides_of_annotations(tmp_path, "activitynet", None, partial=True)
    write_json(tmp_path / "train.json", activitynet("train", 2))
    sides, shortfalls = sides_of_annotations(tmp_path, "activitynet", None, partial=True)
    assert sides == (("v_train0", "v_train1"), ("v_val0", "v_val1"))
    assert "1 test video without a caption: 'v_val1'" in shortfalls


def test_videos_are_found_by_path_or_name_once_each_and_clips_are_those_that_are_named(make_source):
    found, left_out = find("train/a", "train/b.mp4", "train/b", "test/a.mkv")
    assert list(found) == ["train/a.mp4", "train/b.mp4", "test/a.mkv"]
    assert found["train/b.mp4"] == ("train/b.mp4",)
    assert left_out == []
    found, _ = find("v1#t=20,30", "v1#t=0,10", "v2", source=make_source(["v1", "v2"], clips_of_video=3))
    assert found == {"v1": ("v1#t=20,30", "v1#t=0,10"), "v2": ("v2#t=0,10", "v2#t=10,20", "v2#t=20,30")}


def test_videos_that_are_not_there():
    with pytest.raises(InputError, match=r"^4 of 5 training videos .* and 1 more\. Look elsewhere, .*--partial$"):
        find("train/a", "w", "x", "y", "z")
    found, left_out = find("train/a", "w", "x", "y", "z", partial=True)
    assert list(found) == ["train/a.mp4"]
    assert left_out == ["w", "x", "y", "z"]
    with pytest.raises(InputError, match=r"1 of 1 training videos .*: x \(not in it\)\. Look elsewhere$"):
        find("x", partial=True)
