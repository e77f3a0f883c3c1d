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
        found = opened.array(key)
        assert tuple(found.shape) == array.shape
        np.testing.assert_array_equal(found[...], array)
        np.testing.assert_array_equal(found[0], array[0])
        np.testing.assert_array_equal(found[0:1], array[0:1])


def test_an_npy_is_one_array_read_through_a_map(tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS["a"])
    opened = open_arrays(tmp_path / "x.npy")
    assert opened.names == ("",)
    assert isinstance(opened.array(""), np.memmap)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn])
def test_tensors_of_types_that_numpy_does_not_know(tmp_path, kind):
    tensor = torch.tensor([[1.5, -2, 0.25], [0, 3, 1]]).to(kind)
    save_torch({"a": tensor}, tmp_path / "x.safetensors")
    found = open_arrays(tmp_path / "x.safetensors").array("a")
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
    assert [int(opened.array(name)[0]) for name in names] == list(range(len(places)))


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
    assert opened.array("ids")[...].tolist() == ["a", "übung"]
    with pytest.raises(InputError, match="'void' is a data set without content"):
        opened.array("void")


def test_files_below_a_folder(tmp_path):
    write_folder(tmp_path / "f", {"a.mp4": ARRAYS["a"], "sub/b": ARRAYS["a"]})
    np.savez(tmp_path / "f" / "c.npz", ARRAYS["a"])
    (tmp_path / "f" / "README.md").write_text("hello")
    (tmp_path / "f" / ".hidden.npy").write_text("")
    opened = open_arrays(tmp_path / "f")
    assert sorted(opened.names) == ["a.mp4", "c", "sub/b"]
    assert opened.names_are == "clips"
    for name in opened.names:
        np.testing.assert_array_equal(opened.array(name)[...], ARRAYS["a"])
    np.savez(tmp_path / "f" / "a.mp4.npz", ARRAYS["a"])
    with pytest.raises(InputError, match=r"two files of clip 'a\.mp4'"):
        clip_files(tmp_path / "f")


def test_values_of_a_pickle(tmp_path):
    content = {
        "rows": [[1, 2], [3, 4.5]],
        b"row": [1.5, 2],
        7: np.ones(2),
        "of arrays": [np.ones(2), np.zeros(2)],
        "nothing": None,
        "empty": [],
        "text": ["a", b"b"],
    }
    write_pickle(tmp_path / "x.pkl", content)
    opened = open_arrays(tmp_path / "x.pkl")
    assert opened.names == ("rows", "row", "7", "of arrays", "nothing", "empty", "text")
    np.testing.assert_array_equal(opened.array("rows"), [[1, 2], [3, 4.5]])
    np.testing.assert_array_equal(opened.array("row"), [1.5, 2])
    np.testing.assert_array_equal(opened.array("of arrays"), [[1, 1], [0, 0]])
    assert opened.read("nothing") is None
    assert opened.array("empty").shape == (0,)
    assert opened.array("text").tolist() == ["a", "b"]


def test_pickles_of_one_array_and_of_a_list(tmp_path):
    write_pickle(tmp_path / "one.pkl", ARRAYS["a"])
    assert open_arrays(tmp_path / "one.pkl").names == ("",)
    write_pickle(tmp_path / "list.pkl", [ARRAYS["a"], ARRAYS["b c"]])
    opened = open_arrays(tmp_path / "list.pkl")
    assert (opened.names, opened.names_are) == (("0", "1"), "places")
    np.testing.assert_array_equal(opened.array("1"), ARRAYS["b c"])
    objects = np.empty(2, dtype=object)
    objects[:] = list(ARRAYS.values())
    write_pickle(tmp_path / "objects.pkl", objects)
    np.testing.assert_array_equal(open_arrays(tmp_path / "objects.pkl").array("0"), ARRAYS["a"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text", "holds text; it should hold a dict of arrays by clip id, or one array"),
        (None, "holds None"),
        (3, "holds a int"),
        ({(1, 2): np.ones(2)}, "a key that is neither text nor a number"),
        ({1.5: np.ones(2)}, "names an array by a float; clip ids are text"),
        ({True: np.ones(2)}, "names an array by a bool"),
        ({"1": np.ones(2), 1: np.ones(2)}, "two arrays of '1'"),
        ({}, "holds no arrays"),
        ([], "holds no arrays"),
    ],
)
def test_pickles_that_hold_something_else(tmp_path, content, says):
    write_pickle(tmp_path / "x.pkl", content)
    with pytest.raises(InputError, match=says):
        open_arrays(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"streams": 1, "times": 2}, "'a' is a dict of 'streams', 'times', and should be an array"),
        ({}, "'a' is an empty dict"),
        (1.5, "'a' is a float"),
        ("text", "'a' is text"),
        ([1, "x"], "'a' is a list with text in it"),
        ([[1, 2], [3]], "the rows of 'a' differ in length"),
        ([[[1]]], "'a' is a list with a list in it"),
        ([np.ones((2, 2))], r"'a' is a list with an array of shape \(2, 2\) in it"),
    ],
)
def test_values_of_a_pickle_that_are_no_streams(tmp_path, value, says):
    write_pickle(tmp_path / "x.pkl", {"a": value})
    with pytest.raises(InputError, match=says) as refusal:
        open_arrays(tmp_path / "x.pkl").array("a")
    assert str(tmp_path / "x.pkl") in str(refusal.value)


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
        np.asarray(open_arrays(path).array("" if name == "x.npy" else "a")[...])


def test_python_objects_are_left_to_pickles(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    with pytest.raises(InputError, match=r"holds Python objects.*as a \.pickle"):
        open_arrays(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", a=objects)
    with pytest.raises(InputError, match="'a' holds Python objects"):
        open_arrays(tmp_path / "x.npz").array("a")
    write_pickle(tmp_path / "y.npy", 1)
    with pytest.raises(InputError, match="holds Python objects"):
        open_arrays(tmp_path / "y.npy")


def test_wrong_names_for_files(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(2))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(InputError, match=r"no \.npz but a \.npy, by its content"):
        open_arrays(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", np.ones(2))
    (tmp_path / "y.npz").rename(tmp_path / "y.npy")
    with pytest.raises(InputError, match=r"no \.npy but a \.npz, by its content"):
        open_arrays(tmp_path / "y.npy")


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
        open_arrays(tmp_path / "empty").array("a")
    np.savez(tmp_path / "empty" / "b.npz", np.ones(2), np.ones(2))
    with pytest.raises(InputError, match=r"b\.npz holds 2 arrays"):
        open_arrays(tmp_path / "empty").array("b")
