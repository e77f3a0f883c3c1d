"""Metadata of users: what columns are taken for, whose they are, and what is refused."""

from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.metadata import OWN, read_metadata
from mee.errors import InputError

CLIPS = {"a.mp4": "a.mp4", "long.mp4#0": "long.mp4", "long.mp4#1": "long.mp4", "sub/b.avi": "sub/b.avi"}
SOURCE = SimpleNamespace(
    name="store",
    clips=pd.DataFrame({"video": list(CLIPS.values())}, index=pd.Index(list(CLIPS), name="clip_id")),
    failed={"broken.mp4": "the file is empty"},
)


@pytest.fixture
def written(tmp_path):
    def write(text, name="facts.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8") if isinstance(text, str) else pq.write_table(text, path)
        return path

    return write


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-20", ""], "Int64", [1, -20, None]), (["1", "2.5", "1e3"], "Float64", [1.0, 2.5, 1000.0]),
        (["true", "FALSE", " "], "boolean", [True, False, None]),
        (["007", "1", "2"], "string", ["007", "1", "2"]),
        (["12345678901234567890", "1", "2"], "string", ["12345678901234567890", "1", "2"]),
        (["+1", "2", "3"], "string", ["+1", "2", "3"]), (["nan", "1", "inf"], "string", ["nan", "1", "inf"]),
        (["NA", "None", " padded "], "string", ["NA", "None", "padded"]),
        (["", "", ""], "string", [None, None, None]), (["1", "x", ""], "string", ["1", "x", None]),
        (["true", "1", ""], "string", ["true", "1", None]),
    ],
)  # fmt: skip
def test_what_a_column_of_csv_is(written, cells, kind, values):
    path = written("\n".join(["video_id,split", *(f"v{n},{cell}" for n, cell in enumerate(cells))]))
    column = read_metadata(path).columns["split"]
    assert column.dtype == kind
    assert [None if value is pd.NA else value for value in column] == values


def optional(values):
    return st.lists(st.one_of(st.none(), values), min_size=1)


@given(optional(st.integers(-(2**63), 2**63 - 1)), optional(st.floats(allow_infinity=False)))
def test_numbers_are_never_changed(tmp_path_factory, whole, numbers):
    path = tmp_path_factory.mktemp("m") / "m.csv"
    path.write_text("video,n\n" + "".join(f"v{i},{'' if n is None else n}\n" for i, n in enumerate(whole)))
    column = read_metadata(path).columns["n"]
    assert str(column.dtype) in ("Int64", "Float64", "string")
    assert [None if value is pd.NA else str(value) for value in column] == [
        n if n is None else str(n) for n in whole
    ]
    path = path.with_suffix(".parquet")
    names = list(map(str, range(len(numbers))))
    pq.write_table(pa.table({"video": names, "n": pa.array(numbers, pa.float64())}), path)
    column = read_metadata(path).columns["n"]
    assert column.dtype == "Float64"
    wanted = [None if n is None or n != n else n for n in numbers]
    assert [None if value is pd.NA else value for value in column] == wanted


def test_kinds_of_parquet(written):
    table = pa.table(
        {
            "clip_id": ["a", "b"], "text": pa.array(["x", None]).dictionary_encode(),
            "large": pa.array(["x", None], pa.large_string()), "small": pa.array([1, None], pa.int8()),
            "half": pa.array([1.5, None], pa.float32()), "yes": [True, None], "void": pa.nulls(2),
        }
    )  # fmt: skip
    columns = read_metadata(written(table, "m.PARQUET")).columns
    kinds = {name: str(kind) for name, kind in columns.dtypes.items()}
    text = dict.fromkeys(("text", "large", "void"), "string")
    assert kinds == {**text, "small": "Int64", "half": "Float64", "yes": "boolean"}
    assert columns.iloc[0].tolist()[:5] == ["x", "x", 1, 1.5, True]
    assert columns.iloc[1].isna().all()


