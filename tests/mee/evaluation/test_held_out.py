"""What an evaluation may rank."""

from dataclasses import replace

import pandas as pd
import pytest

from mee.errors import InputError
from mee.evaluation.held_out import gallery_videos, held_out_pairs
from mee.protocols.protocol import Benchmark
from mee.protocols.table import PROTOCOLS


def table(source, splits=None):
    frame = pd.DataFrame({"video_id": source.clips["video"], "caption": "words"}).reset_index(drop=True)
    return frame if splits is None else frame.assign(split=splits)


def record(source, train, val):
    videos = list(source.clips["video"])
    return {"videos": {"train": videos[:train], "val": videos[train : train + val]}}


GONE = ["gone.mp4", "words", "train"]
SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
UNNAMED = ["train"] * 9 + ["test"] * 3  # what training held out is among "train"


def held(source, splits=SPLITS, train=6, val=3, *, split="test", partial=False, more=(), **changes):
    """Of the videos of a source in these splits, and of one more, by a model that learnt the first ones."""
    frame = table(source, splits)
    if more:
        frame.loc[len(frame)] = more
    trained = {**record(source, train, val), **changes}
    return held_out_pairs(frame, source, trained, split=split, partial=partial)


@pytest.mark.parametrize(
    ("splits", "train", "changes", "split", "expected", "selected"),
    [
        (SPLITS, 6, {}, None, ("test", 9, 12), False),
        (SPLITS, 6, {}, "val", ("val", 6, 9), True),
        (SPLITS, 6, {"selects": False}, "val", ("val", 6, 9), False),
        (None, 9, {}, None, ("val", 9, 12), True),
        (UNNAMED, 6, {}, "val", ("val", 6, 9), True),
    ],
)
def test_which_videos_are_ranked(source, splits, train, changes, split, expected, selected):
    held_out = held(source, splits, train, split=split, **changes)
    name, first, end = expected
    assert (held_out.split, held_out.selected) == (name, selected)
    assert list(held_out.pairs.videos) == list(source.clips["video"][first:end])
    assert ["selected on these videos" in note for note in held_out.notes] == [True] * selected


@pytest.mark.parametrize(
    ("splits", "options", "says"),
    [
        (SPLITS, {"train": 10, "val": 0}, r"trained on 1 videos of split 'test', 'v09\.mp4'"),
        (None, {"train": 9}, "no column 'split'"),
        (None, {"videos": {}, "split": None}, "no caption is in split 'val'"),
        (
            UNNAMED,
            {"split": "val", "videos": {"train": [], "val": ["gone.mp4"]}, "more": GONE},
            r"gone\.mp4 \(not",
        ),
    ],
)
def test_what_cannot_be_ranked_is_refused(source, splits, options, says):
    with pytest.raises(InputError, match=says):
        held(source, splits, **options)


def test_what_is_left_out_makes_the_result_partial(source):
    held_out = held(source, partial=True, more=["gone.mp4", "words", "test"])
    assert held_out.left_out == ("gone.mp4",)
    assert "partial: left out 1" in held_out.notes[0]
    held_out = held(source, more=GONE)  # captions of other splits need no clips
    assert (held_out.left_out, len(held_out.pairs)) == ((), 3)


def test_a_model_selected_on_test_says_so_on_test_and_not_elsewhere(source):
    names = list(source.clips["video"])
    chosen = {"videos": {"train": names[:6], "val": [], "test": names[9:]}, "selected_on": "test"}
    held_out = held(source, **chosen)
    assert held_out.selected
    assert "selected on this very test (--select-on-test)" in held_out.notes[0]
    assert held(source, split="val", **chosen).notes == ()
    assert not held(source, selects=False, **chosen).selected


def test_a_benchmarks_ids_are_known_in_another_store(make_source):
    source = make_source([f"test/v{number}.mp4" for number in range(4)])
    frame = table(source, "test")
    elsewhere = {"videos": {"train": ["all/v2.webm", "all/v9.webm"], "val": [], "test": ["all/v3.webm"]}}
    settings = {"split": "test", "partial": False}
    with pytest.raises(InputError, match=r"trained on 1 videos of split 'test', 'test/v2\.mp4'"):
        held_out_pairs(frame, source, elsewhere, protocol="msrvtt-full", **settings)
    assert held_out_pairs(frame.drop(index=2), source, elsewhere, protocol="msrvtt-full", **settings).selected
    own = held_out_pairs(frame, source, elsewhere, **settings)
    assert (own.selected, len(own.pairs)) == (False, 4)


