"""Score matrices in Parquet, and what is wrong with others."""

import numpy as np
import pandas as pd
import pytest

from mee.errors import InputError
from mee.external_scores import score_parquet
from mee.external_scores.score_parquet import read_parquet

LONG = pd.DataFrame({"query_id": list("qqrr"), "clip_id": list("abab"), "score": np.float32([1, 2, 3, 4])})


def refusal(table, path, **how):
    table.to_parquet(path, **how)
    with pytest.raises(InputError) as caught:
        read_parquet(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("cells", [1, 3, 1000])
def test_batches_meet_without_a_seam(tmp_path, monkeypatch, cells):
    monkeypatch.setattr(score_parquet, "_CELLS", cells)
    matrix = np.arange(35.0).reshape(7, 5)
    wide = pd.DataFrame(
        matrix, columns=list("abcde"), index=pd.Index([f"q{n}" for n in range(7)], name="query_id")
    )
    wide.to_parquet(tmp_path / "wide.parquet", row_group_size=2)
    long = wide.melt(ignore_index=False, var_name="clip_id", value_name="score").reset_index()
    long.sample(frac=1, random_state=0).to_parquet(tmp_path / "long.parquet", row_group_size=4)
    for form in ("wide", "long"):
        scores, query_ids, clip_ids = read_parquet(tmp_path / f"{form}.parquet")
        read = pd.DataFrame(scores.block(slice(0, 7)), query_ids, clip_ids)
        assert (read.loc[wide.index, wide.columns].to_numpy() == matrix).all()


def test_categories_and_numbers_are_ids_and_other_columns_are_passed_over(tmp_path):
    table = LONG.assign(rank=1, query_id=[1, 1, 2, 2], clip_id=LONG["clip_id"].astype("category"))
    table.rename(columns={"clip_id": "video_id"}).to_parquet(tmp_path / "s.parquet")
    scores, query_ids, clip_ids = read_parquet(tmp_path / "s.parquet")
    assert (query_ids, clip_ids) == (("1", "2"), ("a", "b"))
    assert (scores.block(slice(0, 2)) == [[1, 2], [3, 4]]).all()


def test_one_column_of_float64_makes_all_float64(tmp_path):
    table = pd.DataFrame({"query_id": ["q"], "a": np.float32([0.1]), "b": np.float64([0.1])})
    table.to_parquet(tmp_path / "s.parquet")
    read = read_parquet(tmp_path / "s.parquet")[0].block(slice(0, 1))
    assert read.dtype == np.float64
    assert read[0].tolist() == [float(np.float32(0.1)), 0.1]


def test_what_is_wrong_with_a_wide_table(tmp_path):
    path = tmp_path / "s.parquet"
    wide = pd.DataFrame({"query_id": ["q", "r"], "a": [0.5, 1], "b": [1.0, 2]})
    assert "has no column 'query_id' and no index of query ids" in refusal(wide[["a", "b"]], path)
    assert "has no rows" in refusal(wide.iloc[:0], path)
    assert "has the column 'query_id' and no other" in refusal(wide[["query_id"]], path)
    assert "column 'b' holds int64, not scores as floats; drop it, or give the long form" in refusal(
        wide.assign(b=[1, 2]), path
    )
    assert "column 'caption' holds " in refusal(wide.assign(caption="words"), path)
    assert "'query_id' has 1 query ids more than once, 'q' 2 times" in refusal(wide.assign(query_id="q"), path)
    assert "query id 2 is None" in refusal(wide.assign(query_id=["q", None]), path)
    assert "has no score for query 'r' and clip 'a'" in refusal(wide.assign(a=[1, None]), path)


def test_what_is_wrong_with_a_long_table(tmp_path):
    path = tmp_path / "s.parquet"
    assert "has 3 scores, and 2 queries x 2 clips are 4; score every clip for every query" in refusal(
        LONG.iloc[:3], path
    )
    twice = pd.concat([LONG.iloc[:3], LONG.iloc[:1]])
    assert "has more than one score of query 'q' and clip 'a'" in refusal(twice, path)
    assert "has more than one score of query 'q' and clip 'b'" in refusal(pd.concat([LONG, LONG.iloc[1:2]]), path)
    for value, said in ((None, "missing"), (np.inf, "inf"), (-np.inf, "-inf")):
        spoilt = LONG.assign(score=[1, 2, value, 4])
        assert f"the score of query 'r' and clip 'a' is {said}; a score must be a finite" in refusal(spoilt, path)
    assert "column 'score' holds int64" in refusal(LONG.assign(score=1), path)
    assert "query id 1 is None" in refusal(LONG.assign(query_id=[None, "q", "r", "r"]), path)
    assert "'clip_id' has 1 clip ids more than once" in refusal(LONG.assign(clip_id=["a", "b", "a ", "b"]), path)


def test_a_pair_that_is_there_twice_in_two_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(score_parquet, "_CELLS", 2)
    twice = pd.concat([LONG, LONG.iloc[:1]])
    assert "has more than one score of query 'q' and clip 'a'" in refusal(twice, tmp_path / "s.parquet")


def test_two_columns_of_one_clip(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    columns = [pa.array(["q"]), pa.array([1.0]), pa.array([2.0])]
    parquet.write_table(pa.Table.from_arrays(columns, ["query_id", "a", "a"]), tmp_path / "s.parquet")
    with pytest.raises(InputError, match="has more than one column 'a'"):
        read_parquet(tmp_path / "s.parquet")