def test_rows_are_of_clips_or_of_all_clips_of_a_video(written):
    path = written("video_id,split\nlong,test\na.mp4,train\nunknown,val\nbroken.mp4,val\n")
    table, unknown = read_metadata(path).of_clips(SOURCE)
    assert table.index.name == "clip_id"
    assert table["split"].to_dict() == {"long.mp4#0": "test", "long.mp4#1": "test", "a.mp4": "train"}
    assert unknown == ["unknown", "broken.mp4"]
    path = written("clip_id,video,mood\nlong.mp4#1,long.mp4,glad\n")
    assert read_metadata(path).of_clips(SOURCE)[0].to_dict() == {"mood": {"long.mp4#1": "glad"}}
    for rows, message in (
        ("x,test\ny,val\n", r"2 of 2 clips .* usable in store: x .*, like 'a\.mp4'"),
        ("long.mp4,test\nlong.mp4#1,val\n", "rows 'long.mp4' and 'long.mp4#1' are both about 'long.mp4#1'; leave"),
    ):
        with pytest.raises(InputError, match=message):
            read_metadata(written("video,split\n" + rows)).of_clips(SOURCE)


def test_names_of_columns(written):
    for name in (*OWN[2:], "width", "", "a\tb", "\x1b[31m"):
        path = written(f"clip_id,fine,{name}\na.mp4,1,2\n")
        with pytest.raises(
            InputError, match=r"has a column '\w+' of its own; give|is called '.*'; give it a name"
        ):
            read_metadata(path, taken=("width",))
    for name in ("two words", "class", "Größe", "frame-rate", "2024", "taken_at,Taken At"):
        row = ",2" * len(name.split(","))
        assert ",".join(read_metadata(written(f"clip_id,{name}\na.mp4{row}\n")).columns) == name
    with pytest.raises(InputError, match=r"two columns 'Gr.*; rename"):
        read_metadata(written("clip_id,Größe,Gro\u0308ße\na.mp4,2,3\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it has nothing"),
        ("clip_id\na\n", "it needs a row and, besides 'clip_id', a column at least"),
        ("clip_id,split\n", "it needs a row"),
        ("name,split\na,test\n", "has no column 'clip_id' or 'video_id'"),
        ("video,split\na,test\n ,val\n", "row 2 has nothing in column 'video'"),
        ("video,split\na,test\nb,val\na,val\n", "'a' has two rows"),
        ("video,split,split\na,test,val\n", "has two columns 'split'"),
        ("video,split\na,test,news\n", "line 2 has more fields than the header"),
        ("video,n\na,1e999\n", "column 'n' holds an infinite number"),
        ('video,n\n"a,1\n', "is not a readable .csv table"),
        (",".join(["video", *map(str, range(1000))]) + "\na\n", "has 1,001 columns; no more than 1,000"),
    ],
)
def test_a_table_that_cannot_be_used(written, text, says):
    with pytest.raises(InputError) as refused:
        read_metadata(written(text))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_and_columns_of_other_kinds(tmp_path, written):
    with pytest.raises(InputError, match="no file of metadata at"):
        read_metadata(tmp_path / "m.csv")
    with pytest.raises(InputError, match=r"is read from \.csv, \.tsv or \.parquet, not '\.xlsx'"):
        read_metadata(written("x", "m.xlsx"))
    for name in ("m.csv", "m.parquet"):
        (tmp_path / name).write_bytes(b"\xff\x00\xfe" * 99)
        with pytest.raises(InputError, match=r"is not a readable|is not UTF-8"):
            read_metadata(tmp_path / name)
    half = pa.Table.from_arrays([pa.array([b"\xff"]).cast(pa.string(), safe=False)] * 2, names=["clip_id", "x"])
    with pytest.raises(InputError, match=r"m\.parquet is not a readable"):
        read_metadata(written(half, "m.parquet"))
    twice = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["clip_id", "x", "x"])
    with pytest.raises(InputError, match="two columns 'x'"):
        read_metadata(written(twice, "twice.parquet"))
    for values, message in (
        (pa.array([[1], [2]]), "'x' holds list<.*>; an index keeps text, numbers and true or false"),
        (pa.array([1, 2], pa.timestamp("s")), r"'x' holds timestamp\[ms\]"),
        (pa.array([b"a", b"b"]), "'x' holds binary"),
        (pa.array([2**63, 1], pa.uint64()), "'x' holds uint64"),
        (pa.array([1.0, float("-inf")]), "holds an infinite number"),
    ):
        with pytest.raises(InputError, match=message):
            read_metadata(written(pa.table({"clip_id": ["a", "b"], "x": values}), "m.parquet"))