def test_a_file_under_two_names_is_refused(source):
    source.clips = source.clips.assign(file_sha256=[f"{number:064x}" for number in range(0, 12 * 2**200, 2**200)])
    seen = {"train": ["elsewhere.mp4"], "val": []}
    assert held(source, videos=seen, contents={"train": {"elsewhere.mp4": "f" * 16}}).unchecked == ""
    same = {"train": {"elsewhere.mp4": source.clips["file_sha256"]["v10.mp4"][:16]}}
    with pytest.raises(InputError, match=r"'v10\.mp4' is 'elsewhere\.mp4'"):
        held(source, videos=seen, contents=same)
    assert held(source, videos=seen, contents=same, split="val").pairs


def test_what_could_not_be_compared_is_told(source):
    assert "content of files was not compared" in held(source).unchecked
    unknown = held_out_pairs(table(source, SPLITS), source, {}, split=None, partial=False)
    assert "no record of its training videos" in unknown.unchecked


# ---- the gallery of a named protocol


def benchmark(*video_ids):
    table = pd.DataFrame(columns=["query_id", "video_id", "caption", "split"])
    return Benchmark(protocol=PROTOCOLS["msvd"], train_list=None, table=table, gallery=video_ids)


def test_the_gallery_is_the_protocols_in_its_order(make_source):
    source = make_source(["clips/b.mp4", "a.webm", "deep/er/c.avi", "not asked.mp4"])
    found, left_out = gallery_videos(benchmark("c", "a", "b"), source, partial=False)
    assert list(found.items()) == [("c", "deep/er/c.avi"), ("a", "a.webm"), ("b", "clips/b.mp4")]
    assert left_out == ()


def test_a_video_that_is_not_there_is_refused_or_told(make_source):
    source = make_source(["a.mp4", "b.mp4"], failed={"c.mp4": "no picture"})
    with pytest.raises(InputError, match=r"2 of 4 captioned videos .* c \(no picture\); d \(not in the store\)"):
        gallery_videos(benchmark("a", "b", "c", "d"), source, partial=False)
    found, left_out = gallery_videos(benchmark("a", "c", "b", "d"), source, partial=True)
    assert (list(found.values()), left_out) == (["a.mp4", "b.mp4"], ("c", "d"))


@pytest.mark.parametrize("partial", [False, True])
def test_a_video_that_is_cut_into_clips_is_refused(make_source, partial):
    source = make_source(["a.mp4", "b.mp4"], clips_of_video=3)
    source.clips = source.clips.drop(source.clips.index[1:3])  # of a.mp4 the first clip is left
    source.clips.index = ["a.mp4", *source.clips.index[1:]]
    with pytest.raises(
        InputError, match=r"1 of its 2 test videos cut into clips \(b.mp4#t=0,10, for one\); .*--clip"
    ):
        gallery_videos(benchmark("a", "b"), source, partial=partial)
    assert gallery_videos(benchmark("a"), source, partial=partial) == ({"a": "a.mp4"}, ())


def test_clips_of_one_video_are_pieces_whatever_they_are_called(make_source):
    source = make_source(["x1", "x2"])
    source.clips["video"] = "a.mp4"
    with pytest.raises(InputError, match=r"1 of its 1 test videos cut into clips \(x1, for one\)"):
        gallery_videos(benchmark("a"), source, partial=False)


def test_a_piece_is_no_whole_video_where_the_others_failed(make_source):
    source = make_source(["a.mp4"], clips_of_video=3, failed={"a.mp4": "timed out"})
    source = replace(source, clips=source.clips.iloc[1:2])
    with pytest.raises(InputError, match=r"1 of its 1 test videos cut into clips \(a.mp4#t=10,20, for one\)"):
        gallery_videos(benchmark("a"), source, partial=False)


def test_a_clip_that_the_protocol_itself_names_is_taken(make_source):
    source = make_source(["film.mkv"], clips_of_video=3)
    clip_id = "film.mkv#t=10,20"
    assert gallery_videos(benchmark(clip_id), source, partial=False) == ({clip_id: clip_id}, ())
