"""Tables of an index may have different columns, but not different kinds of one."""

import pyarrow as pa
import pytest

from index.storage.columns import joined, together


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


@pytest.mark.parametrize("known", [pa.string(), pa.bool_(), pa.int64(), pa.float64()])
@pytest.mark.parametrize("new", [pa.string(), pa.bool_(), pa.int64(), pa.float64()])
def test_what_does_not_go_together(known, new):
    numbers = {pa.int64(), pa.float64()}
    if known == new or {known, new} == numbers:
        together([schema(a=known), schema(a=new)])
    else:
        with pytest.raises(ValueError, match=r"'a' holds .* here and .* in the index; give it another name"):
            together([schema(a=known), schema(a=new)])


def test_tables_under_one_another():
    table = joined([pa.table({"a": [1], "b": ["x"]}), pa.table({"a": [0.5], "c": [True]})])
    assert table.to_pydict() == {"a": [1.0, 0.5], "b": ["x", None], "c": [None, True]}
    assert joined(iter([table])) is table
