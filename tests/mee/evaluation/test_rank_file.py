"""Rank files: written whole or not at all, read strictly."""

import csv
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.evaluation import rank_file
from mee.evaluation.rank_file import COLUMNS, check_rank_path, read_ranks, write_ranks

IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
GIVEN = {
    "query_ids": ["q0", "q1"],
    "ranks": [1.0, 2.5],
    "right_clip_ids": ["a", "b"],
    "top_ids": [["a", "b", "c"], ["c", "b", "a"]],
    "top_scores": np.array([[0.1, 0, -1], [3, 2, 2]], np.float32),
}
BOTH = pytest.mark.parametrize("ending", ["csv", "parquet"])


@BOTH
@given(
    ids=st.lists(IDS, min_size=1, max_size=5, unique=True),
    clips=st.lists(IDS, min_size=1, max_size=13, unique=True),
    kind=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**31),
)
def test_what_is_written_is_read_back(ending, ids, clips, kind, seed, tmp_path_factory):
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.normal(size=(len(ids), len(clips))) * 10.0 ** rng.integers(-30, 30), axis=1)[:, ::-1]
    scores = scores.astype(kind)
    order = [list(rng.permutation(clips)) for _ in ids]
    ranks = rng.integers(2, 2 * 10**7, len(ids)) / 2
    path = tmp_path_factory.mktemp("made") / f"ranks.{ending}"
    write_ranks(
        path, query_ids=ids, ranks=ranks, right_clip_ids=[clips[0]] * len(ids), top_ids=order, top_scores=scores
    )
    read = read_ranks(path)
    assert read.query_ids == tuple(ids)
    assert (read.ranks == ranks).all()
    assert read.right_clip_ids == (clips[0],) * len(ids)
    assert read.top_ids == tuple(tuple(row[:10]) for row in order)
    assert (np.array(read.top_scores).astype(kind) == scores[:, :10]).all()
    again = path.with_name(f"again.{ending}")
    write_ranks(again, **{**vars(read), "top_scores": np.array(read.top_scores, kind)})
    assert again.read_bytes() == path.read_bytes()
    assert sorted(each.name for each in path.parent.iterdir()) == sorted([path.name, again.name])


def test_the_table_is_plain(tmp_path):
    write_ranks(tmp_path / "r.csv", **GIVEN)
    rows = list(csv.reader((tmp_path / "r.csv").open(newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert rows[1] == ["q0", "1", "a", "a", "b", "c", *[""] * 7, "0.1", "0.0", "-1.0", *[""] * 7]
    assert rows[2][:3] == ["q1", "2.5", "b"]
    write_ranks(tmp_path / "r.parquet", **GIVEN)
    table = pd.read_parquet(tmp_path / "r.parquet")
    assert tuple(table.columns) == COLUMNS
    assert table["score_1"].dtype == np.float32
    assert table["top_4"].isna().all()


@BOTH
def test_a_clip_that_nothing_can_find_has_no_score_but_a_place(tmp_path, ending):
    path = tmp_path / f"r.{ending}"
    write_ranks(path, **{**GIVEN, "top_scores": [[1, 0, -np.inf], [1, -np.inf, -np.inf]]})
    assert read_ranks(path).top_scores == ((1, 0, -np.inf), (1, -np.inf, -np.inf))


@BOTH
def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch, ending):
    path = tmp_path / f"r.{ending}"
    path.write_text("what was there")

    def full(*_, **__):
        (tmp_path / f".r.{ending}.{os.getpid()}").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rank_file, f"_write_{ending}", full)
    with pytest.raises(InputError, match=r"ranks cannot be written to '.*': No space left on device"):
        write_ranks(path, **GIVEN)
    assert path.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [path]


@BOTH
def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path, ending):
    path = tmp_path / f"r.{ending}"
    path.write_text("what was there")
    with path.open() as file:
        write_ranks(path, **GIVEN)
        assert file.read() == "what was there"
    assert read_ranks(path).query_ids == ("q0", "q1")


