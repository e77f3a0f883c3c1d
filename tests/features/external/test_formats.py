"""Files of arrays: every format gives the same arrays by name."""

import pickle

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from features.errors import InputError
from features.external.formats import clip_files, open_arrays

ARRAYS = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b c": np.ones((1, 3), dtype="f2")}


def write_hdf5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(content))


def write_folder(path, arrays):
    for name, array in arrays.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(path / f"{name}.npy", array)


WRITERS = {
    "x.npz": lambda path, arrays: np.savez(path, **arrays),
    "packed.NPZ": lambda path, arrays: np.savez_compressed(path.open("wb"), **arrays),
    "x.safetensors": lambda path, arrays: save_file(arrays, path),
    "x.h5": write_hdf5,
    "x.hdf5": write_hdf5,
    "x.pickle": write_pickle,
    "x.pkl": write_pickle,
    "folder": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_arrays_by_name(tmp_path, name):
    WRITERS[name](tmp_path / name, ARRAYS)
    opened = open_arrays(tmp_path / name)
    assert sorted(opened.names) == sorted(ARRAYS)
    for key, array in ARRAYS.items():
        found = opened.read(key)
        assert tuple(found.shape) == array.shape
        np.testing.assert_array_equal(found[...], array)
        np.testing.assert_array_equal(found[0], array[0])


def test_an_npy_is_one_array_read_through_a_map(tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS["a"])
    opened = open_arrays(tmp_path / "x.npy")
    assert opened.names == ("",)
    assert isinstance(opened.read(""), np.memmap)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn])
def test_tensors_of_types_that_numpy_does_not_know(tmp_path, kind):
    tensor = torch.tensor([[1.5, -2, 0.25], [0, 3, 1]]).to(kind)
    save_torch({"a": tensor}, tmp_path / "x.safetensors")
    found = open_arrays(tmp_path / "x.safetensors").read("a")
    assert found.shape == (2, 3)
    np.testing.assert_array_equal(found[...], tensor.float().numpy())
    np.testing.assert_array_equal(found[1], tensor.float().numpy()[1])
    assert found[1].dtype == np.float32


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["a", "b"], ["a", "b"]),
        (["features/a", "features/b"], ["a", "b"]),
        (["x/y/a", "x/y/b"], ["a", "b"]),
        (["a/features", "b/features"], ["a", "b"]),
        (["one/a", "one/b", "two/a"], ["one/a", "one/b", "two/a"]),
        (["a", "two/b"], ["a", "two/b"]),
    ],
)
def test_what_a_data_set_of_hdf5_is_called(tmp_path, places, names):
    write_hdf5(tmp_path / "x.h5", {place: np.full(2, number) for number, place in enumerate(places)})
    opened = open_arrays(tmp_path / "x.h5")
    assert list(opened.names) == names
    assert [int(opened.read(name)[0]) for name in names] == list(range(len(places)))


def test_several_data_sets_a_clip_are_refused(tmp_path):
    places = [f"{clip}/{what}" for clip in "ab" for what in ("streams", "times")]
    write_hdf5(tmp_path / "x.h5", dict.fromkeys(places, np.ones(2)))
    with pytest.raises(InputError, match=r"2 data sets in each group \(streams, times\).*keep the one"):
        open_arrays(tmp_path / "x.h5")


def test_text_and_nothing_in_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["ids"] = ["a", "übung"]
        file["void"] = h5py.Empty("f4")
    opened = open_arrays(tmp_path / "x.h5")
    assert opened.read("ids")[...].tolist() == ["a", "übung"]
    assert opened.read("void") is None


def test_files_below_a_folder(tmp_path):
    write_folder(tmp_path / "f", {"a.mp4": ARRAYS["a"], "sub/b": ARRAYS["a"]})
    np.savez(tmp_path / "f" / "c.npz", ARRAYS["a"])
    (tmp_path / "f" / "README.md").write_text("hello")
    (tmp_path / "f" / ".hidden.npy").write_text("")
    opened = open_arrays(tmp_path / "f")
    assert sorted(opened.names) == ["a.mp4", "c", "sub/b"]
    assert opened.of_clips
    for name in opened.names:
        np.testing.assert_array_equal(opened.read(name)[...], ARRAYS["a"])
    np.savez(tmp_path / "f" / "a.mp4.npz", ARRAYS["a"])
    with pytest.raises(InputError, match=r"two files of clip 'a\.mp4'"):
        clip_files(tmp_path / "f")


