"""A name and a path -> a benchmark: at full counts for every protocol, and a sentence for all that is wrong."""

import re
import subprocess
import sys
from importlib import import_module

import pandas as pd
import pytest

from mee.errors import InputError
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
BENCHMARKS = [name for name in PROTOCOLS if name != "folder"]
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


def test_the_counts_are_those_of_the_literature():
    found = {name: (dict(row.train), row.val, row.gallery, row.queries) for name, row in PROTOCOLS.items()}
    assert found == COUNTS


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_row_is_called_by_its_name_and_has_a_reader(name):
    row = PROTOCOLS[name]
    module, _, function = row.reader.partition(":")
    assert row.name == name
    assert callable(getattr(import_module(module), function))
    assert row.title
    assert row.files
    assert (row.missing, row.only) == ({"msvd": ("audio",)}.get(name, ()), {"coco": ("appearance",)}.get(name, ()))


def test_names_and_loading_cost_no_heavy_import(pytestconfig):
    code = "import sys, mee.protocols.table; print({'torch', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules))"
    root = pytestconfig.rootpath
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", BENCHMARKS)
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
    assert all(path.is_file() for path in benchmark.files.values())


def test_five_choices_come_with_the_right_one(loaded):
    assert loaded("lsmdc").choices is None
    benchmark = loaded("lsmdc-mc")
    choices = benchmark.choices
    assert list(choices.columns) == ["query_id", "video_id", *SENTENCES, "answer"]
    assert len(choices) == 10_053
    right = [row[2 + row[-1]] for row in choices.itertuples(index=False)]
    assert right == benchmark.table["caption"].tolist()
    assert choices["answer"].tolist()[:6] == [0, 1, 2, 3, 4, 0]


def test_a_typo_suggests_the_nearest_name():
    with pytest.raises(InputError, match=r"'mvsd' \(did you mean 'msvd'\?\); there are msrvtt-full, .*, folder$"):
        find_protocol("mvsd")


def test_there_is_no_such_path(tmp_path):
    message = f"^there is no '{re.escape(str(tmp_path))}/x'; didemo is read from a directory with test_data.json"
    with pytest.raises(InputError, match=message):
        load_benchmark("didemo", tmp_path / "x")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_empty_directory_is_told_what_it_should_hold(tmp_path, name):
    with pytest.raises(InputError, match=rf"has no .*; {name} is read from a directory with ") as caught:
        load_benchmark(name, tmp_path, partial=True)
    assert PROTOCOLS[name].files in str(caught.value)


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


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("msrvtt-full", "MSRVTT_data.json"),
        ("msrvtt-1ka", "MSRVTT_JSFUSION_test.csv"),
        ("lsmdc", "LSMDC16_challenge_1000_publictect.csv"),
        ("lsmdc-mc", "LSMDC16_multiple_choice_test_randomized.csv"),
        ("didemo", "test_data.json"),
        ("activitynet", "val_1.json"),
        ("coco", "annotations/captions_val2017.json"),
    ],
)
def test_one_file_that_suffices(full, loaded, name, file):
    one = load_benchmark(name, full(name) / file)
    assert one.gallery == loaded(name).gallery
    assert one.shortfalls == ()
    tests = [part.table[part.table["split"] == "test"].reset_index(drop=True) for part in (loaded(name), one)]
    pd.testing.assert_frame_equal(*tests)


@pytest.mark.parametrize(("name", "file"), [("msvd", "raw-captions.pkl"), ("msrvtt-1kb", "MSRVTT_data.json")])
def test_one_file_that_does_not_suffice(full, name, file):
    with pytest.raises(InputError, match=rf"{file}' alone is not enough: {name} is read from "):
        load_benchmark(name, full(name) / file)


FOLDERS = {"didemo": "annotations", "msvd": "msvd_data", "lsmdc": "lsmdc2016", "activitynet": "captions"}


@pytest.mark.parametrize(("name", "folder"), [*FOLDERS.items(), ("vatex", "vatex_data")])
def test_files_are_found_in_a_usual_sub_folder(full, loaded, tmp_path, name, folder):
    (tmp_path / folder).mkdir()
    for file in full(name).iterdir():
        (tmp_path / folder / file.name).symlink_to(file)
    assert load_benchmark(name, tmp_path).gallery == loaded(name).gallery
