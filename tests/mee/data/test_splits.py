"""Training and validation captions never share a video."""

from pathlib import Path

import pandas as pd
import pytest

from mee.data import splits as mee_splits
from mee.data.splits import SPLITS, pairs_by_split
from mee.errors import InputError
from mee.protocols.annotations import HELD_OUT


def split_pairs(table, source, **options):
    return mee_splits.split_pairs(table, source, **{"validation": 0.1, "seed": 0, "partial": False} | options)


def hashed(source, *contents):
    """The first videos have these contents; of the others nothing is known."""
    known = dict(zip(source.clips["video"], contents))
    source.clips = source.clips.assign(file_sha256=source.clips["video"].map(lambda name: known.get(name)))
    return source


SIX_THREE_THREE = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
DIGESTS = [str(number).ljust(64, "x") for number in range(12)]


def table(source, splits=None):
    """Two captions for each video of a source; splits names one split a video."""
    rows = [
        (video, f"caption {number} of {video}", splits[place] if splits else "")
        for place, video in enumerate(source.clips["video"])
        for number in range(2)
    ]
    frame = pd.DataFrame(rows, columns=["video_id", "caption", "split"])
    return frame if splits else frame.drop(columns="split")


def test_whole_videos_are_held_out_by_seed_and_never_of_test(source):
    frame, drawn = table(source), set()
    for seed in range(6):
        split, again = (split_pairs(frame, source, validation=0.25, seed=seed) for _ in range(2))
        assert split == again
        assert len(set(split.val.videos)) == 3
        assert not set(split.val.videos) & set(split.train.videos)
        assert len(split.train) + len(split.val) == len(frame)
        assert f"3 videos held out by seed {seed}" in split.notes[0]
        turned = split_pairs(frame.iloc[::-1].reset_index(), source, validation=0.25, seed=seed)
        assert set(turned.val.videos) == set(split.val.videos)
        drawn.add(tuple(sorted(set(split.val.videos))))
    assert len(drawn) > 1
    split = split_pairs(table(source, ["train"] * 6 + ["test"] * 6), source, validation=0.3)
    assert set(split.val.videos) | set(split.train.videos) == set(source.clips.index[:6])
    assert len(set(split.val.videos)) == 2


@pytest.mark.parametrize(
    ("videos", "splits", "options", "says"),
    [
        (12, ["test"] * 12, {}, "no caption has split 'train'"),
        (2, None, {}, "at least three"),
        (12, ["train"] * 12, {"select_on_test": True}, "no caption has split 'test'"),
        (12, None, {"select_on_test": True}, "no column 'split'"),
    ],
)
def test_what_cannot_be_split(make_source, videos, splits, options, says):
    source = make_source([f"v{number:02d}.mp4" for number in range(videos)])
    with pytest.raises(InputError, match=says):
        split_pairs(table(source, splits), source, **options)


@pytest.mark.parametrize("needed", [SPLITS, ("train",)])
def test_a_video_in_two_splits_is_refused_whatever_it_is_called(source, make_source, needed):
    frame = table(source, ["train"] * 6 + ["test"] * 6)
    twice = pd.DataFrame([("v00", "again", "test")], columns=frame.columns)
    with pytest.raises(InputError, match=r"1 videos are in split 'train' and in split 'test' too, 'v00\.mp4'"):
        pairs_by_split(pd.concat([frame, twice]), source, partial=False, needed=needed)
    source = make_source(["long.mp4"], clips_of_video=2)
    frame = pd.DataFrame({"video_id": source.clips.index, "caption": ["x", "y"], "split": ["train", "val"]})
    with pytest.raises(InputError, match=r"'long\.mp4'"):
        pairs_by_split(frame, source, partial=False)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (0, 9, r"1 videos of split 'train' are .* of split 'test', 'v00\.mp4' is 'v09\.mp4'"),
        (5, 8, r"split 'train' are .* of split 'val', 'v05\.mp4' is 'v08\.mp4'"),
        (6, 11, r"split 'val' are .* of split 'test', 'v06\.mp4' is 'v11\.mp4'.*--partial"),
    ],
)
def test_one_file_in_two_splits_is_refused_and_left_out_with_partial(source, first, second, says):
    contents = list(DIGESTS)
    contents[second] = contents[first]
    hashed(source, *contents)
    frame = table(source, SIX_THREE_THREE)
    with pytest.raises(InputError, match=says):
        split_pairs(frame, source)
    split = split_pairs(frame, source, partial=True)
    name, measured = source.clips.index[first], source.clips.index[second]
    assert split.left_out == (name,)
    assert split.notes == (f"left out 1 videos whose file is in another split too, '{name}'",)
    assert name not in {*split.train.videos, *split.val.videos, *split.test_videos}
    assert measured in {*split.val.videos, *split.test_videos}