def test_pickles(tmp_path):
    content = {"rows": [[1, 2], [3, 4.5]], b"row": [1.5, 2], 7: np.ones(2), "nothing": None, "empty": []}
    write_pickle(tmp_path / "x.pkl", content)
    opened = open_arrays(tmp_path / "x.pkl")
    assert opened.names == ("rows", "row", "7", "nothing", "empty")
    np.testing.assert_array_equal(opened.read("rows"), [[1, 2], [3, 4.5]])
    np.testing.assert_array_equal(opened.read("7"), [1, 1])
    assert opened.read("nothing") is None
    assert opened.read("empty").shape == (0,)
    write_pickle(tmp_path / "one.pkl", ARRAYS["a"])
    assert open_arrays(tmp_path / "one.pkl").names == ("",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text", "a dict of arrays by clip id"),
        (None, "a dict of arrays"),
        ([1.0, 2.0], "a dict of arrays"),
        ([np.ones((2, 3)), np.ones((1, 3))], "x.pkl"),
        ({"1": np.ones(2), 1: np.ones(2)}, "two arrays alike"),
        ({}, "holds no arrays"),
        ({"a": [[1, 2], [3]]}, "'a'"),
    ],
)
def test_pickles_that_hold_something_else(tmp_path, content, says):
    write_pickle(tmp_path / "x.pkl", content)
    with pytest.raises(InputError, match=says):
        open_arrays(tmp_path / "x.pkl").read("a")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors", "x.h5", "x.pickle"])
def test_damaged_empty_and_foreign_files_are_one_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        open_arrays(path)
    for junk in (b"hello world", b"\x93NUMPY\x01\x00v\x00{'descr': broken", b"PK\x03\x04abc", bytes(100)):
        path.write_bytes(junk)
        with pytest.raises(InputError, match=r"cannot be read|or is no numpy file|outside of itself") as refusal:
            open_arrays(path)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors", "x.h5"])
def test_files_that_are_cut_short(tmp_path, name):
    path = tmp_path / name
    arrays = {"a": np.random.default_rng(0).normal(size=(300, 30))}
    np.save(path, arrays["a"]) if name == "x.npy" else WRITERS[name](path, arrays)
    path.write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(InputError, match="cannot be read"):
        np.asarray(open_arrays(path).read("" if name == "x.npy" else "a")[...])


def test_python_objects_are_left_to_pickles(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    with pytest.raises(InputError, match=r"holds Python objects.*as a \.pickle"):
        open_arrays(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", a=objects)
    with pytest.raises(InputError, match="'a' holds Python objects"):
        open_arrays(tmp_path / "x.npz").read("a")
    write_pickle(tmp_path / "y.npy", 1)
    with pytest.raises(InputError, match="holds Python objects"):
        open_arrays(tmp_path / "y.npy")


def test_npy_and_npz_are_told_apart_by_their_content(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(2))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    assert open_arrays(tmp_path / "x.npz").names == ("",)


def test_what_is_not_there_or_of_no_known_format(tmp_path):
    with pytest.raises(InputError, match="there is nothing at"):
        open_arrays(tmp_path / "nowhere.npy")
    (tmp_path / "x.mat").write_text("x")
    with pytest.raises(InputError, match=r"arrays are read from \.npy, \.npz.*not '\.mat'"):
        open_arrays(tmp_path / "x.mat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \.npy or \.npz"):
        open_arrays(tmp_path / "empty")
    (tmp_path / "empty" / "a.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.npy is empty"):
        open_arrays(tmp_path / "empty").read("a")
    np.savez(tmp_path / "empty" / "b.npz", np.ones(2), np.ones(2))
    with pytest.raises(InputError, match=r"b\.npz holds 2 arrays"):
        open_arrays(tmp_path / "empty").read("b")
