"""VATEX: official files or one of all captions, divided by lists."""

import pytest

from mee.errors import InputError
from mee.protocols.load import load_benchmark


@pytest.fixture
def small(made, tmp_path):
    """Three videos, the last two being the test."""
    videos = made.vatex("val", 3)
    made.write_json(tmp_path / "vatex_data.json", videos)
    made.write_lines(tmp_path / "test_list.txt", [video["videoID"] for video in videos[1:]])
    return tmp_path, videos


def test_every_caption_is_a_query(loaded):
    table = loaded("vatex").table
    rows = table[table["split"] == "test"]
    assert rows.groupby("video_id").size().unique().tolist() == [10]
    assert rows.iloc[0].tolist() == ["val001500_000122_000132#0", "val001500_000122_000132", "val 1500 0", "test"]


def test_one_file_of_all_captions_as_a_list_or_by_video(made, small):
    folder, videos = small
    as_list = load_benchmark("vatex", folder, partial=True)
    made.write_json(folder / "vatex_data.json", {video["videoID"]: {"enCap": video["enCap"]} for video in videos})
    assert load_benchmark("vatex", folder, partial=True).table.equals(as_list.table)
    assert as_list.gallery == tuple(video["videoID"] for video in videos[1:])
    assert len(as_list.table) == 20


def test_a_training_list_counts_more_than_the_training_file(made, full, tmp_path):
    for file in full("vatex").iterdir():
        (tmp_path / file.name).symlink_to(file)
    made.write_lines(tmp_path / "train_list.txt", [f"train{n:06d}_000122_000132" for n in range(25_990)])
    with pytest.raises(InputError, match="short of vatex: 25,990 training videos where it has 25,991; complete"):
        load_benchmark("vatex", tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda videos: videos[1].pop("enCap"), "'val000001_000122_000132' has no list 'enCap'"),
        (lambda videos: videos[1].update(enCap=[1]), "'val000001_000122_000132' has a caption that is no text"),
        (lambda videos: videos[1].pop("videoID"), "video 1 has no id 'videoID'"),
        (lambda videos: videos.append(videos[0]), "'val000000_000122_000132', which has some already"),
        (lambda videos: "x", "neither a list nor an object"),
    ],
)
def test_a_broken_video(made, small, change, says):
    folder, videos = small
    made.write_json(folder / "vatex_data.json", "x" if change(videos) == "x" else videos)
    with pytest.raises(InputError, match=says):
        load_benchmark("vatex", folder, partial=True)


def test_lists_without_captions(made, tmp_path):
    made.write_lines(tmp_path / "test_list.txt", ["a"])
    with pytest.raises(InputError, match=r"has no vatex_validation_v1.0.json or vatex_data.json; vatex is read"):
        load_benchmark("vatex", tmp_path)
