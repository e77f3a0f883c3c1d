"""Scores of other systems, read from every format."""

import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mee.errors import InputError
from mee.evaluation.metrics import expected_ranks
from mee.external_scores.match import match_scores
from mee.external_scores.read import read_scores
from mee.ranking.rank import rank
from tests.mee.external_scores.made_files import (
    MATRIX_FORMATS,
    TABLE_FORMATS,
    save_arrays,
    save_ids,
    save_matrix,
    save_tables,
)

QUERIES, CLIPS = ("q0", "q1", "q,2"), ("a", "b", "ç", "d d")
MATRIX = np.array([[0.5, -1, 2, 0], [3, 1 / 3, 1e-7, 7], [1, 1, 1, 1]], np.float32)
ANY_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)


def whole(scores):
    return scores.block(slice(0, scores.queries)).numpy()


@pytest.mark.parametrize("how", MATRIX_FORMATS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_matrix_of_every_format(tmp_path, how, kind):
    path, told = save_matrix(tmp_path, how, MATRIX.astype(kind), QUERIES, CLIPS)
    file = read_scores(path, **told)
    assert (file.query_ids, file.clip_ids) == (QUERIES, CLIPS)
    assert file.scores.margin == 0
    read = whole(file.scores)
    assert read.dtype == (np.float64 if kind is np.float64 else np.float32)
    assert (read == MATRIX.astype(kind)).all()
    assert file.scores.rule.endswith(f"compared as {read.dtype}")
    query, clip = torch.arange(3).repeat_interleave(4), torch.arange(4).repeat(3)
    assert (file.scores.pairs(query, clip).numpy() == read.ravel()).all()


@pytest.mark.parametrize("how", TABLE_FORMATS)
def test_two_tables_of_every_format(tmp_path, how):
    text, video = np.eye(3, 2, dtype=np.float32), np.arange(8, dtype=np.float32).reshape(4, 2)
    path, told = save_tables(tmp_path, how, text, video, QUERIES, CLIPS)
    file = read_scores(path, **told)
    assert (file.query_ids, file.clip_ids) == (QUERIES, CLIPS)
    assert (whole(file.scores) == text @ video.T).all()


def test_bfloat16_tensors(tmp_path):
    tensors = {"scores": torch.tensor(MATRIX).bfloat16()}
    path = save_arrays(tmp_path / "s.safetensors", {}, QUERIES, CLIPS)
    from safetensors.torch import save_file

    save_file(tensors, path)
    file = read_scores(path, **save_ids(tmp_path, QUERIES, CLIPS))
    assert (whole(file.scores) == tensors["scores"].float().numpy()).all()


def test_digests_name_every_file(tmp_path):
    path, told = save_matrix(tmp_path, "npy", MATRIX, QUERIES, CLIPS)
    file = read_scores(path, **told)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.files["scores"] == f"s.npy sha256:{file.sha256}"
    assert list(file.files) == ["scores", "query ids", "clip ids"]
    assert file.files["clip ids"].endswith(hashlib.sha256((tmp_path / "clips.txt").read_bytes()).hexdigest())


@ANY_FOLDER
@given(
    seed=st.integers(0, 2**31),
    queries=st.integers(1, 8),
    clips=st.integers(1, 8),
    how=st.sampled_from(MATRIX_FORMATS),
    tables=st.sampled_from(TABLE_FORMATS),
)
def test_a_matrix_and_the_tables_it_comes_from_rank_alike(seed, queries, clips, how, tables, tmp_path_factory):
    """Small whole numbers: every product is exact, and ties abound."""
    rng = np.random.default_rng(seed)
    text, video = (rng.integers(-2, 3, (count, 3)).astype(np.float32) for count in (queries, clips))
    query_ids, clip_ids = [f"q{n}" for n in range(queries)], [f"v{n}" for n in range(clips)]
    asked = [(name, (clip_ids[rng.integers(clips)],)) for name in query_ids]
    rankings = []
    for save, form, arrays in ((save_matrix, how, [text @ video.T]), (save_tables, tables, [text, video])):
        path, told = save(tmp_path_factory.mktemp("made"), form, *arrays, query_ids, clip_ids)
        matched = match_scores(read_scores(path, **told), asked, clip_ids, partial=False)
        rankings.append(rank(matched.scores, matched.positives))
    one, other = rankings
    assert one.t2v.rank.equal(other.t2v.rank)
    assert one.v2t.rank.equal(other.v2t.rank)
    positive = torch.zeros(queries, clips, dtype=torch.bool)
    positive[matched.positives.query, matched.positives.candidate] = True
    assert one.t2v.rank.equal(expected_ranks(torch.tensor(text @ video.T), positive))


@ANY_FOLDER
@given(seed=st.integers(0, 2**31), how=st.sampled_from(MATRIX_FORMATS))
def test_any_order_of_ids_in_the_file_gives_the_same(seed, how, tmp_path_factory):
    rng = np.random.default_rng(seed)
    queries, clips = rng.integers(1, 10, 2)
    matrix = rng.integers(0, 4, (queries, clips)).astype(np.float32)
    query_ids, clip_ids = [f"q{n}" for n in range(queries)], [f"v{n}" for n in range(clips)]
    asked = [(name, (clip_ids[rng.integers(clips)],)) for name in query_ids]
    results = []
    for rows, columns in (
        (np.arange(queries), np.arange(clips)),
        (rng.permutation(queries), rng.permutation(clips)),
    ):
        path, told = save_matrix(
            tmp_path_factory.mktemp("made"),
            how,
            matrix[rows][:, columns],
            [query_ids[row] for row in rows],
            [clip_ids[column] for column in columns],
            rng,
        )
        matched = match_scores(read_scores(path, **told), asked, clip_ids, partial=False)
        assert (whole(matched.scores) == matrix).all()
        assert matched.scores.clip_ids == tuple(clip_ids)
        results.append(rank(matched.scores, matched.positives, top=3))
    one, other = results
    assert one.t2v.rank.equal(other.t2v.rank)
    assert one.top.candidate.equal(other.top.candidate)


def test_float64_is_not_tied_by_rounding(tmp_path):
    """Four scores that float32 cannot tell apart; the right one is third."""
    matrix = 1 + np.array([[3.0, 2, 1, 0]]) * 2**-50
    asked = [("q", ("c",))]
    ranks = []
    for kind in (np.float64, np.float32):
        path, told = save_matrix(tmp_path, "npy", matrix.astype(kind), ["q"], list("abcd"))
        matched = match_scores(read_scores(path, **told), asked, list("abcd"), partial=False)
        ranks.append(rank(matched.scores, matched.positives).t2v.rank.item())
    assert ranks == [3, 2.5]


@pytest.mark.parametrize("how", MATRIX_FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_named(tmp_path, how, value):
    matrix = MATRIX.copy()
    matrix[1, 2] = value
    path, told = save_matrix(tmp_path, how, matrix, QUERIES, CLIPS)
    with pytest.raises(InputError, match="query 'q1' and clip 'ç'") as caught:
        whole(read_scores(path, **told).scores)
    assert str(path) in str(caught.value)


def test_a_score_that_is_no_number_is_named_among_pairs(tmp_path):
    matrix = MATRIX.copy()
    matrix[1, 2] = np.nan
    path, told = save_matrix(tmp_path, "npy", matrix, QUERIES, CLIPS)
    scores = read_scores(path, **told).scores
    scores.pairs(torch.tensor([0, 1]), torch.tensor([2, 1]))
    with pytest.raises(InputError, match="query 'q1' and clip 'ç' is nan; a score must be a finite number"):
        scores.pairs(torch.tensor([0, 1]), torch.tensor([2, 2]))


def test_wrong_counts_of_ids(tmp_path):
    path, _ = save_matrix(tmp_path, "npy", MATRIX, QUERIES, CLIPS)
    with pytest.raises(InputError, match="3 rows and 4 columns, but 2 query ids and 4 clip ids; name every row"):
        read_scores(path, **save_ids(tmp_path, QUERIES[:2], CLIPS))
    with pytest.raises(InputError, match="its rows must be queries, so turn it"):
        read_scores(path, **save_ids(tmp_path, CLIPS, QUERIES))
    path = save_arrays(tmp_path / "s.npz", {"text": MATRIX, "video": MATRIX}, QUERIES, CLIPS)
    with pytest.raises(InputError, match="3 text and 3 video embeddings, but 3 query ids and 4 clip ids"):
        read_scores(path)


def test_ids_that_nobody_names_or_two_do(tmp_path):
    path, told = save_matrix(tmp_path, "npy", MATRIX, QUERIES, CLIPS)
    with pytest.raises(
        InputError, match=r"names no query ids; give them in a file, .* of the rows: --query-ids FILE"
    ):
        read_scores(path, clip_ids=told["clip_ids"])
    with pytest.raises(InputError, match=r"names no clip ids; .* in the order of the columns: --clip-ids FILE"):
        read_scores(path, query_ids=told["query_ids"])
    path, _ = save_matrix(tmp_path, "npz", MATRIX, QUERIES, CLIPS)
    with pytest.raises(InputError, match="names its query ids itself; leave out --query-ids"):
        read_scores(path, **told)


def test_a_matrix_has_no_norm_and_two_files_are_two_tables(tmp_path):
    path, told = save_matrix(tmp_path, "npy", MATRIX, QUERIES, CLIPS)
    with pytest.raises(InputError, match="is a score matrix, which has no norms; leave out --unit-norm"):
        read_scores(path, **told, unit_norm=True)
    other, _ = save_matrix(tmp_path, "npz", MATRIX, QUERIES, CLIPS)
    with pytest.raises(InputError, match=r"s.npz: a table in a file of its own is read from .npy"):
        read_scores(path, video=other, **told)


def test_nothing_is_unpickled_and_nothing_stays_behind(tmp_path, monkeypatch):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trapped = np.array([[Trap()]], dtype=object)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    ids = save_ids(tmp_path, ["q"], ["a"])
    np.save(tmp_path / "a.npy", trapped, allow_pickle=True)
    np.savez(tmp_path / "a.npz", scores=trapped, query_ids=["q"], clip_ids=["a"])
    np.savez_compressed(tmp_path / "b.npz", scores=np.ones((1, 1)), query_ids=trapped[0], clip_ids=["a"])
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "a.npz", "b.npz", "b.npy"):
        with pytest.raises(InputError, match=r"Python objects|cannot be read"):
            read_scores(tmp_path / name, **ids)
    assert not (tmp_path / "sprung").exists()
    for how in ("npz-deflated", "wide", "long"):
        path, told = save_matrix(tmp_path, how, MATRIX, QUERIES, CLIPS)
        scores = read_scores(path, **told).scores
        assert list((tmp_path / "temporary").iterdir()) == []
        assert (whole(scores) == MATRIX).all()


READ_ALL = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from mee.external_scores.read import read_scores
torch.set_num_threads(1)
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scores = read_scores(folder / "s.npy", query_ids=folder / "queries.txt", clip_ids=folder / "clips.txt").scores
total = sum(scores.block(slice(row, row + 500)).double().sum().item() for row in range(0, scores.queries, 500))
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_matrix_is_read_in_a_fraction_of_its_size(tmp_path):
    """800 MB, of which a block is 4 MB: mapped pages are counted as memory, and given back."""
    rows, columns = 100_000, 2000
    matrix = np.lib.format.open_memmap(tmp_path / "s.npy", "w+", np.float32, (rows, columns))
    matrix[:, 0] = 1
    del matrix
    save_ids(tmp_path, range(rows), range(columns))
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    total, kilobytes = map(float, done.stdout.split())
    assert total == rows
    unit = 1 if sys.platform == "darwin" else 1024
    assert kilobytes * unit < 300e6
