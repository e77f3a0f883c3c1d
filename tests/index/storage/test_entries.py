"""Entries take what an index can keep, and say in one sentence what they cannot."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from index.storage.entries import Entries, joined, together
from mee.encode import Gallery
from mee.model import VideoEmbedding
from tests.index.made_clips import LAYOUT, as_dict, made_entries

ENTRIES = made_entries(["b", "a"], missing=0)
VIDEO = VideoEmbedding(torch.from_numpy(ENTRIES.packed), torch.from_numpy(ENTRIES.available))
GALLERY = Gallery(("b", "a"), VIDEO, ("c",))


def clips(**columns):
    table = {"video": ["v", "v", "w", "x"], "start_s": [0, 1, 2, 3], "end_s": [1.5, 2, 3, 4], **columns}
    return pd.DataFrame(table, index=pd.Index(["a", "b", "c", "not in the gallery"], name="clip_id"))


def test_a_gallery_and_its_table():
    entries = Entries.of(GALLERY, clips(), LAYOUT)
    assert entries.table.to_pydict() == {
        "clip_id": ["b", "a", "c"],
        "video": ["v", "v", "w"],
        "start_s": [1.0, 0.0, 2.0],
        "end_s": [2.0, 1.5, 3.0],
        "offset": [None] * 3,
        "version": [None] * 3,
    }
    assert entries.available.tolist() == [[True] * 3, [True] * 3, [False] * 3]
    assert (entries.packed[:2] == GALLERY.video.packed.numpy()).all()
    assert as_dict(entries)["c"][1] == b""


def test_metadata_keeps_its_kind():
    made = clips(
        text=["x", None, "z", ""],
        number=[1, 2, 3, 4],
        fraction=[0.5, math.nan, 1, 2],
        flag=[True, False, True, True],
        maybe=pd.array([1, None, 3, 4], dtype="Int64"),
        choice=pd.Categorical(["p", "q", "p", "q"]),
        nothing=[None] * 4,
        half=np.array([1, 2, 3, 4], dtype=np.float16),
        version=["1", "2", None, "4"],
    )
    table = Entries.of(GALLERY, made, LAYOUT).table
    assert {name: str(table[name].type) for name in table.column_names[6:]} == {
        **dict.fromkeys(("text", "choice"), "string"),
        **dict.fromkeys(("number", "maybe"), "int64"),
        **dict.fromkeys(("fraction", "half"), "double"),
        "flag": "bool",
        "nothing": "null",
    }
    assert table["fraction"].to_pylist() == [None, 0.5, 1.0]  # NaN is no number
    assert table["maybe"].to_pylist() == [None, 1, 3]
    assert table["version"].to_pylist() == ["2", "1", None]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (clips().drop(index="c"), "1 clips have no row in the table of clips, 'c' among them"),
        (pd.concat([clips(), clips().loc[["a"]]]), "clip 'a' has two rows in the table of clips"),
        (clips().drop(columns="video"), "column 'video' of the table of clips is missing"),
        (clips(video=["v", None, "w", "x"]), "clip 'b' has no video"),
        (clips(start_s=[0, math.nan, 2, 3]), "clip 'b' has no finite start_s"),
        (clips(end_s=[0, math.inf, 2, 3]), "clip 'b' has no finite end_s"),
        (clips(start_s=["0", "x", "2", "3"]), "column 'start_s' holds .* that are not numbers"),
        (clips(offset=[math.inf, 1, 2, 3]), "clip 'a' has no finite offset"),
        (clips(offset=[0, 1e39, 2, 3]), "clip 'b' has no finite offset"),  # as float32
        (clips(pattern=["1"] * 4), "column 'pattern' of the table of clips is made by the index; give yours"),
        (clips(day=pd.to_datetime(["2020-01-01"] * 4)), "column 'day' holds .*; an index keeps text, numbers"),
        (clips(tags=[["x"], ["y"], [], []]), "column 'tags' holds .*; an index keeps text, numbers"),
        (clips(mixed=["x", 1, 2.5, None]), "column 'mixed' of the table of clips holds values of several types"),
        (clips(big=np.array([2**64 - 1] * 4, dtype=np.uint64)), "column 'big' holds uint64 that are not numbers"),
    ],
)
def test_what_a_table_cannot_be(table, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Entries.of(GALLERY, table, LAYOUT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.5, 3e38])
@pytest.mark.parametrize("expert", range(3))
def test_vectors_are_finite_and_no_longer_than_one(value, expert):
    entries = made_entries(["a", "b", "c"], missing=0)
    entries.packed[1, LAYOUT.slices[expert].start] = value
    with pytest.raises(ValueError, match=f"the embedding of clip 'b' by expert '{LAYOUT.names[expert]}' has"):
        entries.checked(LAYOUT)
    entries.available[1, expert] = False  # what is missing may be anything
    entries.checked(LAYOUT)


def test_shapes_and_names_are_checked():
    entries = made_entries(["a", "b"])
    table, packed, available = entries.table, entries.packed, entries.available
    shapes = r"2 clips come with .* this index wants \(2, 13\) and \(2, 3\) bool"
    twice = pa.Table.from_arrays([*table.columns, table["video"]], [*table.column_names, "video"])
    for bad, sentence in (
        (Entries(table, packed[:1], available), shapes),
        (Entries(table, packed[:, 1:], available), shapes),
        (Entries(table, packed, available[:, 1:]), shapes),
        (Entries(table, packed, available.astype(np.int64)), shapes),
        (Entries(table.set_column(0, "clip_id", [["a", "a"]]), packed, available), "'a' is given twice"),
        (Entries(table.set_column(0, "clip_id", [["a", ""]]), packed, available), "no clip_id"),
        (Entries(twice, packed, available), "two columns 'video'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            bad.checked(LAYOUT)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=6))
def test_any_text_is_a_name(ids):
    assert set(as_dict(made_entries(ids))) == set(ids)


# ---- tables of an index may have different columns, but not different kinds of one


def schema(**columns):
    return pa.schema(list(columns.items()))


def test_columns_of_several_tables():
    parts = (
        schema(a=pa.int64(), b=pa.null()),
        schema(b=pa.string(), a=pa.int64()),
        schema(a=pa.float64(), c=pa.bool_()),
        schema(a=pa.null()),
    )
    assert together(parts) == schema(a=pa.float64(), b=pa.string(), c=pa.bool_())
    assert together([]) == pa.schema([])
    for known, new in product((pa.string(), pa.bool_(), pa.int64(), pa.float64()), repeat=2):
        if known == new or {known, new} == {pa.int64(), pa.float64()}:
            together([schema(a=known), schema(a=new)])
        else:
            with pytest.raises(ValueError, match=r"'a' holds .* here and .* in the index; give it another name"):
                together([schema(a=known), schema(a=new)])
    table = joined([pa.table({"a": [1], "b": ["x"]}), pa.table({"a": [0.5], "c": [True]})])
    assert table.to_pydict() == {"a": [1.0, 0.5], "b": ["x", None], "c": [None, True]}
    assert joined(iter([table])) is table
