"""Constants of clips as a file: what is in it, and that it is whole."""

import json

import pyarrow.parquet as pq
import pytest
import torch

from mee.constants_file import METADATA, check_constants_path, write_constants
from mee.errors import InputError
from mee.ranking.normalised import ClipConstants
from mee.result import Normalisation

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
