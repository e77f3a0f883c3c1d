"""Rank files: what was measured, readable by pandas, written whole or not at all."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.evaluation.measure import Names, measure_scores
from mee.evaluation.rank_file import write_ranks
from tests.mee.whole_scores import WholeScores, positives_of

IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
ANSWERS = [f"{what}_{k}" for what in ("top", "score") for k in range(1, 11)]
BOTH = pytest.mark.parametrize("ending", ["csv", "parquet"])


def measured_of(query_ids, clip_ids, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    size = (len(query_ids), len(clip_ids))
    matrix = torch.randn(size, generator=generator, dtype=kind) * 10.0 ** (seed % 60 - 30)
    right = torch.zeros(size, dtype=torch.bool)
    right[:, 0] = True
    names = Names(query_ids=query_ids, captions=None, clip_ids=clip_ids)
    return measure_scores(WholeScores(matrix), positives_of(right), names, resamples=0)


def read(path, kind):
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    scores = dict.fromkeys(ANSWERS[10:], str(kind).removeprefix("torch."))
    ids = dict.fromkeys(["query_id", "right_clip_id", *ANSWERS[:10]], str)  # "00" is no number
    types = {"rank": float, **ids, **scores}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=dict.fromkeys(scores, ""))


@BOTH
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@given(
    query_ids=st.lists(IDS, min_size=1, max_size=5, unique=True),
    clip_ids=st.lists(IDS, min_size=1, max_size=13, unique=True),
    seed=st.integers(0, 2**31),
)
def test_pandas_reads_what_was_measured(ending, kind, query_ids, clip_ids, seed, tmp_path_factory):
    measured = measured_of(query_ids, clip_ids, kind, seed)
    path = tmp_path_factory.mktemp("made") / f"ranks.{ending}"
    write_ranks(path, measured)
    table = read(path, kind)
    assert list(table.columns) == ["query_id", "rank", "right_clip_id", *ANSWERS]
    assert table["query_id"].astype(str).tolist() == query_ids
    assert table["rank"].tolist() == measured.ranking.t2v.rank.tolist()
    assert table["right_clip_id"].astype(str).tolist() == [clip_ids[0]] * len(query_ids)
    for k in range(10):
        answers, scores = table[f"top_{k + 1}"], table[f"score_{k + 1}"].to_numpy()
        if k < len(clip_ids):
            assert answers.astype(str).tolist() == [clip_ids[clip] for clip in measured.top.candidate[:, k]]
            assert (scores == measured.top.score[:, k].numpy()).all()
        else:
            assert ((answers == "") | answers.isna()).all()
            assert np.isnan(scores).all()
    assert list(path.parent.iterdir()) == [path]


@BOTH
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, ending):
    path = tmp_path / f"r.{ending}"
    path.write_text("what was there")
    with pytest.raises(InputError, match="a name is no text that UTF-8 knows"):
        write_ranks(path, measured_of(["q", "\ud800"], ["a", "b"], torch.float32, 0))
    assert path.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="nowhere"):
        write_ranks(tmp_path / "nowhere" / f"r.{ending}", measured_of(["q"], ["a"], torch.float32, 0))
