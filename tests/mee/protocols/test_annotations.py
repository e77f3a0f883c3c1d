"""Captions to train on: a table of one's own, or a named protocol's files."""

import hashlib

import pandas as pd
import pytest

from mee.errors import InputError
from mee.protocols import annotations as module
from mee.protocols.annotations import file_stamp, read_annotations
from mee.protocols.protocol import Benchmark, Protocol

TOY = Protocol(
    name="toy",
    title="A toy",
    files="a.csv and, to train, b.csv",
    reader="nowhere:read",
    query_rule="every caption",
    gallery=1,
    queries=1,
    val=0,
    train={"9k": 2},
)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A protocol; returns what it was asked for, and its splits to be changed."""
    asked = {}
    (tmp_path / "a.csv").write_text("words")

    def benchmark(name, path, *, train_list=None, partial=False):
        asked.update(name=name, path=path, train_list=train_list, partial=partial)
        splits = asked.get("splits", ["train", "train", "test"])
        table = pd.DataFrame(
            {"query_id": ["0", "1", "2"], "video_id": ["a", "b", "c"], "caption": "words", "split": splits}
        )
        return Benchmark(
            protocol=TOY, train_list="9k", table=table, gallery=("c",), shortfalls=("few",),
            files={"test": tmp_path / "a.csv"},
        )  # fmt: skip

    monkeypatch.setattr(module, "load_benchmark", benchmark)
    return asked


def test_a_table_of_ones_own(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text("video_id,caption\na,words\n")
    annotations = read_annotations(path)
    assert list(annotations.table.columns) == ["video_id", "caption"]
    assert (annotations.protocol, annotations.train_list, annotations.is_named) == ("folder", None, False)
    assert annotations.files == {
        "captions": f"captions.csv sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    }
    assert annotations.measured_ids == set()


def test_a_table_of_ones_own_has_no_training_lists_and_a_directory_needs_a_name(tmp_path):
    (tmp_path / "captions.csv").write_text("video_id,caption\na,words\n")
    with pytest.raises(InputError, match=r"--train-list 9k goes with --protocol NAME: .* column 'split'"):
        read_annotations(tmp_path / "captions.csv", train_list="9k")
    with pytest.raises(InputError, match=r"is a directory; .* --protocol"):
        read_annotations(tmp_path)


def test_a_named_protocol(toy, tmp_path):
    annotations = read_annotations(tmp_path, protocol="toy", train_list="9k", partial=True)
    assert toy == {"name": "toy", "path": tmp_path, "train_list": "9k", "partial": True}
    assert (annotations.protocol, annotations.train_list, annotations.is_named) == ("toy", "9k", True)
    assert annotations.files == {"test": file_stamp(tmp_path / "a.csv")}
    assert annotations.shortfalls == ("few",)
    assert annotations.measured_ids == {"c"}


def test_files_of_the_test_alone_are_nothing_to_train_on(toy, tmp_path):
    toy["splits"] = ["test"] * 3
    with pytest.raises(InputError, match=r"no training captions of toy; .* a\.csv and, to train, b"):
        read_annotations(tmp_path, protocol="toy")
