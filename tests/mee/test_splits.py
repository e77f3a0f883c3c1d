"""Training and validation captions never share a video."""

import pandas as pd
import pytest

from mee.errors import InputError
from mee.splits import pairs_by_split, split_pairs
from mee.train_config import TrainConfig


def table(source, splits=None):
    """Two captions for each video of a source; splits names one split a video."""
    rows = [
        (video, f"caption {number} of {video}", splits[place] if splits else "")
        for place, video in enumerate(source.clips["video"])
        for number in range(2)
    ]
    frame = pd.DataFrame(rows, columns=["video_id", "caption", "split"])
    return frame if splits else frame.drop(columns="split")


def test_the_files_own_splits_are_kept(source):
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    split = split_pairs(table(source, splits), source, TrainConfig(), partial=False)
    assert sorted(set(split.train.videos)) == list(source.clips.index[:8])
    assert sorted(set(split.val.videos)) == list(source.clips.index[8:10])
    assert split.notes == ()


def test_a_video_in_two_splits_is_refused_whatever_it_is_called(source):
    frame = table(source, ["train"] * 6 + ["test"] * 6)
    twice = pd.DataFrame([("v00", "again", "test")], columns=frame.columns)
    with pytest.raises(InputError, match=r"split 'train' and in split 'test' too, 'v00\.mp4'"):
        pairs_by_split(pd.concat([frame, twice]), source, partial=False)


def test_two_clips_of_one_video_in_two_splits_are_refused(make_source):
    source = make_source(["long.mp4"], clips_of_video=2)
    first, second = source.clips.index
    frame = pd.DataFrame({"video_id": [first, second], "caption": ["x", "y"], "split": ["train", "val"]})
    with pytest.raises(InputError, match="give each video one split"):
        pairs_by_split(frame, source, partial=False)


def test_whole_videos_are_held_out_by_seed(source):
    frame = table(source)
    drawn = set()
    for seed in range(6):
        config = TrainConfig(validation=0.25, seed=seed)
        split, again = (split_pairs(frame, source, config, partial=False) for _ in range(2))
        assert split == again
        assert len(set(split.val.videos)) == 3
        assert not set(split.val.videos) & set(split.train.videos)
        assert len(split.train) + len(split.val) == len(frame)
        assert f"3 videos held out by seed {seed}" in split.notes[0]
        drawn.add(tuple(sorted(set(split.val.videos))))
    assert len(drawn) > 1


def test_the_order_of_captions_does_not_change_what_is_held_out(source):
    frame = table(source)
    one, other = (
        split_pairs(rows, source, TrainConfig(), partial=False) for rows in (frame, frame.iloc[::-1].reset_index())
    )
    assert set(one.val.videos) == set(other.val.videos)


def test_without_validation_videos_they_are_held_out_of_training_and_never_of_test(source):
    frame = table(source, ["train"] * 6 + ["test"] * 6)
    split = split_pairs(frame, source, TrainConfig(validation=0.3), partial=False)
    assert set(split.val.videos) | set(split.train.videos) == set(source.clips.index[:6])
    assert len(set(split.val.videos)) == 2


def test_nothing_to_train_on_is_refused(source):
    with pytest.raises(InputError, match="no caption has split 'train'"):
        split_pairs(table(source, ["test"] * 12), source, TrainConfig(), partial=False)


def test_too_few_videos_to_hold_one_out_are_refused(make_source):
    source = make_source(["a.mp4", "b.mp4"])
    with pytest.raises(InputError, match="at least three"):
        split_pairs(table(source), source, TrainConfig(), partial=False)


def test_what_partial_leaves_out_is_told_and_keeps_splits_aligned(source):
    frame = table(source, ["train"] * 8 + ["val"] * 2 + ["test"] * 2)
    unknown = pd.DataFrame([("gone.mp4", "nobody knows", "val")], columns=frame.columns)
    split = split_pairs(pd.concat([unknown, frame]), source, TrainConfig(), partial=True)
    assert split.left_out == ("gone.mp4",)
    assert "left out 1 captioned videos" in split.notes[0]
    assert sorted(set(split.val.videos)) == list(source.clips.index[8:10])
