"""LSMDC: fields between tabs, ids that repeat, sentences with quotes; and multiple choice."""

import pytest

from mee.errors import InputError
from mee.protocols.table import load_benchmark

TEST = "LSMDC16_challenge_1000_publictect.csv"
CHOICES = "LSMDC16_multiple_choice_test_randomized.csv"
CLIP = "0001_American_Beauty_00.00.51.926-00.00.54.129"


def test_a_videos_id_is_its_film_and_its_clip_and_repeated_clips_keep_their_sentences_apart(
    made, loaded, tmp_path
):
    made.write_tabs(tmp_path / TEST, [[CLIP, *"1234", 'A "quote.'], ["3009_X_1.2-3.4", *"1234", "it's"]])
    benchmark = load_benchmark("lsmdc", tmp_path, partial=True)
    assert benchmark.gallery == (f"0001_American_Beauty/{CLIP}", "3009_X/3009_X_1.2-3.4")
    assert benchmark.table["caption"].tolist() == ['A "quote.', "it's"]
    assert benchmark.table["query_id"].tolist() == [CLIP, "3009_X_1.2-3.4"]
    table = loaded("lsmdc").table
    train = table[table["split"] == "train"]
    assert train["query_id"].is_unique
    again = train[train["query_id"].str.endswith("#2")]
    assert len(again) == 10_107
    assert (again["query_id"].str.removesuffix("#2") == again["video_id"].str.split("/").str[1]).all()


def test_the_circulating_test_of_999_is_refused_or_recorded_and_choices_have_their_own_training(made, tmp_path):
    made.write_tabs(tmp_path / TEST, made.lsmdc_test(999))
    with pytest.raises(InputError, match="999 test videos where it has 1,000; 999 test queries where"):
        load_benchmark("lsmdc", tmp_path)
    assert len(load_benchmark("lsmdc", tmp_path, partial=True).shortfalls) == 2
    made.write_tabs(tmp_path / CHOICES, made.choice_rows())
    made.write_tabs(tmp_path / "LSMDC16_multiple_choice_train.csv", [[CLIP, *"1234", "right", *["wrong"] * 4]])
    table = load_benchmark("lsmdc-mc", tmp_path, partial=True).table
    assert table[table["split"] == "train"]["caption"].tolist() == ["right"]


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("lsmdc", [CLIP, "1", "x"], "line 2 has 3 fields between tabs where there should be 6"),
        ("lsmdc", [CLIP, *"1234", "x", "y"], "line 2 has 7 fields"),
        ("lsmdc", ["clip_id", *"1234", "x"], "line 2 begins with 'clip_id'"),
        ("lsmdc", [CLIP, *"1234"], f"1 caption without text: '{CLIP}'"),
        ("lsmdc", ["3001_A_TEST_00.00.00.100-00.00.00.900", *"1234", "x"], "more than once: '3001_"),
        ("lsmdc-mc", [CLIP, *"1234", *"abcde"], "line 2 has 10 fields between tabs where there should be 11"),
        *(("lsmdc-mc", [CLIP, *"1234", *"abcde", answer], f"line 2 has '{answer}'") for answer in ("0", "6", "")),
    ],
)
def test_a_broken_line(made, tmp_path, name, line, says):
    rows, file = (made.lsmdc_test(1), TEST) if name == "lsmdc" else (made.choice_rows(1), CHOICES)
    made.write_tabs(tmp_path / file, [*rows, line])
    with pytest.raises(InputError, match=says):
        load_benchmark(name, tmp_path)
