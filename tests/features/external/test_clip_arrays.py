"""Which part of a file belongs to which clip."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.external.clip_arrays import arrange
from features.external.formats import ArrayFile, open_arrays

IDS = ["a", "b", "c"]


def file_of(**arrays):
    return ArrayFile("x.npz", tuple(arrays), lambda name: arrays[name])


def opened(path, **arrays):
    np.savez(path / "x.npz", **arrays)
    return open_arrays(path / "x.npz")


def test_one_array_a_clip():
    found = arrange(file_of(a=np.ones(3), b=np.zeros((2, 3))), None)
    assert list(found.places) == ["a", "b"]
    np.testing.assert_array_equal(found.read("b"), np.zeros((2, 3)))
    assert found.read("c") is None
    assert found.layout == "keyed, the first (3,) float64"


@pytest.mark.parametrize("shape", [(3, 2), (3, 4, 2)])
@pytest.mark.parametrize("name", ["stream", "anything"])
def test_all_clips_in_one_array(shape, name):
    stack = np.random.default_rng(0).normal(size=shape)
    inside = file_of(**{name: stack, "ids": np.array(IDS)})
    for found in (arrange(file_of(**{name: stack}), IDS), arrange(inside, None), arrange(inside, ["c"])):
        assert list(found.places) == IDS
        for row, clip_id in zip(stack, IDS):
            np.testing.assert_array_equal(found.read(clip_id), row)
        assert found.layout == f"stacked {shape} float64"


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_ragged_rows_are_what_was_put_together(lengths):
    streams = [np.full((length, 2), number) for number, length in enumerate(lengths)]
    file = file_of(rows=np.concatenate(streams), offsets=np.cumsum([0, *lengths]))
    ids = [f"v{number}" for number in range(len(lengths))]
    found = arrange(file, ids)
    for clip_id, stream in zip(ids, streams):
        np.testing.assert_array_equal(found.read(clip_id), stream)


def test_a_list_of_arrays(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([np.ones((2, 2)), None, [3.0, 4.0]]))
    found = arrange(open_arrays(tmp_path / "x.pkl"), IDS)
    np.testing.assert_array_equal(found.read("a"), np.ones((2, 2)))
    assert found.read("b") is None
    np.testing.assert_array_equal(found.read("c"), [3, 4])


def test_the_only_array_of_a_file_may_be_a_listed_clips_own():
    found = arrange(file_of(b=np.ones((3, 2))), IDS)
    assert list(found.places) == ["b"]


def test_a_folder_of_one_clip_is_that_clip(tmp_path):
    np.save(tmp_path / "names.npy", np.ones((3, 2)))
    assert list(arrange(open_arrays(tmp_path), None).places) == ["names"]


@pytest.mark.parametrize("kind", ["S", "U"])
def test_ids_in_the_file(tmp_path, kind):
    found = arrange(opened(tmp_path, video_ids=np.array(IDS, dtype=kind), x=np.ones((3, 2))), None)
    assert list(found.places) == IDS
    numbers = arrange(file_of(ids=np.arange(3), rows=np.ones((3, 2)), offsets=np.arange(4)), None)
    assert list(numbers.places) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("arrays", "ids", "says"),
    [
        ({"stream": np.ones((3, 2))}, None, "holds one array for 3 clips and no ids; give a list of them.*--ids"),
        ({"resnet": np.ones((3, 2))}, None, "no ids"),
        ({"rows": np.ones((3, 2)), "offsets": np.arange(4)}, None, "no ids"),
        ({"stream": np.ones((3, 2))}, ["a", "b"], "holds 3 clips, and --ids 2 ids; they must be as many"),
        ({"stream": np.ones((3, 2)), "ids": np.array(["a"])}, IDS, "holds 3 clips, and 'ids' 1 ids"),
        ({"stream": np.ones((3, 2)), "ids": np.array(["a", "b", "a"])}, None, "'ids' has 1 ids more than once"),
        ({"stream": np.ones((3, 2)), "ids": np.ones(3)}, None, r"'ids' is \(3,\) float64, no list of clip ids"),
        ({"stream": np.ones((3, 2)), "ids": np.ones((3, 1), int)}, None, "no list of clip ids"),
        (
            {"x": np.ones((3, 2)), "y": np.ones(3), "ids": np.array(IDS)},
            None,
            "holds more than ids, x: y; keep one",
        ),
        ({"rows": np.ones((3, 2)), "offsets": np.arange(4), "t": np.ones(3)}, IDS, "more than offsets, rows: t"),
        ({"x": np.ones((3, 1, 1, 2))}, IDS, r"an array of shape \(3, 1, 1, 2\); clips are stacked as \(N, D\)"),
        ({"x": np.ones(3)}, IDS, r"an array of shape \(3,\)"),
        ({"rows": np.ones(3), "offsets": np.arange(4)}, IDS, r"rows \(3,\) and offsets \(4,\) int64 should be"),
        ({"rows": np.ones((3, 2)), "offsets": np.ones(4)}, IDS, "whole numbers"),
        ({"rows": np.ones((3, 2)), "offsets": np.ones(0, int)}, IDS, "whole numbers"),
        (
            {"rows": np.ones((3, 2)), "offsets": np.array([0, 1, 2])},
            IDS,
            "rise from 0 to the 3 rows, and go from 0 to 2",
        ),
        ({"rows": np.ones((3, 2)), "offsets": np.array([1, 3])}, IDS, "go from 1 to 3"),
        ({"rows": np.ones((3, 2)), "offsets": np.array([0, 2, 1, 3])}, IDS, "0 to 3, not always rising"),
        ({"a": np.ones(2), " a": np.ones(2)}, None, "has 1 ids more than once, 'a'"),
        ({"a": np.ones(2), " ": np.ones(2)}, None, "id 2 is empty"),
    ],
)
def test_what_does_not_fit_together(arrays, ids, says):
    with pytest.raises(InputError, match=says) as refusal:
        arrange(file_of(**arrays), ids)
    assert str(refusal.value).startswith("x.npz")


def test_an_array_that_cannot_be_read(tmp_path):
    file = opened(tmp_path, a=np.ones(2), b=np.array([{}]))
    found = arrange(file, None)
    with pytest.raises(InputError, match="'b' holds Python objects"):
        found.read("b")


def test_other_names_for_the_clips():
    found = arrange(file_of(a=np.ones(2), b=np.zeros(2)), None)
    renamed = found.renamed(lambda clip_id: f"{clip_id}.mp4")
    np.testing.assert_array_equal(renamed.read("b.mp4"), np.zeros(2))
    assert renamed.read("b") is None
    with pytest.raises(InputError, match=r"two streams of the clip 'a\.mp4' of the store"):
        found.renamed(lambda _: "a.mp4")
