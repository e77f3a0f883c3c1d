"""Which part of a file belongs to which clip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.external.arrays import arrange
from features.external.formats import ArrayFile, open_arrays

IDS = ["a", "b", "c"]
STACK = np.ones((3, 2))


def file_of(**arrays):
    return ArrayFile("x.npz", tuple(arrays), lambda name: arrays[name])


def test_one_array_a_clip():
    found = arrange(file_of(a=np.ones(3), b=np.zeros((2, 3)), c=None), None)
    assert list(found.places) == IDS
    np.testing.assert_array_equal(found.read("b"), np.zeros((2, 3)))
    assert found.read("c") is None
    assert found.read("d") is None
    assert found.layout == "keyed, the first (3,) float64"


@pytest.mark.parametrize("shape", [(3, 2), (3, 4, 2)])
@pytest.mark.parametrize("name", ["", "anything"])
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
    ids = [f"v{number}" for number in range(len(lengths))]
    arrays = {"rows": np.concatenate(streams), "offsets": np.cumsum([0, *lengths]), "ids": np.array(ids)}
    found = arrange(file_of(**arrays), None)
    for clip_id, stream in zip(ids, streams):
        np.testing.assert_array_equal(found.read(clip_id), stream)


def test_a_lone_array_may_be_that_of_one_clip(tmp_path):
    assert list(arrange(file_of(b=STACK), IDS).places) == ["b"]
    np.save(tmp_path / "ids.npy", STACK)
    assert list(arrange(open_arrays(tmp_path), None).places) == ["ids"]


@pytest.mark.parametrize("ids", [np.array(IDS, "S"), np.array(IDS), np.arange(3)])
def test_ids_in_the_file(ids):
    assert list(arrange(file_of(ids=ids, x=STACK), None).places) == [
        str(clip.decode() if isinstance(clip, bytes) else clip) for clip in ids.tolist()
    ]


@pytest.mark.parametrize(
    ("arrays", "ids", "says"),
    [
        ({"x": STACK}, None, "no ids.*--ids"),
        ({"x": STACK}, ["a", "b"], "3 clips, and --ids 2 ids"),
        ({"x": STACK, "ids": np.array(["a"])}, IDS, "3 clips, and 'ids' 1 ids"),
        ({"x": STACK, "ids": np.array(["a", "b", "a"])}, None, "'ids' has 1 ids more than once"),
        ({"x": STACK, "ids": np.ones(3)}, None, r"'ids' is \(3,\) float64"),
        ({"x": STACK, "ids": np.ones((3, 1), int)}, None, "no list of clip ids"),
        ({"x": STACK, "y": STACK, "ids": np.array(IDS)}, None, "more than ids and one array: x, y"),
        ({"x": np.ones((3, 1, 1, 2))}, IDS, r"\(3, 1, 1, 2\)"),
        ({"x": np.ones(3)}, IDS, r"\(3,\)"),
        ({"x": None}, IDS, r"\(\)"),
        ({"rows": STACK, "offsets": np.arange(4)}, None, "3 clips and no ids"),
        ({"rows": STACK, "offsets": np.arange(4)}, ["a"], "3 clips, and --ids 1 ids"),
        ({"rows": STACK, "offsets": np.arange(4), "t": STACK, "ids": np.array(IDS)}, None, "rows, offsets, t"),
        ({"x": STACK, "ids": None}, None, "'ids' holds nothing"),
        ({"rows": np.ones(3), "offsets": np.arange(4)}, IDS, "offsets"),
        ({"rows": STACK, "offsets": np.ones(4)}, IDS, "offsets"),
        ({"rows": STACK, "offsets": np.ones(0, int)}, IDS, "offsets"),
        ({"rows": STACK, "offsets": np.array([0, 1, 2])}, IDS, "offsets"),
        ({"rows": STACK, "offsets": np.array([1, 3])}, IDS, "offsets"),
        ({"rows": STACK, "offsets": np.array([0, 2, 1, 3], "u8")}, IDS, "offsets"),
        ({"a": np.ones(2), " a": np.ones(2)}, None, "more than once, 'a'"),
        ({"a": np.ones(2), " ": np.ones(2)}, None, "id 2 is empty"),
    ],
)
def test_what_does_not_fit_together(arrays, ids, says):
    with pytest.raises(InputError, match=says) as refusal:
        arrange(file_of(**arrays), ids)
    assert str(refusal.value).startswith("x.npz")


def test_an_array_that_cannot_be_read(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2), b=np.array([{}]))
    with pytest.raises(InputError, match="'b' holds Python objects"):
        arrange(open_arrays(tmp_path / "x.npz"), None).read("b")


def test_other_names_for_the_clips():
    found = arrange(file_of(a=np.ones(2), b=np.zeros(2)), None)
    renamed = found.renamed(lambda clip_id: f"{clip_id}.mp4")
    np.testing.assert_array_equal(renamed.read("b.mp4"), np.zeros(2))
    assert renamed.read("b") is None
    with pytest.raises(InputError, match=r"a\.mp4"):
        found.renamed(lambda _: "a.mp4")
