"""DiDeMo, ActivityNet, VATEX and COCO: captions in JSON, paragraphs in the order of time, images as clips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.protocols.table import load_benchmark
from tests.mee.protocols.made_annotations import activitynet, coco, didemo, vatex

SMALL = {
    "activitynet": ("val_1.json", lambda: activitynet("val", 1)),
    "coco": ("captions_val2017.json", lambda: coco(1, 2, 4)),
    "didemo": ("test_data.json", lambda: didemo("test", 1)),
    "vatex": ("vatex_validation_v1.0.json", lambda: vatex("val", 3)),
}
TIME = "'v_val0' has a time"
NO_TIMES = ([2], ["2", 3], [float("nan"), 3], [10**400, 3])
VIDEO = "'val000001_000122_000132'"


def test_sentences_are_joined_in_the_order_of_time(loaded):
    didemo, activitynet = (loaded(name).table for name in ("didemo", "activitynet"))
    assert [table[table["split"] == "test"].iloc[7].tolist() for table in (didemo, activitynet)] == [
        ["test7.mp4", "test7.mp4", "start of 7 end of 7", "test"],
        ["v_val7", "v_val7", "First 7. Then 7.", "test"],
    ]


def test_didemo_takes_the_mean_of_several_peoples_times_and_needs_its_training_list(made, full, tmp_path):
    """'b' starts at (0 + 0 + 6) / 3 = 2 and 'a' at 1; 'd' and 'c' start at 4 and end at 5 and 4."""
    spans = {"b": [[0, 1], [0, 1], [6, 7]], "a": [[1, 1], [1, 2]], "d": [[4, 5]], "c": [[4, 4]]}
    content = [{"video": "v.avi", "description": text, "times": times} for text, times in spans.items()]
    made.write_json(tmp_path / "test_data.json", content)
    assert load_benchmark("didemo", tmp_path, partial=True).table["caption"].tolist() == ["a b c d"]
    for name in ("train_data.json", "test_data.json"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to(full("didemo") / name)
    with pytest.raises(
        InputError,
        match="does not match didemo: 8,395 training videos where it has 8,392, those of train_list.txt, ",
    ):
        load_benchmark("didemo", tmp_path)


@given(starts=st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_sentences_of_one_time_stay_in_the_files_order(made, tmp_path_factory, starts):
    folder = tmp_path_factory.mktemp("activitynet")
    record = {
        "duration": 20,
        "timestamps": [[start, 10] for start in starts],
        "sentences": [f"{'zyxwvuts'[number]}{number}" for number in range(len(starts))],  # against the alphabet
    }
    made.write_json(folder / "val_1.json", {"v_x": record})
    caption = load_benchmark("activitynet", folder, partial=True).table["caption"][0]
    places = [int(word[1:]) for word in caption.split()]
    assert places == sorted(places, key=lambda number: (starts[number], number))


def test_a_video_without_words_is_no_query(made, tmp_path):
    content = made.activitynet("val", 3)
    content["v_val1"]["sentences"] = [" ", ""]
    made.write_json(tmp_path / "val_1.json", content)
    benchmark = load_benchmark("activitynet", tmp_path, partial=True)
    assert benchmark.gallery == ("v_val0", "v_val1", "v_val2")
    assert benchmark.table["video_id"].tolist() == ["v_val0", "v_val2"]
    assert "1 test video without a caption: 'v_val1'" in benchmark.shortfalls


def test_vatex_has_ten_queries_a_video_from_one_file_or_three_as_a_list_or_by_video(made, loaded, tmp_path):
    table = loaded("vatex").table
    rows = table[table["split"] == "test"]
    assert rows.groupby("video_id").size().unique().tolist() == [10]
    assert rows.iloc[0].tolist() == ["val001500_000122_000132#0", "val001500_000122_000132", "val 1500 0", "test"]
    videos = made.vatex("val", 3)
    made.write_lines(tmp_path / "test_list.txt", [video["videoID"] for video in videos[1:]])
    with pytest.raises(InputError, match=r"has no vatex_validation_v1.0.json or vatex_data.json; vatex is read"):
        load_benchmark("vatex", tmp_path)
    made.write_json(tmp_path / "vatex_data.json", videos)
    as_list = load_benchmark("vatex", tmp_path, partial=True)
    by_video = {video["videoID"]: {"enCap": video["enCap"]} for video in videos}
    made.write_json(tmp_path / "vatex_data.json", by_video)
    assert load_benchmark("vatex", tmp_path, partial=True).table.equals(as_list.table)
    assert as_list.gallery == tuple(video["videoID"] for video in videos[1:])
    assert len(as_list.table) == 20


def test_a_training_list_counts_more_than_the_training_file(made, full, tmp_path):
    for file in full("vatex").iterdir():
        (tmp_path / file.name).symlink_to(file)
    made.write_lines(tmp_path / "train_list.txt", [f"train{n:06d}_000122_000132" for n in range(25_990)])
    with pytest.raises(
        InputError, match="does not match vatex: 25,990 training videos where it has 25,991; complete"
    ):
        load_benchmark("vatex", tmp_path)


def test_the_real_coco_file_of_fifty_images(real):
    short = "50 test videos where it has 5,000; 250 test queries where it has 25,014"
    with pytest.raises(InputError, match=short):
        load_benchmark("coco", real)
    benchmark = load_benchmark("coco", real, partial=True)
    assert (len(benchmark.gallery), benchmark.gallery[0]) == (50, "000000397133.jpg")
    assert len(benchmark.table) == 250
    one = benchmark.table[benchmark.table["query_id"] == "441"].iloc[0].tolist()
    assert one == ["441", "000000331352.jpg", "A small closed toilet in a cramped space.", "test"]
    assert (benchmark.table["caption"] == benchmark.table["caption"].str.strip()).all()


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("activitynet", lambda made: made["v_val0"].update(sentences=["one"]), "'v_val0' has 1 sentences and 2"),
        ("activitynet", lambda made: made["v_val0"].update(sentences=["one", 2]), "'v_val0' has a sentence that"),
        ("activitynet", lambda made: made["v_val0"].update(timestamps=None), "'v_val0' has no list 'timestamps'"),
        *(("activitynet", lambda m, s=s: m["v_val0"].update(timestamps=[[0, 1], s]), TIME) for s in NO_TIMES),
        ("activitynet", [], "does not hold paragraphs by video"),
        ("activitynet", {}, "names no test video"),
        ("coco", lambda made: made.pop("images"), "has no list 'images'"),
        ("coco", lambda made: made["images"][1].update(id=1), r"images\[1\] has the id '1'"),
        ("coco", lambda made: made["images"][1].pop("file_name"), r"images\[1\] has no id 'file_name'"),
        ("coco", lambda made: made["images"][1].update(file_name="000000000001.jpg"), "than once: '0+1.jpg'"),
        ("coco", lambda made: made["annotations"][2].update(image_id=9), r"annotations\[2\] is about image '9'"),
        ("coco", lambda made: made["annotations"][2].pop("caption"), r"annotations\[2\] has no text 'caption'"),
        ("coco", lambda made: made["annotations"][2].update(id=0), "id of another one: '0'"),
        ("didemo", lambda made: made[0].update(times=[]), "description 0 has no times"),
        ("didemo", lambda made: made[0].update(times=[[1]]), "description 0 has a time that is no start and end"),
        ("didemo", lambda made: made[0].update(description=None), "description 0 has no text 'description'"),
        ("didemo", lambda made: made[0].update(video=""), "description 0 has no id 'video'"),
        ("didemo", {}, "is not a list of descriptions"),
        ("vatex", lambda made: made[1].pop("enCap"), f"{VIDEO} has no list 'enCap'"),
        ("vatex", lambda made: made[1].update(enCap=[1]), f"{VIDEO} has a caption that is no text"),
        ("vatex", lambda made: made[1].pop("videoID"), "video 1 has no id 'videoID'"),
        ("vatex", lambda made: made.append(made[0]), "'val000000_000122_000132' a second time"),
        ("vatex", "x", "neither a list nor an object"),
    ],
)
def test_a_broken_file(made, tmp_path, name, change, says):
    file, make = SMALL[name]
    content = make() if callable(change) else change
    if callable(change):
        change(content)
    made.write_json(tmp_path / file, content)
    made.write_lines(tmp_path / "test_list.txt", [VIDEO.strip("'")])
    with pytest.raises(InputError, match=says):
        load_benchmark(name, tmp_path, partial=True)
