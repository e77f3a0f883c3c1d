"""Scores of other systems: every format, ids in the file and beside it, and what is wrong with others."""

import hashlib
import json
import os
import pickle
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mee.errors import InputError
from mee.external_scores.match import match_scores
from mee.external_scores.read import read_ids, read_scores
from mee.ranking.rank import rank_queries
from tests.mee.whole_scores import expected_ranks

MATRIX_FORMATS = ("npy", "npy-fortran", "npz", "npz-deflated", "safetensors")
TABLE_FORMATS = ("npy", "npz", "npz-deflated", "safetensors")


def save_ids(folder, query_ids, clip_ids):
    """Two id files, as arguments of read_scores."""
    for name, ids in (("queries.txt", query_ids), ("clips.txt", clip_ids)):
        (folder / name).write_text("".join(f"{each}\n" for each in ids), encoding="utf-8")
    return {"query_ids": folder / "queries.txt", "clip_ids": folder / "clips.txt"}


def save_arrays(path, arrays, query_ids, clip_ids, deflated=False):
    """One .npz or .safetensors with its ids."""
    if path.suffix == ".npz":
        ids = {"query_ids": np.array(query_ids), "clip_ids": np.array(clip_ids)}
        (np.savez_compressed if deflated else np.savez)(path, **arrays, **ids)
    else:
        tensors = {name: torch.tensor(array).contiguous() for name, array in arrays.items()}
        ids = {"query_ids": json.dumps(list(query_ids)), "clip_ids": json.dumps(list(clip_ids))}
        save_file(tensors, path, metadata=ids)
    return path


def save_matrix(folder, how, matrix, query_ids, clip_ids):
    """A score matrix; returns the path and the other arguments of read_scores."""
    if how.startswith("npy"):
        np.save(folder / "s.npy", matrix if how == "npy" else np.asfortranarray(matrix))
        return folder / "s.npy", save_ids(folder, query_ids, clip_ids)
    path = folder / f"s.{how.partition('-')[0]}"
    return save_arrays(path, {"scores": matrix}, query_ids, clip_ids, how.endswith("deflated")), {}


def save_tables(folder, how, text, video, query_ids, clip_ids):
    """Two embedding tables; returns as save_matrix does."""
    if how == "npy":
        np.save(folder / "t.npy", text)
        np.save(folder / "v.npy", video)
        return folder / "t.npy", {"video": folder / "v.npy", **save_ids(folder, query_ids, clip_ids)}
    path = folder / f"s.{how.partition('-')[0]}"
    return save_arrays(path, {"text": text, "video": video}, query_ids, clip_ids, how.endswith("deflated")), {}


# ---- reading

QUERIES, CLIPS = ("q0", "q1", "q,2"), ("a", "b", "ç", "d d")
MATRIX = np.array([[0.5, -1, 2, 0], [3, 1 / 3, 1e-7, 7], [1, 1, 1, 1]], np.float32)


def whole(scores):
    return scores.block(slice(0, scores.queries)).numpy()