def test_what_cannot_be_compared_is_reported_and_one_file_twice_in_one_split_is_no_leak(source):
    frame = table(source, SIX_THREE_THREE)
    assert "not compared" in split_pairs(frame, source).unchecked
    hashed(source, *DIGESTS[:8])
    unchecked = split_pairs(frame, source).unchecked
    assert "compared only in part" in unchecked
    assert "6 of 6 training videos and of 2 of 6 of another split" in unchecked
    hashed(source, *["a" * 64] * 6, *["b" * 64] * 3, *["c" * 64] * 3)
    split = split_pairs(frame, source)
    assert (len(set(split.train.videos)), split.unchecked) == (6, "")


def test_files_that_are_the_same_are_held_out_together_but_not_all(source):
    held = set(split_pairs(table(source), source, validation=0.25).val.videos)
    lone, copy = sorted(held)[0], sorted(set(source.clips.index) - held)[0]
    contents = {name: name * 8 for name in source.clips.index} | {copy: lone * 8}
    split = split_pairs(table(source), hashed(source, *contents.values()), validation=0.25)
    assert set(split.val.videos) == held | {copy}
    assert set(split.train.videos) == set(source.clips.index) - held - {copy}
    with pytest.raises(InputError, match="the same files as all but one"):
        split_pairs(table(source), hashed(source, *["a" * 64] * 11))


def test_the_epoch_is_selected_on_test_on_request_only_and_then_without_the_validation_split(source):
    frame, ids = table(source, SIX_THREE_THREE), source.clips.index
    usual = split_pairs(frame, source)
    assert set(usual.train.videos) == set(ids[:6])
    assert set(usual.val.videos) == set(ids[6:9])
    assert usual.notes == ()
    split = split_pairs(frame, source, select_on_test=True)
    assert (usual.selected_on_test, split.selected_on_test) == (False, True)
    assert set(split.val.videos) == set(usual.test_videos) == set(ids[9:])
    assert split.train == usual.train
    hashed(source, *DIGESTS[:6], DIGESTS[9], *DIGESTS[7:])
    split = split_pairs(frame, source, select_on_test=True, need_test=False)
    assert split.left_out == ()
    assert not set(ids[6:9]) & {*split.train.videos, *split.val.videos}


def test_a_benchmark_holds_out_a_number_at_most_a_fifth_and_the_same_wherever_they_are_stored(make_source, source):
    many = make_source([f"video{number}.mp4" for number in range(5010)])
    split = split_pairs(table(many, ["train"] * 5010), many, hold_out=HELD_OUT)
    assert (len(set(split.val.videos)), len(set(split.train.videos))) == (1000, 4010)
    frame = table(source, ["train"] * 11 + ["test"])
    for number, held in ((1, 1), (2, 2), (1000, 2)):
        split = split_pairs(frame, source, validation=0.5, hold_out=number)
        assert len(set(split.val.videos)) == held
        assert not set(split.val.videos) & set(split.test_videos)
    drawn = []
    for place in (lambda n: f"v{n:02d}.mp4", lambda n: f"{'ab'[n % 2]}/v{n:02d}.webm"):
        stored = make_source([place(number) for number in range(40)])
        split = split_pairs(table(stored), stored, hold_out=8)
        drawn.append({Path(name).stem for name in split.val.videos})
    assert len(drawn[0]) == 8
    assert drawn[0] == drawn[1]


def test_splits_that_are_not_needed_may_be_absent(source):
    frame = table(source, SIX_THREE_THREE)
    gone = pd.DataFrame([(f"gone{n}", "words", "test") for n in range(2)], columns=frame.columns)
    frame = pd.concat([gone, frame])
    with pytest.raises(InputError, match=r"gone0 \(not in the store\)"):
        split_pairs(frame, source)
    split = split_pairs(frame, source, need_test=False)
    assert split.left_out == ()
    assert split.notes == ("2 test videos are not in store, so their files were not compared",)
    assert set(split.train.videos) == set(source.clips.index[:6])
    assert set(split.test_videos) == set(source.clips.index[9:])
    with pytest.raises(InputError, match=r"gone0 \(not in the store\)"):
        split_pairs(frame, source, need_test=False, select_on_test=True)


@pytest.mark.parametrize("needed", SPLITS)
def test_a_split_that_is_needed_must_be_there(source, needed):
    frame = table(source, SIX_THREE_THREE)
    gone = pd.concat([pd.DataFrame([("gone", "words", needed)], columns=frame.columns), frame])
    with pytest.raises(InputError, match=r"1 of \d+ captioned videos .* gone"):
        pairs_by_split(gone, source, partial=False, needed=(needed,))
    by_split, left_out = pairs_by_split(gone, source, partial=True, needed=(needed,))
    assert left_out == ["gone"]
    assert [len(by_split[name]) for name in SPLITS] == [12, 6, 6]
    split = split_pairs(gone, source, partial=True)
    assert split.left_out == ("gone",)
    assert "left out 1 captioned videos" in split.notes[0]
    assert sorted(set(split.val.videos)) == list(source.clips.index[6:9])