@BOTH
def test_an_id_that_is_no_text(tmp_path, ending):
    with pytest.raises(InputError, match="a name is no text that UTF-8 knows"):
        write_ranks(tmp_path / f"r.{ending}", **{**GIVEN, "query_ids": ["q0", "\ud800"]})
    assert list(tmp_path.iterdir()) == []


def test_paths_are_refused_early(tmp_path):
    check_rank_path(tmp_path / "r.csv")
    (tmp_path / "dir.csv").mkdir()
    for name, said in (
        ("r.json", r"ranks are written as .csv or .parquet, so '.*r.json' cannot be"),
        ("dir.csv", "which is a folder; name a file"),
        ("nowhere/r.csv", "there is no folder '.*nowhere'; make it first"),
    ):
        for refuse in (check_rank_path, lambda path: write_ranks(path, **GIVEN)):
            with pytest.raises(InputError, match=said):
                refuse(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ranks": [1.0]}, "2 queries want as many ranks"),
        ({"top_scores": [1, 2]}, "2 queries want as many ranks"),
        ({"top_ids": [["a"], ["b"]]}, "every answer wants an id and a score"),
        ({"ranks": [0.5, 1]}, "its rank is 0.5"),
        ({"ranks": [1, 1.25]}, "its rank is 1.25"),
        ({"ranks": [1, np.nan]}, "its rank is nan"),
        ({"top_scores": [[1, 0, np.nan], [1, 0, 0]]}, "a score is NaN"),
        ({"top_scores": [[1, 0, 0.5], [1, 0, 0]]}, "do not fall"),
    ],
)
def test_nonsense_is_never_written(tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        write_ranks(tmp_path / "r.csv", **{**GIVEN, **change})
    assert list(tmp_path.iterdir()) == []


def spoil(path, place, value):
    rows = list(csv.reader(path.open(newline="")))
    rows[2][COLUMNS.index(place)] = value
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("query_id", "q0", "has query 'q0' more than once"),
        ("query_id", "", "query 2 has an empty field"),
        ("right_clip_id", "", "query 2 has an empty field"),
        ("top_2", "", "query 2 has an empty field"),
        ("score_2", "", "query 2 has an empty field"),
        ("score_9", "1", "query 2 has an empty field"),
        ("rank", "first", "query 2 has a rank or a score that is no number"),
        ("score_1", "high", "query 2 has a rank or a score that is no number"),
        ("rank", "1.3", "query 2: its rank is 1.3"),
        ("rank", "inf", "query 2: its rank is inf"),
        ("score_1", "nan", "query 2: a score is NaN"),
        ("score_1", "-5", "query 2: its scores do not fall"),
    ],
)
def test_a_spoilt_field_is_named(tmp_path, place, value, said):
    path = tmp_path / "r.csv"
    write_ranks(path, **GIVEN)
    spoil(path, place, value)
    with pytest.raises(InputError, match=said) as caught:
        read_ranks(path)
    assert str(path) in str(caught.value)


def test_what_is_no_rank_file(tmp_path):
    with pytest.raises(InputError, match="no rank file at"):
        read_ranks(tmp_path / "nowhere.csv")
    for name, content, said in (
        ("r.json", "{}", "ranks are read from .csv or .parquet, not '.json'"),
        (
            "r.csv",
            "query_id,rank\nq,1\n",
            "is no rank file: its columns must be query_id, rank, right_clip_id, top_1",
        ),
        ("r.csv", "", "is no rank file"),
        ("r.csv", ",".join(COLUMNS) + "\nq,1\n", "query 1 has 2 fields, and a rank file has 23"),
        ("r.csv", ",".join(COLUMNS) + '\n"q', "is no readable rank file: unexpected end of data"),
        ("r.parquet", "words", "is no readable rank file"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=said):
            read_ranks(tmp_path / name)


def test_columns_of_another_type(tmp_path):
    write_ranks(tmp_path / "r.parquet", **GIVEN)
    table = pd.read_parquet(tmp_path / "r.parquet")
    table.assign(query_id=[[1], [2]]).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputError, match="query 1 has an id that is no text"):
        read_ranks(tmp_path / "r.parquet")
    table.assign(rank=[[1], [2]]).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputError, match="query 1 has a rank or a score that is no number"):
        read_ranks(tmp_path / "r.parquet")