@pytest.mark.parametrize("how", MATRIX_FORMATS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_matrix_and_two_tables_of_every_format(tmp_path, how, kind):
    path, others = save_matrix(tmp_path, how, MATRIX.astype(kind), QUERIES, CLIPS)
    file = read_scores(path, **others)
    assert (file.scores.query_ids, file.scores.clip_ids, file.scores.margin) == (QUERIES, CLIPS, 0)
    read = whole(file.scores)
    assert read.dtype == (np.float64 if kind is np.float64 else np.float32)
    assert (read == MATRIX.astype(kind)).all()
    assert file.scores.rule.endswith(f"compared as {read.dtype}")
    query, clip = torch.arange(3).repeat_interleave(4), torch.arange(4).repeat(3)
    assert (file.scores.pairs(query, clip).numpy() == read.ravel()).all()
    if how in TABLE_FORMATS:
        text, video = np.eye(3, 2, dtype=kind), np.arange(8, dtype=kind).reshape(4, 2)
        path, others = save_tables(tmp_path, how, text, video, QUERIES, CLIPS)
        scores = read_scores(path, **others).scores
        assert (scores.query_ids, scores.clip_ids) == (QUERIES, CLIPS)
        assert (whole(scores) == text @ video.T).all()


def test_digests_name_every_file_and_bfloat16_is_read(tmp_path):
    path, others = save_matrix(tmp_path, "npy", MATRIX, QUERIES, CLIPS)
    file = read_scores(path, **others)
    paths = {"scores": path, "query ids": others["query_ids"], "clip ids": others["clip_ids"]}
    digests = {name: f"{p.name} sha256:{hashlib.sha256(p.read_bytes()).hexdigest()}" for name, p in paths.items()}
    assert file.files == digests
    halves = torch.tensor(MATRIX).bfloat16()
    save_file({"scores": halves}, tmp_path / "s.safetensors")
    file = read_scores(tmp_path / "s.safetensors", **others)
    assert (whole(file.scores) == halves.float().numpy()).all()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    queries=st.integers(1, 9),
    clips=st.integers(1, 9),
    how=st.sampled_from(MATRIX_FORMATS),
    form=st.sampled_from(TABLE_FORMATS),
)
def test_a_matrix_and_the_tables_it_comes_from_rank_alike(seed, queries, clips, how, form, tmp_path_factory):
    """Small whole numbers: every product is exact, and many tie."""
    rng = np.random.default_rng(seed)
    text, video = (rng.integers(-2, 3, (count, 3)).astype(np.float32) for count in (queries, clips))
    ids = [f"q{n}" for n in range(queries)], [f"v{n}" for n in range(clips)]
    requested = [(name, (ids[1][rng.integers(clips)],)) for name in ids[0]]
    rows, columns = rng.permutation(queries), rng.permutation(clips)
    turned = [ids[0][row] for row in rows], [ids[1][column] for column in columns]
    rankings = []
    for save, kind, arrays, names in (
        (save_matrix, how, [text @ video.T], ids),
        (save_tables, form, [text, video], ids),
        (save_matrix, how, [(text @ video.T)[rows][:, columns]], turned),
    ):
        path, others = save(tmp_path_factory.mktemp("made"), kind, *arrays, *names)
        matched = match_scores(read_scores(path, **others), requested, ids[1], partial=False)
        assert (whole(matched.scores) == text @ video.T).all()
        assert matched.scores.clip_ids == tuple(ids[1])
        rankings.append(rank_queries(matched.scores, matched.positives, top=3))
    first = rankings[0]
    for other in rankings[1:]:
        assert first.t2v.rank.equal(other.t2v.rank)
        assert first.v2t.rank.equal(other.v2t.rank)
        assert first.top.candidate.equal(other.top.candidate)
    positive = torch.zeros(queries, clips, dtype=torch.bool)
    positive[matched.positives.query, matched.positives.candidate] = True
    assert first.t2v.rank.equal(expected_ranks(torch.tensor(text @ video.T), positive))


def test_float64_is_not_tied_by_rounding(tmp_path):
    """Four scores that float32 cannot tell apart; the right one is third."""
    matrix = 1 + np.array([[3.0, 2, 1, 0]]) * 2**-50
    requested = [("q", ("c",))]
    ranks = []
    for kind in (np.float64, np.float32):
        path, others = save_matrix(tmp_path, "npy", matrix.astype(kind), ["q"], list("abcd"))
        matched = match_scores(read_scores(path, **others), requested, list("abcd"), partial=False)
        ranks.append(rank_queries(matched.scores, matched.positives).t2v.rank.item())
    assert ranks == [3, 2.5]


