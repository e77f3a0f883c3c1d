"""Files of scores that are damaged, or of another form."""

import json
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mee.errors import InputError
from mee.external_scores.formats import open_scores
from tests.mee.external_scores.made_files import MATRIX_FORMATS, save_arrays, save_matrix

MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)
IDS = (["q0", "q1"], ["a", "b", "c"])


def refusal(path):
    with pytest.raises(InputError) as caught:
        open_scores(path)
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    return said


def test_what_is_no_file_of_scores(tmp_path):
    assert "no file of scores at" in refusal(tmp_path / "nowhere.npy")
    assert "no file of scores at" in refusal(tmp_path)
    for name, said in (
        ("s.pkl", "read from .npy, .npz, .safetensors, .parquet, not '.pkl'"),
        ("s", "not ''"),
        ("s.npy", "is empty; write it again"),
    ):
        (tmp_path / name).touch()
        assert said in refusal(tmp_path / name)


def test_a_wrong_ending_is_seen(tmp_path):
    np.save(tmp_path / "a.npy", MATRIX)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    assert "is a .npy by its content; rename it" in refusal(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", scores=MATRIX)
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    assert "is a .npz by its content; rename it" in refusal(tmp_path / "b.npy")


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_which_arrays_it_must_hold(tmp_path, ending):
    path = tmp_path / f"s.{ending}"
    save_arrays(path, {"sims": MATRIX}, *IDS)
    assert "must hold an array 'scores', or two tables 'text' and 'video'; it holds 'sims'" in refusal(path)
    save_arrays(path, {"text": MATRIX}, *IDS)
    assert "it holds 'text'" in refusal(path)
    save_arrays(path, {"scores": MATRIX, "video": MATRIX}, *IDS)
    assert "holds 'scores' and 'video', so it is unclear which ranks" in refusal(path)
    save_arrays(path, {"scores": MATRIX.astype(np.int32)}, *IDS)
    assert "'scores' holds " in refusal(path)
    assert "numbers; save it as" in refusal(path)
    save_arrays(path, {"scores": MATRIX[0]}, *IDS)
    assert "'scores' has shape (3,); it must be a table of two axes" in refusal(path)
    save_arrays(path, {"scores": MATRIX}, ["q0", "q0"], IDS[1])
    assert "1 query ids more than once, 'q0' 2 times" in refusal(path)


def test_ids_in_metadata_that_are_no_list(tmp_path):
    path = tmp_path / "s.safetensors"
    for ids in ("q0,q1", '{"q0": 1}', "[" * 100_000):
        save_file({"scores": torch.tensor(MATRIX)}, path, metadata={"query_ids": ids})
        assert "'query_ids' in its metadata is no JSON list" in refusal(path)
    save_file({"scores": torch.tensor(MATRIX)}, path, metadata={"query_ids": json.dumps(["q0", None])})
    assert "query id 2 is None" in refusal(path)


def test_ids_that_are_no_vector(tmp_path):
    np.savez(tmp_path / "s.npz", scores=MATRIX, query_ids=np.array([["q0", "q1"]]), clip_ids=IDS[1])
    assert "'query_ids' has shape (1, 2); ids are one vector" in refusal(tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", scores=MATRIX, query_ids=np.array([0.5, 1]), clip_ids=IDS[1])
    assert "query id 1 is 0.5, which is no text" in refusal(tmp_path / "s.npz")


def test_ids_as_bytes_and_numbers(tmp_path):
    np.savez(tmp_path / "s.npz", scores=MATRIX, query_ids=np.array([7, 8]), clip_ids=np.array([b"a", b"b", b"c"]))
    assert open_scores(tmp_path / "s.npz").ids == {"query": ("7", "8"), "clip": ("a", "b", "c")}


@pytest.mark.parametrize("how", MATRIX_FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(share=st.floats(0, 0.999))
def test_a_file_cut_short_is_one_sentence(how, share, tmp_path_factory):
    path, _ = save_matrix(tmp_path_factory.mktemp("made"), how, MATRIX, *IDS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refusal(path)


@pytest.mark.parametrize("how", MATRIX_FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(place=st.floats(0, 0.999), byte=st.integers(1, 255))
def test_a_spoilt_byte_is_one_sentence_or_other_numbers(how, place, byte, tmp_path_factory):
    """It must never be another exception, and in a .npz, which has checksums, never other numbers."""
    path, _ = save_matrix(tmp_path_factory.mktemp("made"), how, MATRIX, *IDS)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= byte
    path.write_bytes(content)
    said, read = "", MATRIX
    try:
        read = next(iter(open_scores(path).tables.values())).block(slice(0, 2))
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    if how.startswith("npz"):
        assert (read == MATRIX).all()


def test_a_shape_that_is_not_the_members(tmp_path):
    path = tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("scores.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f4", "fortran_order": False, "shape": (2**30, 2**30)}
        )
        member.write(bytes(64))
    assert "says it has shape (1073741824, 1073741824), and has" in refusal(path)


def test_a_member_that_numpy_would_not_write(tmp_path):
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("scores.npy", bytes(100))
    assert "'scores' is packed in a way that numpy never packs" in refusal(tmp_path / "s.npz")


def test_a_shape_below_zero(tmp_path):
    with (tmp_path / "s.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (-2, -3)})
        file.write(MATRIX.tobytes())
    assert "its shape is (-2, -3)" in refusal(tmp_path / "s.npy")


def test_a_stored_member_with_another_checksum(tmp_path):
    path, matrix = tmp_path / "s.npz", np.random.default_rng(0).normal(size=(100, 2000))  # not read at one go
    np.savez(path, scores=matrix)
    content = bytearray(path.read_bytes())
    content[content.index(matrix[-1].tobytes()) + 5] ^= 1
    path.write_bytes(content)
    assert "CRC" in refusal(path)


def test_a_stored_member_is_mapped_where_it_lies(tmp_path):
    """A long extra field and a zip behind other bytes: the numbers are found all the same."""
    np.savez(tmp_path / "plain.npz", other=np.ones(5), scores=MATRIX)
    content = (tmp_path / "plain.npz").read_bytes()
    (tmp_path / "s.npz").write_bytes(b"something in front" + content)
    assert (open_scores(tmp_path / "s.npz").tables["scores"].block(slice(0, 2)) == MATRIX).all()
