"""Constants of clips as a file: what is in it, and that it is whole."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mee.errors import InputError
from mee.evaluation.constants_file import METADATA, check_constants_path, read_constants, write_constants
from mee.evaluation.result import Normalisation
from mee.ranking.normalise import ClipConstants

FACTS = Normalisation(method="nnn", bank="9 training captions", parameters={"neighbours": 3, "alpha": 0.75})


def test_a_row_a_clip_and_the_method_beside_them(tmp_path):
    path, constant = tmp_path / "constants.parquet", torch.tensor([0.1, -2.5])
    write_constants(path, ["a.mp4", "b.mp4"], ClipConstants(constant, torch.tensor([False, True])), FACTS)
    table = pq.read_table(path)
    assert table.column_names == ["clip_id", "constant", "active"]
    assert table["clip_id"].to_pylist() == ["a.mp4", "b.mp4"]
    assert str(table["constant"].type) == "float"
    assert table["constant"].to_pylist() == constant.tolist()
    assert table["active"].to_pylist() == [False, True]
    assert json.loads(table.schema.metadata[METADATA.encode()]) == FACTS.model_dump()
    assert list(tmp_path.iterdir()) == [path]


def test_where_all_queries_change_every_clip_is_active(tmp_path):
    path = tmp_path / "constants.PARQUET"
    write_constants(path, ("a.mp4", "b.mp4"), ClipConstants(torch.zeros(2)), FACTS)
    assert pq.read_table(path)["active"].to_pylist() == [True, True]


def test_a_file_that_was_there_is_replaced_or_left_as_it_was(tmp_path):
    path = tmp_path / "constants.parquet"
    write_constants(path, ["a.mp4"], ClipConstants(torch.zeros(1)), FACTS)
    write_constants(path, ["b.mp4"], ClipConstants(torch.ones(1)), FACTS)
    assert pq.read_table(path)["clip_id"].to_pylist() == ["b.mp4"]
    with pytest.raises(ValueError, match="length"):
        write_constants(path, ["b.mp4", "c.mp4"], ClipConstants(torch.ones(1)), FACTS)
    assert pq.read_table(path)["clip_id"].to_pylist() == ["b.mp4"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["constants.csv", "constants", "parquet"])
def test_another_ending_is_refused(tmp_path, name):
    message = f"^constants are written as .parquet, so '{tmp_path / name}' cannot be; give it that ending$"
    with pytest.raises(InputError, match=message):
        check_constants_path(tmp_path / name)
    with pytest.raises(InputError, match=message):
        write_constants(tmp_path / name, ["a.mp4"], ClipConstants(torch.zeros(1)), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"^constants cannot be written to '.*': No such file or directory$"):
        write_constants(tmp_path / "no" / "c.parquet", ["a.mp4"], ClipConstants(torch.zeros(1)), FACTS)
    with pytest.raises(InputError, match="a name is no text that UTF-8 knows"):
        write_constants(tmp_path / "c.parquet", ["a\udcff.mp4"], ClipConstants(torch.zeros(1)), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_is_read(tmp_path):
    path, constant = tmp_path / "constants.parquet", torch.tensor([0.1, -2.5, 3.0])
    write_constants(path, ["a", "b", "c"], ClipConstants(constant, torch.tensor([False, True, True])), FACTS)
    read = read_constants(path)
    assert read.facts == FACTS
    values, active = read.of(["c", "a"])
    assert (values.dtype, values.tolist()) == (np.float32, constant[[2, 0]].tolist())
    assert active.tolist() == [True, False]
    assert [len(part) for part in read.of([])] == [0, 0]


def test_a_clip_without_a_constant_is_named(tmp_path):
    path = tmp_path / "constants.parquet"
    write_constants(path, ["a", "b"], ClipConstants(torch.tensor([0.5, torch.nan])), FACTS)
    read = read_constants(path)
    assert read.of(["a"])[0].tolist() == [0.5]
    with pytest.raises(
        InputError, match=r"has no constant of 2 of 3 clips, 'x' among them; compute them over all"
    ):
        read.of(["a", "x", "y"])
    with pytest.raises(InputError, match=r"is damaged: the constant of 'b' is nan; compute it again"):
        read.of(["b"])


def table(**changed):
    columns = {"clip_id": ["a", "b"], "constant": pa.array([1.0, 2.0], pa.float32()), "active": [True, False]}
    columns |= changed
    return pa.table({name: values for name, values in columns.items() if values is not None})


TOLD = {METADATA: FACTS.model_dump_json()}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table(), "it has no metadata 'mee.evaluation.normalisation'"),
        (table(active=None).replace_schema_metadata(TOLD), "no whole column 'active' of type bool"),
        (table(constant=[1.0, 2.0]).replace_schema_metadata(TOLD), "no whole column 'constant' of type float"),
        (table(clip_id=["a", None]).replace_schema_metadata(TOLD), "no whole column 'clip_id'"),
        (table(clip_id=["a", "a"]).replace_schema_metadata(TOLD), "a clip has two rows"),
        (table().replace_schema_metadata({METADATA: "{}x"}), "says nothing sensible"),
        (table().replace_schema_metadata({METADATA: '{"method": "magic"}'}), "says nothing sensible"),
        (table().replace_schema_metadata({METADATA: '{"method": "dsl"}'}), "'dsl' is no constant a clip"),
    ],
)
def test_another_table_is_refused(tmp_path, content, says):
    pq.write_table(content, tmp_path / "c.parquet")
    with pytest.raises(InputError) as refused:
        read_constants(tmp_path / "c.parquet")
    assert says in str(refused.value)
    assert str(refused.value).endswith("; make it again: mee evaluate … --constants")


def test_a_file_that_is_not_there_or_damaged_is_one_sentence(tmp_path):
    path = tmp_path / "c.parquet"
    with pytest.raises(InputError, match=r"^no constants at '.*c\.parquet'; make them with"):
        read_constants(path)
    write_constants(path, ["a"], ClipConstants(torch.zeros(1)), FACTS)
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-20], b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(InputError, match="holds no constants that can be used") as refused:
            read_constants(path)
        assert "\n" not in str(refused.value)
