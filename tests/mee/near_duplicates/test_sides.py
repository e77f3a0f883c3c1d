"""Which videos are on which side, by every way of saying so; and where they are."""

import pytest

from mee.errors import InputError
from mee.near_duplicates.sides import FolderNames, find_side, sides_of_annotations
from tests.mee.protocols.made_annotations import activitynet, write_json

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
    source = make_source(["v1", "v2"], clips_of_video=3)
    found, _ = find("v1#t=20,30", "v1#t=0,10", "v2", source=source)
    assert found == {"v1": ("v1#t=20,30", "v1#t=0,10"), "v2": ("v2#t=0,10", "v2#t=10,20", "v2#t=20,30")}


def test_videos_that_are_not_there():
    with pytest.raises(InputError, match=r"^4 of 5 training videos .* and 1 more\. Look elsewhere, .*--partial$"):
        find("train/a", "w", "x", "y", "z")
    found, left_out = find("train/a", "w", "x", "y", "z", partial=True)
    assert list(found) == ["train/a.mp4"]
    assert left_out == ["w", "x", "y", "z"]
    with pytest.raises(InputError, match=r"1 of 1 training videos .*: 'x'\. Look elsewhere$"):
        find("x", partial=True)
