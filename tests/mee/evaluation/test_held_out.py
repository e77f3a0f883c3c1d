"""What an evaluation may rank."""

import pandas as pd
import pytest

from mee.errors import InputError
from mee.evaluation.held_out import held_out_pairs


def table(source, splits=None):
    frame = pd.DataFrame({"video_id": source.clips["video"], "caption": "words"}).reset_index(drop=True)
    return frame if splits is None else frame.assign(split=splits)


def record(source, train, val):
    videos = list(source.clips["video"])
    return {"videos": {"train": videos[:train], "val": videos[train : train + val]}}


SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def test_the_test_split_is_the_default(source):
    held_out = held_out_pairs(table(source, SPLITS), source, record(source, 6, 3), split=None, partial=False)
    assert held_out.split == "test"
    assert list(held_out.pairs.videos) == list(source.clips["video"][9:])
    assert held_out.notes == ()


def test_figures_on_the_validation_split_say_what_they_are(source):
    held_out = held_out_pairs(table(source, SPLITS), source, record(source, 6, 3), split="val", partial=False)
    assert len(held_out.pairs) == 3
    assert "selected on these videos" in held_out.notes[0]


def test_without_named_splits_the_videos_that_training_held_out_are_ranked(source):
    held_out = held_out_pairs(table(source), source, record(source, 9, 3), split=None, partial=False)
    assert held_out.split == "val"
    assert list(held_out.pairs.videos) == list(source.clips["video"][9:])


def test_videos_that_the_model_was_trained_on_are_refused(source):
    with pytest.raises(InputError, match=r"trained on 1 videos of split 'test', 'v09\.mp4'"):
        held_out_pairs(table(source, SPLITS), source, record(source, 10, 0), split="test", partial=False)


def test_a_video_learnt_under_its_full_name_is_known_under_its_short_one(source):
    frame = table(source, SPLITS).assign(video_id=[name[:-4] for name in source.clips["video"]])
    with pytest.raises(InputError, match="trained on 3 videos"):
        held_out_pairs(frame, source, record(source, 12, 0), split="test", partial=False)


def test_a_split_that_is_not_named_or_has_no_captions_is_refused(source):
    with pytest.raises(InputError, match="no column 'split'"):
        held_out_pairs(table(source), source, record(source, 9, 3), split="test", partial=False)
    with pytest.raises(InputError, match="no caption is in split 'val'"):
        held_out_pairs(table(source), source, {}, split=None, partial=False)


def test_what_is_left_out_makes_the_result_partial(source):
    frame = table(source, SPLITS)
    frame.loc[len(frame)] = ["gone.mp4", "words", "test"]
    held_out = held_out_pairs(frame, source, record(source, 6, 3), split=None, partial=True)
    assert held_out.left_out == ("gone.mp4",)
    assert "partial: left out 1" in held_out.notes[0]


def test_no_selection_is_told_where_none_was_made(source):
    chosen = {**record(source, 6, 3), "selects": False}
    held_out = held_out_pairs(table(source, SPLITS), source, chosen, split="val", partial=False)
    assert not held_out.selected
    assert held_out.notes == ()


def test_captions_of_other_splits_need_no_clips(source):
    frame = table(source, SPLITS)
    frame.loc[len(frame)] = ["gone.mp4", "words", "train"]
    held_out = held_out_pairs(frame, source, record(source, 6, 3), split="test", partial=False)
    assert held_out.left_out == ()
    assert len(held_out.pairs) == 3
    with pytest.raises(InputError, match=r"gone\.mp4 \(not in the store\)"):  # training held some of its own out
        held_out_pairs(frame[frame["split"] != "val"], source, record(source, 6, 3), split="val", partial=False)


def test_videos_held_out_of_training_are_ranked_where_no_validation_split_is_named(source):
    frame = table(source, ["train"] * 9 + ["test"] * 3)
    held_out = held_out_pairs(frame, source, record(source, 6, 3), split="val", partial=False)
    assert list(held_out.pairs.videos) == list(source.clips["video"][6:9])
    assert held_out.selected


def test_a_model_selected_on_test_says_so_on_test_and_not_elsewhere(source):
    videos = list(source.clips["video"])
    chosen = {
        "videos": {"train": videos[:6], "val": [], "test": videos[9:]},
        "selected_on": "test",
        "selects": True,
    }
    held_out = held_out_pairs(table(source, SPLITS), source, chosen, split="test", partial=False)
    assert held_out.selected
    assert len(held_out.pairs) == 3
    assert "selected on this very test (--select-on-test)" in held_out.notes[0]
    assert held_out_pairs(table(source, SPLITS), source, chosen, split="val", partial=False).notes == ()
    unchosen = {**chosen, "selects": False}
    assert not held_out_pairs(table(source, SPLITS), source, unchosen, split="test", partial=False).selected


def test_a_benchmarks_ids_are_known_in_another_store(make_source):
    source = make_source([f"test/v{number}.mp4" for number in range(4)])
    frame = pd.DataFrame({"video_id": [f"test/v{n}.mp4" for n in range(4)], "caption": "words", "split": "test"})
    elsewhere = {"videos": {"train": ["all/v2.webm", "all/v9.webm"], "val": [], "test": ["all/v3.webm"]}}
    with pytest.raises(InputError, match=r"trained on 1 videos of split 'test', 'test/v2\.mp4'"):
        held_out_pairs(frame, source, elsewhere, split="test", partial=False, protocol="msrvtt-full")
    three = frame.drop(index=2)
    held_out = held_out_pairs(three, source, elsewhere, split="test", partial=False, protocol="msrvtt-full")
    assert held_out.selected
    own = held_out_pairs(frame, source, elsewhere, split="test", partial=False)
    assert not own.selected
    assert len(own.pairs) == 4


def test_a_file_under_two_names_is_refused(source):
    source.clips = source.clips.assign(file_sha256=[f"{number:064x}" for number in range(0, 12 * 2**200, 2**200)])
    known = dict(zip(source.clips["video"], source.clips["file_sha256"].str[:16]))
    trained = {
        "videos": {"train": ["elsewhere.mp4"], "val": []},
        "contents": {"train": {"elsewhere.mp4": "f" * 16}},
    }
    held_out = held_out_pairs(table(source, SPLITS), source, trained, split="test", partial=False)
    assert held_out.unchecked == ""
    trained["contents"]["train"]["elsewhere.mp4"] = known["v10.mp4"]
    with pytest.raises(InputError, match=r"'v10\.mp4' is 'elsewhere\.mp4'"):
        held_out_pairs(table(source, SPLITS), source, trained, split="test", partial=False)
    assert held_out_pairs(table(source, SPLITS), source, trained, split="val", partial=False).pairs


def test_what_could_not_be_compared_is_told(source):
    held_out = held_out_pairs(table(source, SPLITS), source, record(source, 6, 3), split=None, partial=False)
    assert "content of files was not compared" in held_out.unchecked
    held_out = held_out_pairs(table(source, SPLITS), source, {}, split=None, partial=False)
    assert "no record of its training videos" in held_out.unchecked
