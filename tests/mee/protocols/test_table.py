"""A name and a path -> a benchmark, at full counts for every protocol; your own table; captions to train on."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mee.errors import InputError
from mee.protocols.annotations import read_annotations
from mee.protocols.protocol import COLUMNS, SENTENCES
from mee.protocols.table import PROTOCOLS, find_protocol, load_benchmark

# train, validation, test videos, queries: typed from the data sets' papers, not from the table
COUNTS = {
    "msrvtt-full": ({"": 6513}, 497, 2990, 59800),
    "msrvtt-1ka": ({"9k": 9000, "7k": 7010}, 0, 1000, 1000),
    "msrvtt-1kb": ({"": 6656}, 0, 1000, 1000),
    "lsmdc": ({"": 101079}, 7408, 1000, 1000),
    "lsmdc-mc": ({"": 101079}, 7408, None, 10053),
    "msvd": ({"": 1200}, 100, 670, None),
    "didemo": ({"": 8392}, 1065, 1004, 1004),
    "activitynet": ({"": 10009}, 0, 4917, 4917),
    "vatex": ({"": 25991}, 1500, 1500, 15000),
    "coco": ({"": 118287}, 0, 5000, 25014),
    "folder": ({}, None, None, None),
}
ROWS = {  # captions of each split in the made files
    "msrvtt-full": {"train": 6_513 * 20, "val": 497 * 20, "test": 59_800},
    "msrvtt-1ka": {"train": 180_000, "test": 1_000},
    "msrvtt-1kb": {"train": 6_656 * 20, "test": 1_000},
    "lsmdc": {"train": 101_079 - 5, "val": 7_408, "test": 1_000},
    "lsmdc-mc": {"test": 10_053},
    "didemo": {"train": 8_392, "val": 1_065, "test": 1_004},
    "activitynet": {"train": 10_009, "test": 4_917},
    "vatex": {"train": 259_910, "val": 15_000, "test": 15_000},
    "coco": {"train": 118_287, "test": 25_014},
}


def test_the_table_is_that_of_the_literature_and_costs_no_heavy_import(pytestconfig):
    found = {name: (dict(row.train), row.val, row.gallery, row.queries) for name, row in PROTOCOLS.items()}
    assert found == COUNTS
    assert {name: row.missing for name, row in PROTOCOLS.items() if row.missing} == {"msvd": ("audio",)}
    assert {name: row.only for name, row in PROTOCOLS.items() if row.only} == {"coco": ("appearance",)}
    with pytest.raises(InputError, match=r"'mvsd' \(did you mean 'msvd'\?\); there are msrvtt-full, .*, folder$"):
        find_protocol("mvsd")
    code = "import sys, mee.protocols.table; print({'torch', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules))"
    root = pytestconfig.rootpath
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "folder"])
def test_whole_files_have_the_protocols_counts(loaded, name):
    row = PROTOCOLS[name]
    benchmark = loaded(name)
    table = benchmark.table
    assert benchmark.shortfalls == ()
    assert tuple(table.columns) == COLUMNS
    if row.gallery is not None:
        assert len(benchmark.gallery) == row.gallery
    if row.queries is not None:
        assert (table["split"] == "test").sum() == row.queries
    if name in ROWS:
        assert table["split"].value_counts().to_dict() == ROWS[name]
    assert not table.duplicated(["query_id", "split"]).any()
    assert not table.isna().any(axis=None)
    videos = {split: set(rows["video_id"]) for split, rows in table.groupby("split")}
    assert sorted(videos["test"]) == sorted(benchmark.gallery)  # each once
    assert not videos["test"] & (videos.get("train", set()) | videos.get("val", set()))
    assert not videos.get("train", set()) & videos.get("val", set())
    assert all(" sha256:" in stamp for stamp in benchmark.files.values())


def test_five_choices_come_with_the_right_one(loaded):
    assert loaded("lsmdc").choices is None
    benchmark = loaded("lsmdc-mc")
    choices = benchmark.choices
    assert list(choices.columns) == ["query_id", "video_id", *SENTENCES, "answer"]
    assert len(choices) == 10_053
    assert [row[2 + row[-1]] for row in choices.itertuples(index=False)] == benchmark.table["caption"].tolist()
    assert choices["answer"].tolist()[:6] == [0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_files_that_are_missing_are_named(tmp_path, name):
    with pytest.raises(InputError, match=rf"has no .*; {name} is read from a directory with ") as caught:
        load_benchmark(name, tmp_path, partial=True)
    assert PROTOCOLS[name].files in str(caught.value)
    if name != "folder":
        with pytest.raises(InputError, match=f"no '{re.escape(str(tmp_path))}/x'; {name} is read from"):
            load_benchmark(name, tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "train_list", "says"),
    [
        ("vatex", "9k", "vatex, which has one only; leave --train-list out"),
        ("msrvtt-1ka", "8k", "msrvtt-1ka, which has '9k' and '7k'; name one of its own"),
        ("msrvtt-full", "7k", "msrvtt-full, which has one only; leave --train-list out"),
    ],
)
def test_a_training_list_that_is_not_the_protocols(full, name, train_list, says):
    with pytest.raises(InputError, match=f"^'{train_list}' is no training list of {says}$"):
        load_benchmark(name, full(name), train_list=train_list)


ALONE = {  # the file that suffices for the test
    "msrvtt-full": "MSRVTT_data.json",
    "msrvtt-1ka": "MSRVTT_JSFUSION_test.csv",
    "lsmdc": "LSMDC16_challenge_1000_publictect.csv",
    "lsmdc-mc": "LSMDC16_multiple_choice_test_randomized.csv",
    "didemo": "test_data.json",
    "activitynet": "val_1.json",
    "coco": "annotations/captions_val2017.json",
}


@pytest.mark.parametrize("name", ALONE)
def test_one_file_that_suffices(full, loaded, name):
    one = load_benchmark(name, full(name) / ALONE[name])
    assert (one.gallery, one.shortfalls) == (loaded(name).gallery, ())
    tests = [part.table[part.table["split"] == "test"].reset_index(drop=True) for part in (loaded(name), one)]
    pd.testing.assert_frame_equal(*tests)


@pytest.mark.parametrize(("name", "file"), [("msvd", "raw-captions.pkl"), ("msrvtt-1kb", "MSRVTT_data.json")])
def test_one_file_that_does_not_suffice(full, name, file):
    with pytest.raises(InputError, match=rf"{file}' alone is not enough: {name} is read from "):
        load_benchmark(name, full(name) / file)


FOLDERS = {"didemo": "annotations", "msvd": "msvd_data", "lsmdc": "lsmdc2016", "vatex": "vatex_data"}


@pytest.mark.parametrize("name", FOLDERS)
def test_files_are_found_in_a_usual_sub_folder(full, loaded, tmp_path, name):
    (tmp_path / FOLDERS[name]).symlink_to(full(name))
    assert load_benchmark(name, tmp_path).gallery == loaded(name).gallery


# ---- your own collection


@pytest.fixture
def own(tmp_path):
    """own(*lines): a table of these lines."""

    def write(*lines):
        (tmp_path / "c.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return tmp_path / "c.csv"

    return write


def test_your_own_table_may_have_splits_or_none_and_ids_or_numbers(loaded, own):
    benchmark = loaded("folder")
    assert benchmark.table["query_id"].tolist() == [str(number) for number in range(1, 21)]  # the file's order
    assert benchmark.table.iloc[5].tolist() == ["6", "v2.mp4", "caption 5", "test"]
    assert benchmark.gallery == ("v0.mp4", "v1.mp4", "v2.mp4")
    assert (benchmark.shortfalls, benchmark.train_list) == ((), None)
    path = own("video_id,caption", "b,x", "a,y", "b,z")  # without splits all is test
    benchmark = load_benchmark("folder", path)
    assert list(benchmark.table.columns) == ["query_id", "video_id", "caption"]
    assert (benchmark.gallery, benchmark.files) == (("b", "a"), {"captions": stamp(path)})
    benchmark = load_benchmark("folder", own("video_id,caption,split", "a,x,train", "b,y,val"))  # no test
    assert (benchmark.gallery, benchmark.table["split"].tolist()) == ((), ["train", "val"])
    benchmark = load_benchmark("folder", own("video_id,caption,query_id", "a,x,q7", "b,y,q9"))
    assert benchmark.table["query_id"].tolist() == ["q7", "q9"]
    for second in ("b,y,q7", "a,x,q7"):  # another caption; the same video again
        with pytest.raises(InputError, match="id of another one: 'q7'"):
            load_benchmark("folder", own("video_id,caption,query_id", "a,x,q7", second))


def test_a_query_may_have_several_right_videos_in_rows_or_by_judgments(own, tmp_path):
    path = own("video_id,caption,query_id,split", "a,x,q7,test", "b,x,q7,test", "c,y,q9,test", "d,y,q1,train")
    table = load_benchmark("folder", path).table
    assert table[["query_id", "video_id"]].to_numpy().tolist()[:2] == [["q7", "a"], ["q7", "b"]]
    judgments = tmp_path / "qrels.txt"
    beir = "query-id\tcorpus-id\tscore\nq7\te\t1\nq9\tc\t1\nq9\te\t3\n"
    for text in ("q7 0 a 0\nq7 0 e 2\nq9 0 c 1\nq9 0 e 1\n", beir):
        judgments.write_text(text)
        benchmark = load_benchmark("folder", path, judgments=judgments)
        rows = [["d", "q1", "train"], ["e", "q7", "test"], ["c", "q9", "test"], ["e", "q9", "test"]]
        assert benchmark.table[["video_id", "query_id", "split"]].to_numpy().tolist() == rows
        assert benchmark.gallery == ("a", "b", "c", "e")
        assert benchmark.files == {"captions": stamp(path), "judgments": stamp(judgments)}
    topics = tmp_path / "topics.jsonl"
    topics.write_text('{"query_id": 7, "text": "x"}\n{"query_id": 9, "text": "y"}\n')  # no videos
    judgments.write_text("7\t0\tmy video.mp4\t1\n\n9\t0\tb\t-1\n")
    with pytest.raises(InputError, match="1 test query without a right video: '9'"):
        load_benchmark("folder", topics, judgments=judgments)
    benchmark = load_benchmark("folder", topics, judgments=judgments, partial=True)
    assert benchmark.table.to_numpy().tolist() == [["7", "my video.mp4", "x", "test"]]
    assert benchmark.gallery == ("my video.mp4", "b")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("q7 0 a 1\nq7 0 a 2\n", "line 2 judges 'a' for query 'q7' a second time"),
        ("q7 0 a\n", "line 1 is no judgment: query_id 0 video_id grade"),
        ("q7 0 my video 1\n", "put tabs between fields with blanks"),
        ("q7 0 a 0.5\n", "line 1 is no judgment"),
        ("q8 0 a 1\n", "judges 'q8', which"),
        ("", "1 test query without a right video: 'q7'"),
    ],
)
def test_judgments_that_cannot_be_used(own, tmp_path, text, wrong):
    (tmp_path / "qrels").write_text(text)
    with pytest.raises(InputError, match=re.escape(wrong)):
        load_benchmark("folder", own("video_id,caption,query_id", "a,x,q7"), judgments=tmp_path / "qrels")


@pytest.mark.parametrize("own_only", [{"columns": {"caption": "text"}}, {"judgments": Path("qrels")}])
def test_a_public_benchmark_has_its_own_columns_and_right_videos(full, own_only):
    with pytest.raises(InputError, match=f"--{next(iter(own_only))} is for your own table"):
        load_benchmark("msvd", full("msvd"), **own_only)


# ---- captions to train on


def stamp(path):
    return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_your_own_table_to_train_on(own):
    path = own("video_id,caption", "a,words")
    annotations = read_annotations(path)
    assert list(annotations.table.columns) == ["video_id", "caption"]
    assert (annotations.protocol.name, annotations.train_list, annotations.is_named) == ("folder", None, False)
    assert annotations.files == {"captions": stamp(path)}
    assert annotations.measured_ids == set()
    with pytest.raises(InputError, match=r"--train-list 9k goes with --protocol NAME: .* column 'split'"):
        read_annotations(path, train_list="9k")
    with pytest.raises(InputError, match=r"is a directory; .* --protocol"):
        read_annotations(path.parent)


def test_a_named_protocol_to_train_on(made, tmp_path):
    made.write_json(tmp_path / "val_1.json", made.activitynet("val", 2))
    with pytest.raises(InputError, match=r"no training captions of activitynet; .* val_1\.json and, to train, tr"):
        read_annotations(tmp_path, protocol="activitynet", partial=True)
    made.write_json(tmp_path / "train.json", made.activitynet("train", 3))
    annotations = read_annotations(tmp_path, protocol="activitynet", partial=True)
    assert (annotations.protocol.name, annotations.train_list, annotations.is_named) == ("activitynet", None, True)
    assert annotations.files == {"test": stamp(tmp_path / "val_1.json"), "train": stamp(tmp_path / "train.json")}
    assert "3 training videos where it has 10,009" in annotations.shortfalls
    assert annotations.measured_ids == {"v_val0", "v_val1"}
    with pytest.raises(InputError, match="no training list of activitynet"):
        read_annotations(tmp_path, protocol="activitynet", train_list="9k", partial=True)