@pytest.mark.parametrize("how", MATRIX_FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_named(tmp_path, how, value):
    matrix = MATRIX.copy()
    matrix[1, 2] = value
    path, others = save_matrix(tmp_path, how, matrix, QUERIES, CLIPS)
    with pytest.raises(InputError, match=f"{path}.* query 'q1' and clip 'ç'"):
        whole(read_scores(path, **others).scores)
    scores = read_scores(path, **others).scores
    scores.pairs(torch.tensor([0, 1]), torch.tensor([2, 1]))
    with pytest.raises(InputError, match="query 'q1' and clip 'ç'"):
        scores.pairs(torch.tensor([0, 1]), torch.tensor([2, 2]))


def refusal(path, **others):
    with pytest.raises(InputError) as caught:
        read_scores(path, **others)
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize("how", ["npy", "npy-fortran", ">f2", ">f4", ">f8"])
def test_a_memory_map_is_never_written_to(tmp_path, how):
    matrix = MATRIX.astype(how) if how[0] == ">" else MATRIX
    path, others = save_matrix(tmp_path, "npy" if how[0] == ">" else how, matrix, QUERIES, CLIPS)
    before = path.read_bytes()
    scores = read_scores(path, **others).scores
    scores.block(slice(0, 3))[:] = 7
    assert (whole(scores) == matrix).all()
    assert path.read_bytes() == before


def test_what_is_no_file_of_scores_and_options_that_do_not_fit_one(tmp_path):
    for name in ("nowhere.npy", "."):
        assert "no file of scores" in refusal(tmp_path / name)
    files = {"x.pkl": "'.pkl'", "x.parquet": "'.parquet'", "x": "not ''", "x.npy": "cannot be read"}
    for name, said in files.items():
        (tmp_path / name).touch()
        assert said in refusal(tmp_path / name)
    path, others = save_matrix(tmp_path, "npy", MATRIX, QUERIES, CLIPS)
    assert "--query-ids FILE" in refusal(path, clip_ids=others["clip_ids"])
    assert "--clip-ids FILE" in refusal(path, query_ids=others["query_ids"])
    assert "--unit-norm" in refusal(path, **others, unit_norm=True)
    whole_file, _ = save_matrix(tmp_path, "npz", MATRIX, QUERIES, CLIPS)
    assert "leave out --query-ids" in refusal(whole_file, **others)
    with pytest.raises(InputError, match=r"s.npz: a table in a file of its own is read from .npy"):
        read_scores(path, video=whole_file, **others)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize(
    ("arrays", "query_ids", "said"),
    [
        ({"sims": MATRIX}, QUERIES, "it holds 'sims'"),
        ({"text": MATRIX}, QUERIES, "it holds 'text'"),
        ({"scores": MATRIX, "video": MATRIX}, QUERIES, "it holds 'scores', 'video'"),
        ({"scores": MATRIX.astype(np.int32)}, QUERIES, "'scores' holds int32"),
        ({"scores": MATRIX[0]}, QUERIES, r"'scores' has shape \(4,\)"),
        ({"scores": MATRIX[:0]}, QUERIES, r"'scores' has shape \(0, 4\)"),
        ({"scores": MATRIX}, ("q0", "q1", "q0"), "query ids more than once, 'q0' 2 times"),
        ({"scores": MATRIX}, ("q0", "q1", " "), "query id 3 is empty"),
        ({"scores": MATRIX}, (), "query ids"),
        ({"scores": MATRIX}, QUERIES[:2], "3 x 4 rows and columns, but 2 x 4"),
        ({"scores": MATRIX.T.copy()}, QUERIES, "transpose it"),
        ({"text": MATRIX, "video": MATRIX}, QUERIES, "3 x 3 text and video embeddings, but 3 x 4"),
        ({"text": MATRIX, "video": np.ones((4, 2), "f4")}, QUERIES, "'text' has 4 numbers a row and .*'video' 2"),
    ],
)
def test_arrays_and_ids_that_do_not_fit(tmp_path, ending, arrays, query_ids, said):
    path = save_arrays(tmp_path / f"s.{ending}", arrays, np.array(query_ids, dtype=str), CLIPS)
    assert re.search(said, refusal(path))


def test_ids_in_a_file_of_another_form(tmp_path):
    path = tmp_path / "s.safetensors"
    forms = {"q0,q1": "", '{"q0": 1}': "no JSON list", "[" * 100_000: "", '["q", null]': "id 2 is None"}
    for ids, said in forms.items():
        save_file({"scores": torch.tensor(MATRIX)}, path, metadata={"query_ids": ids})
        assert said in refusal(path)
    for ids, said in (([0.5, 1, 2], "query id 1 is 0.5"), ([QUERIES], "query id 1 is ")):
        np.savez(tmp_path / "s.npz", scores=MATRIX, query_ids=np.array(ids), clip_ids=CLIPS)
        assert said in refusal(tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", scores=MATRIX, query_ids=[7, 8, 9], clip_ids=np.array([b"a", b"b", b"c", b"d"]))
    scores = read_scores(tmp_path / "s.npz").scores
    assert (scores.query_ids, scores.clip_ids) == (("7", "8", "9"), ("a", "b", "c", "d"))


@pytest.mark.parametrize("how", MATRIX_FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(place=st.floats(0, 0.999), byte=st.integers(1, 255))
def test_a_damaged_file_is_one_sentence_or_other_numbers(how, place, byte, tmp_path_factory):
    """It must never be another exception, and in a .npz, which has checksums, never other numbers."""
    path, others = save_matrix(tmp_path_factory.mktemp("made"), how, MATRIX, QUERIES, CLIPS)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: int(place * len(content))])
    refusal(path, **others)  # cut short
    content[int(place * len(content))] ^= byte
    path.write_bytes(content)
    said, read = "", MATRIX
    try:
        read = whole(read_scores(path, **others).scores)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    if how.startswith("npz"):
        assert (read == MATRIX).all()


@pytest.mark.parametrize("shape", [(2**30, 2**30), (-2, -3), (3, 3)])
def test_a_shape_that_is_not_the_files(tmp_path, shape):
    with (tmp_path / "s.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(bytes(24))
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        archive.write(tmp_path / "s.npy", "scores.npy")
    for name in ("s.npy", "s.npz"):
        refusal(tmp_path / name)


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trapped = np.array([[Trap()]], dtype=object)
    np.save(tmp_path / "a.npy", trapped, allow_pickle=True)
    np.savez(tmp_path / "a.npz", scores=trapped, query_ids=["q"], clip_ids=["a"])
    np.savez_compressed(tmp_path / "b.npz", scores=np.ones((1, 1)), query_ids=trapped[0], clip_ids=["a"])
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "a.npz", "b.npz", "b.npy"):
        refusal(tmp_path / name, **save_ids(tmp_path, ["q"], ["a"]))
    assert not (tmp_path / "sprung").exists()


IDS = ("video7010", "a,b", "ünïcode", "007")


def test_every_format_of_ids_gives_the_same(tmp_path):
    (tmp_path / "ids.txt").write_text("\n".join(IDS) + "\n", encoding="utf-8")
    (tmp_path / "windows").write_bytes("\r\n".join(IDS).encode("utf-8-sig"))
    (tmp_path / "ids.json").write_text(json.dumps(IDS), encoding="utf-8")
    table = pd.DataFrame({"caption": list("wxyz"), "clip_id": IDS, "video_id": list("abcd")})
    table.to_csv(tmp_path / "ids.csv", index=False, encoding="utf-8-sig")
    table.to_csv(tmp_path / "ids.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "ids.parquet")
    table.drop(columns="video_id").rename(columns={"clip_id": "video_id"}).to_csv(tmp_path / "v.csv", index=False)
    for path in tmp_path.iterdir():
        assert read_ids(path, "clip") == IDS, path.name
    pd.DataFrame({"query_id": [3, 1]}).to_parquet(tmp_path / "numbers.parquet")
    assert read_ids(tmp_path / "numbers.parquet", "query") == ("3", "1")


@given(ids=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), unique=True))
def test_lines_are_read_back(ids, tmp_path_factory):
    path = tmp_path_factory.mktemp("ids") / "ids.txt"
    path.write_text("".join(f"{each}\n" for each in ids), encoding="utf-8")
    if ids:
        assert read_ids(path, "query") == tuple(ids)
    else:
        with pytest.raises(InputError, match="holds no query ids"):
            read_ids(path, "query")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("ids.txt", "a\nb\na\n", "'a' 2 times"),
        ("ids.txt", "a\n\nb\n", "query id 2 is empty"),
        ("ids.txt", "", "no query ids"),
        ("ids.txt", b"\xff\xfe\x00", "codec"),
        ("ids.csv", "video,caption\na,b\n", "no column 'query_id' or 'video_id'; it has 'video', 'caption'"),
        ("ids.csv", "", "no column 'query_id' or 'video_id'; it has none"),
        ("ids.csv", "query_id,caption\na,b,c\n", "line 2 has more fields than the header"),
        ("ids.csv", "caption,query_id\na\n", "query id 1 is empty"),
        ("ids.csv", 'query_id\n"a\n', "line 2: unexpected end of data"),
        ("ids.json", '{"a": 1}', "no JSON list of query ids"),
        ("ids.json", "[1.5]", "query id 1 is 1.5"),
        ("ids.json", "[null]", "query id 1 is None"),
        ("ids.json", "[true]", "query id 1 is True"),
        ("ids.json", "[" * 100_000, "cannot be read"),
        ("ids.parquet", "no parquet", "is not a readable .parquet table"),
        ("ids.npy", "x", ".txt, .csv, .tsv, .parquet or .json"),
        ("nowhere/ids.txt", None, "no file of query ids"),
    ],
)
def test_ids_that_cannot_be_read(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=said) as caught:
        read_ids(tmp_path / name, "query")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
