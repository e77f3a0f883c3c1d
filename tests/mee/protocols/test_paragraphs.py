"""DiDeMo and ActivityNet Captions: sentences in the order of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.protocols.load import load_benchmark


def test_sentences_are_joined_in_the_order_of_time(loaded):
    didemo, activitynet = (loaded(name).table for name in ("didemo", "activitynet"))
    tests = [table[table["split"] == "test"].iloc[7].tolist() for table in (didemo, activitynet)]
    assert tests == [
        ["test7.mp4", "test7.mp4", "start of 7 end of 7", "test"],
        ["v_val7", "v_val7", "First 7. Then 7.", "test"],
    ]


def test_didemo_takes_the_mean_of_what_several_people_said(made, tmp_path):
    """'b' starts at (0 + 0 + 6) / 3 = 2 and 'a' at 1; 'd' and 'c' start at 4 and end at 5 and 4."""
    spans = {"b": [[0, 1], [0, 1], [6, 7]], "a": [[1, 1], [1, 2]], "d": [[4, 5]], "c": [[4, 4]]}
    made.write_json(
        tmp_path / "test_data.json",
        [{"video": "v.avi", "description": text, "times": times} for text, times in spans.items()],
    )
    assert load_benchmark("didemo", tmp_path, partial=True).table["caption"].tolist() == ["a b c d"]


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


def test_didemos_training_file_needs_its_list(full, tmp_path):
    for name in ("train_data.json", "test_data.json"):
        (tmp_path / name).symlink_to(full("didemo") / name)
    with pytest.raises(InputError, match="short of didemo: 8,395 training videos where it has 8,392;"):
        load_benchmark("didemo", tmp_path)


def test_a_video_without_words_is_no_query(made, tmp_path):
    content = made.activitynet("val", 3)
    content["v_val1"]["sentences"] = [" ", ""]
    made.write_json(tmp_path / "val_1.json", content)
    benchmark = load_benchmark("activitynet", tmp_path, partial=True)
    assert benchmark.gallery == ("v_val0", "v_val1", "v_val2")
    assert benchmark.table["video_id"].tolist() == ["v_val0", "v_val2"]
    assert "1 test video without a caption: 'v_val1'" in benchmark.shortfalls


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sentences": ["one"]}, "'v_val0' has 1 sentences and 2 times"),
        ({"sentences": ["one", 2]}, "'v_val0' has a sentence that is no text"),
        *(
            ({"timestamps": [[0, 1], span]}, "'v_val0' has a time that is no start and end")
            for span in ([2], ["2", 3], [float("nan"), 3], [10**400, 3])
        ),
        ({"timestamps": None}, "'v_val0' has no list 'timestamps'"),
    ],
)
def test_a_broken_video_of_activitynet(made, tmp_path, change, says):
    content = made.activitynet("val", 1)
    content["v_val0"] |= change
    made.write_json(tmp_path / "val_1.json", content)
    with pytest.raises(InputError, match=says):
        load_benchmark("activitynet", tmp_path, partial=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"times": []}, "description 0 has no times"),
        ({"times": [[1]]}, "description 0 has a time that is no start and end"),
        ({"description": None}, "description 0 has no text 'description'"),
        ({"video": ""}, "description 0 has no id 'video'"),
    ],
)
def test_a_broken_description_of_didemo(made, tmp_path, change, says):
    content = made.didemo("test", 1)
    content[0] |= change
    made.write_json(tmp_path / "test_data.json", content)
    with pytest.raises(InputError, match=says):
        load_benchmark("didemo", tmp_path, partial=True)


@pytest.mark.parametrize(
    ("name", "file", "content", "says"),
    [
        ("didemo", "test_data.json", {}, "is not a list of descriptions"),
        ("activitynet", "val_1.json", [], "does not hold paragraphs by video"),
        ("activitynet", "val_1.json", {}, "names no test video"),
    ],
)
def test_files_of_another_shape(made, tmp_path, name, file, content, says):
    made.write_json(tmp_path / file, content)
    with pytest.raises(InputError, match=says):
        load_benchmark(name, tmp_path, partial=True)
