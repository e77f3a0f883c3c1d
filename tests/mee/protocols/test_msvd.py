"""MSVD: captions in JSON or in an untrusted pickle, and three lists. LSMDC: tables between tabs."""

import collections
import os
import pickle
import struct
import tracemalloc

import pytest

from mee.data.splits import SPLITS
from mee.errors import InputError
from mee.protocols.table import load_benchmark


@pytest.fixture
def listed(made, tmp_path):
    """A directory with lists, the test's being a and b."""
    for split, videos in (("train", "tu"), ("val", "v"), ("test", "ab")):
        made.write_lines(tmp_path / f"{split}_list.txt", videos)
    return tmp_path


@pytest.fixture
def load(listed):
    """load(bytes): the captions of a pickle."""

    def run(content):
        (listed / "raw-captions.pkl").write_bytes(content)
        return load_benchmark("msvd", listed, partial=True).table["caption"].tolist()

    return run


def test_the_real_lists_and_thirty_videos(real):
    with pytest.raises(InputError, match=r"does not match msvd: .*; 660 test videos without a caption: '"):
        load_benchmark("msvd", real)
    benchmark = load_benchmark("msvd", real, partial=True)
    assert (len(benchmark.table), len(benchmark.gallery), len(benchmark.shortfalls)) == (1_238, 670, 3)
    assert set(benchmark.table.groupby("split")["video_id"].nunique().items()) == {(s, 10) for s in SPLITS}
    assert benchmark.table.iloc[0].tolist()[:2] == ["-4wsuPCjDBc_5_15#0", "-4wsuPCjDBc_5_15"]


@pytest.mark.parametrize("name", ["captions_msvd.json", "msvd_captions.json", "AllVideoDescriptions.txt"])
def test_other_names_and_a_caption_a_line(listed, name):
    content = '{"a": ["a dog runs", "rain"], "b": ["x"]}'
    (listed / name).write_text(content if name.endswith("json") else "# MSVD\n\na a dog runs\na rain\nb x\n")
    table = load_benchmark("msvd", listed, partial=True).table
    assert dict(zip(table["query_id"], table["caption"])) == {"a#0": "a dog runs", "a#1": "rain", "b#0": "x"}


def test_a_line_without_a_caption(listed):
    (listed / "AllVideoDescriptions.txt").write_text("a a dog\nb\n")
    with pytest.raises(InputError, match="line 2 has no caption"):
        load_benchmark("msvd", listed, partial=True)


def test_every_caption_is_its_own_query_and_none_is_joined(made, loaded):
    table = loaded("msvd").table
    assert len(table) == sum(map(len, made.msvd_captions().values()))
    one = table[table["video_id"] == "test6_1_2"]
    assert one["query_id"].tolist() == [f"test6_1_2#{number}" for number in range(7)]
    assert one["caption"].tolist() == [f"test6_1_2 does {number}" for number in range(7)]


@pytest.mark.parametrize(
    ("captions", "says"),
    [
        (["a"], "does not hold captions by video"),
        ({"a": "x"}, "'a' has no list of captions"),
        ({"a": [["x", 1]]}, "caption 0 of 'a' is neither text nor a list of words"),
        ({"a": [None]}, "caption 0 of 'a' is neither text nor a list of words"),
        ({"a": ["x"], "b": [" "]}, "1 caption without text: 'b#0'"),
        ({"t": ["x"]}, "has no caption of any test video of msvd"),
        ({"a": ["x \ud800"], "b": ["y"]}, "half a character"),
    ],
)
def test_captions_that_are_none(made, listed, captions, says):
    made.write_json(listed / "raw-captions.json", captions)
    with pytest.raises(InputError, match=says):
        load_benchmark("msvd", listed, partial=not says.startswith("1 "))


class Calls:
    """Unpickled by others, it calls a function."""

    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_any_pickle_of_captions_is_read(load, protocol):
    word = "twice"
    captions = {"a": [["two", "words"], ("três",), ()[:0]], "b": ["whole sentence", (word,) * 4], "elsewhere": []}
    captions["a"].pop()
    expected = ["two words", "três", "whole sentence", "twice twice twice twice"]
    assert load(pickle.dumps(captions, protocol)) == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [
        *(collections.OrderedDict(a=["b"]), [Calls(len, "x")], collections.Counter("a"), {"a": print}),
        *({"a": [1.5]}, {"a": [b"x"]}, {("a",): ["x"]}, {"a": {"b"}}, {None: ["x"]}, {"a": [{"b": "c"}]}),
    ],
    ids=[f"content{number}" for number in range(10)],
)
def test_what_is_more_than_lists_dicts_and_text_is_refused(load, content, protocol):
    with pytest.raises(InputError, match=r"raw-captions\.pkl"):
        load(pickle.dumps(content, protocol))


def test_nothing_is_ever_run(load, tmp_path):
    mark = tmp_path / "ran"
    for content in (pickle.dumps(Calls(os.mkdir, str(mark))), f"(S'{mark}'\nios\nmkdir\n.".encode()):
        with pytest.raises(InputError, match="could run code"):
            load(content)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps({"a": ["b"]})[:-3],
        b"\x80\x04" + pickle.TUPLE2 + b".",
        b"]" * 1_000_000 + b"a" * 999_999 + b".",  # deep
        b")" + b"0)2\x86" * 60 + b"K\x01s.",
        b"\x80\x04" + pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 33) + b".",
        b"\x80\x04" + pickle.BINUNICODE8 + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x04" + pickle.FRAME + struct.pack("<Q", 1 << 40) + b"].",
        b"\x80\x04]" + pickle.LONG_BINPUT + struct.pack("<I", (1 << 32) - 1) + b".",
        pickle.dumps({"a": [["word" * 1000] * 1000] * 100_000}),  # each list is held once, each word too
    ],
    ids=range(11),
)
def test_a_damaged_or_forged_pickle_is_one_sentence_and_takes_no_memory(load, content):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"raw-captions\.pkl"):
            load(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000_000


# ---- LSMDC: fields between tabs, ids that repeat, sentences with quotes; multiple choice

TEST = "LSMDC16_challenge_1000_publictect.csv"
CHOICES = "LSMDC16_multiple_choice_test_randomized.csv"
CLIP = "0001_American_Beauty_00.00.51.926-00.00.54.129"


def test_an_id_is_the_clips_and_repeated_clips_keep_their_sentences_apart(made, loaded, tmp_path):
    made.write_tabs(tmp_path / TEST, [[CLIP, *"1234", 'A "quote.'], ["3009_X_1.2-3.4", *"1234", "it's"]])
    benchmark = load_benchmark("lsmdc", tmp_path, partial=True)
    assert benchmark.gallery == (CLIP, "3009_X_1.2-3.4")
    assert benchmark.table["caption"].tolist() == ['A "quote.', "it's"]
    assert benchmark.table["query_id"].tolist() == [CLIP, "3009_X_1.2-3.4"]
    table = loaded("lsmdc").table
    train = table[table["split"] == "train"]
    assert train["query_id"].is_unique
    again = train[train["query_id"].str.endswith("#2")]
    assert len(again) == 10_107
    assert (again["query_id"].str.removesuffix("#2") == again["video_id"]).all()


@pytest.mark.parametrize("name", [TEST, TEST.replace("tect", "test")])
def test_a_header_and_the_file_as_it_should_be_called(made, tmp_path, name):
    made.write_tabs(tmp_path / name, [["clip_id", *"1234", "sentence"], [CLIP, *"1234", "x"]])
    assert load_benchmark("lsmdc", tmp_path, partial=True).table["caption"].tolist() == ["x"]


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
