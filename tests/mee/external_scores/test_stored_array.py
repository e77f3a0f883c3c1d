"""Tables of floats that stay in their file."""

import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.external_scores import stored_array
from mee.external_scores.stored_array import StoredArray, room_for, unpacked

HERE = Path("scores.npy")


def stored(array, **settings):
    return StoredArray(HERE, "scores", array, **settings)


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_every_float_is_read_without_loss(kind):
    values = np.array([[1, 1 / 3], [-2.5e-5, 6e4]]).astype(kind)
    read = stored(values).block(slice(0, 2))
    assert read.dtype == (np.float64 if kind.endswith("8") else np.float32)
    assert read.dtype.isnative
    assert (read == values).all()


@given(bits=st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=50))
def test_bfloat16_is_what_torch_reads(bits):
    array = np.array([bits], np.uint16)
    expected = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16).float().numpy()
    read = stored(array, bfloat16=True).block(slice(0, 1))
    assert (read.view(np.uint32) == expected.view(np.uint32)).all() or np.array_equal(
        read, expected, equal_nan=True
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_columns_and_cells(order):
    array = np.asarray(np.arange(12.0).reshape(3, 4), order=order)
    table = stored(array)
    some, columns = np.array([2, 0]), np.array([3, 1])
    assert (table.block(some) == array[[2, 0]]).all()
    assert (table.block(slice(1, 3), columns) == array[1:3][:, [3, 1]]).all()
    assert (table.cells(some, columns) == [array[2, 3], array[0, 1]]).all()


def test_what_is_read_may_be_written_to(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "raw").write_bytes(array.tobytes())
    with (tmp_path / "raw").open("rb") as file:
        table = StoredArray.in_file(HERE, "", file, 0, (2, 3), np.dtype("<f4"))
    table.block(slice(0, 2))[:] = 7
    assert (table.block(slice(0, 2)) == array).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_stay_right_when_pages_are_let_go(tmp_path, monkeypatch, order):
    monkeypatch.setattr(stored_array, "_LET_GO", 4096)
    monkeypatch.setattr(stored_array, "_AROUND", 64)
    array = np.arange(4000, dtype=np.float64).reshape(40, 100, order=order)
    (tmp_path / "raw").write_bytes(b"12345" + array.tobytes(order))
    with (tmp_path / "raw").open("rb") as file:  # numbers may lie anywhere
        table = StoredArray.in_file(HERE, "", file, 5, (40, 100), array.dtype, fortran_order=order == "F")
    rows, columns = np.indices(array.shape).reshape(2, -1)
    for _ in range(2):
        assert (np.concatenate([table.block(slice(row, row + 8)) for row in range(0, 40, 8)]) == array).all()
        assert (table.cells(rows, columns) == array.ravel()).all()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(3, np.float32), "must be a table of two axes"),
        (np.zeros((0, 3), np.float32), "there is nothing in it"),
        (np.zeros((2, 3), np.int64), "holds int64 numbers; save it as float16, float32 or float64"),
        (np.zeros((2, 3), np.uint16), "holds uint16 numbers"),
        (np.zeros((2, 3), bool), "holds bool numbers"),
        (np.zeros((2, 3), complex), "holds complex128 numbers"),
        (np.zeros((2, 3), "U3"), "numbers; save it as"),
    ],
)
def test_what_is_no_table_of_floats(array, said):
    with pytest.raises(InputError, match=said) as caught:
        stored(array)
    assert str(caught.value).startswith("scores.npy: 'scores'")


def test_a_file_that_ends_too_early(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(23))
    with (tmp_path / "raw").open("rb") as file, pytest.raises(InputError, match="is cut short"):
        StoredArray.in_file(HERE, "", file, 0, (2, 3), np.dtype("<f4"))


def test_a_shape_that_no_computer_holds(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(24))
    with (tmp_path / "raw").open("rb") as file, pytest.raises(InputError, match="is cut short"):
        StoredArray.in_file(HERE, "", file, 0, (2**40, 2**40), np.dtype("<f4"))


def test_unpacked_numbers_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts = [np.ones((2, 3), np.float16), np.zeros((1, 3), np.float64)]
    table = unpacked(HERE, "", (3, 3), np.dtype(np.float32), parts)
    assert list(tmp_path.iterdir()) == []
    assert (table.block(slice(0, 3)) == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]).all()


def test_no_room_on_the_disk(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(stored_array.shutil, "disk_usage", lambda _: usage(10, 5, 5))
    with pytest.raises(InputError, match=r"takes 0.0 GB unpacked, and .* has 0.0 GB free; set TMPDIR"):
        room_for(6, HERE)
