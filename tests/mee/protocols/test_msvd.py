"""MSVD: captions in a pickle or in JSON, and three lists."""

import pickle

import pytest

from mee.errors import InputError
from mee.protocols.load import load_benchmark


@pytest.fixture
def listed(made, tmp_path):
    """A directory with lists, the test's being a and b."""
    for split, videos in (("train", "tu"), ("val", "v"), ("test", "ab")):
        made.write_lines(tmp_path / f"{split}_list.txt", videos)
    return tmp_path


def test_the_real_lists_and_thirty_videos(real):
    with pytest.raises(InputError, match=r"falls short of msvd: .*; 660 test videos without a caption: '"):
        load_benchmark("msvd", real)
    benchmark = load_benchmark("msvd", real, partial=True)
    assert len(benchmark.table) == 1_238
    assert len(benchmark.gallery) == 670
    assert benchmark.table.groupby("split")["video_id"].nunique().to_dict() == {"train": 10, "val": 10, "test": 10}
    assert len(benchmark.shortfalls) == 3
    first = benchmark.table.iloc[0].tolist()
    assert first[:2] == ["-4wsuPCjDBc_5_15#0", "-4wsuPCjDBc_5_15"]


def test_every_caption_is_its_own_query_and_none_is_joined(made, loaded):
    table = loaded("msvd").table
    captions = made.msvd_captions()
    assert len(table) == sum(map(len, captions.values()))
    one = table[table["video_id"] == "test6_1_2"]
    assert one["query_id"].tolist() == [f"test6_1_2#{number}" for number in range(7)]
    assert one["caption"].tolist() == [f"test6_1_2 does {number}" for number in range(7)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_any_pickle_of_captions_is_read(listed, protocol):
    captions = {"a": [["two", "words"], ("três",)], "b": ["whole sentence"], "elsewhere": []}
    (listed / "raw-captions.pkl").write_bytes(pickle.dumps(captions, protocol))
    assert load_benchmark("msvd", listed, partial=True).table["caption"].tolist() == [
        "two words",
        "três",
        "whole sentence",
    ]


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (["a"], "does not hold captions by video"),
        ({"a": "x"}, "'a' has no list of captions; fetch the file again"),
        ({"a": [["x", 1]]}, "caption 0 of 'a' is neither text nor a list of words; fetch the file again"),
        ({"a": [None]}, "caption 0 of 'a' is neither text nor a list of words; fetch the file again"),
        ({"a": ["x"], "b": [" "]}, "1 caption without text: 'b#0'"),
        ({"t": ["x"]}, "has no caption of any test video of msvd; fetch its captions"),
    ],
)
def test_captions_that_are_none(made, listed, captions, message):
    made.write_json(listed / "raw-captions.json", captions)
    partial = not message.startswith("1 ")
    with pytest.raises(InputError, match=message):
        load_benchmark("msvd", listed, partial=partial)


def test_a_small_pickle_that_unfolds_to_a_huge_text_is_refused(listed):
    words = ["word" * 1000] * 1000  # each list is held once, each word too
    (listed / "raw-captions.pkl").write_bytes(pickle.dumps({"a": [words] * 100_000, "b": [words]}))
    with pytest.raises(InputError, match=r"holds the same text again and again, as no file of captions does$"):
        load_benchmark("msvd", listed, partial=True)


def test_half_a_character_is_refused(made, listed):
    made.write_json(listed / "raw-captions.json", {"a": ["x \ud800"], "b": ["y"]})
    with pytest.raises(
        InputError, match=r": an id or a caption of msvd holds half a character \(a lone surrogate\); fe"
    ):
        load_benchmark("msvd", listed, partial=True)


def test_lists_that_overlap(made, listed):
    made.write_json(listed / "raw-captions.json", {"a": ["x"], "b": ["x"]})
    made.write_lines(listed / "train_list.txt", ["b", "t"])
    with pytest.raises(
        InputError, match="1 of the training videos is among the test videos too: 'b'; use lists that belong"
    ):
        load_benchmark("msvd", listed, partial=True)
