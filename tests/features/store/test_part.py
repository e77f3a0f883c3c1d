"""A part tells what its shard must be, and whether it is itself what was written."""

import hashlib
import re

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.store.part import FileFacts, Part, is_intact, made_by, read_part

TABLE = pa.table({"clip_id": ["a", "b", "0" * 64], "sight": ["present", None, "missing"]})
PART = Part(TABLE, {"sight": "abc-1"}, {"sight/x.safetensors": FileFacts.of(b"content")}, "1.2.3")


def test_round_trip(tmp_path):
    (tmp_path / "x.parquet").write_bytes(PART.encode())
    again = read_part(tmp_path / "x.parquet")
    assert again == PART
    assert again.code == "1.2.3"
    assert made_by(tmp_path / "x.parquet") == {"sight": "abc-1"}
    assert again.files["sight/x.safetensors"] == (7, hashlib.sha256(b"content").hexdigest())


def test_the_seal_is_the_hash_of_the_file_with_zeros_in_its_place(tmp_path):
    """As the docstring says, so that other programs can check it."""
    content = PART.encode()
    digest = pq.read_schema(pa.BufferReader(content)).metadata[b"sha256"]
    assert content.count(digest) == 1
    assert hashlib.sha256(content.replace(digest, b"0" * 64)).hexdigest().encode() == digest


def test_every_flipped_bit_shows():
    content = bytearray(PART.encode())
    for place in range(len(content) * 8):
        content[place // 8] ^= 1 << place % 8
        assert is_intact(bytes(content)) is False, place
        content[place // 8] ^= 1 << place % 8


def test_a_name_that_is_no_text_is_damage(tmp_path):
    """Of whichever column: Arrow leaves the decoding of names to Python."""
    content, path = PART.encode(), tmp_path / "x.parquet"
    for place in (match.start() for match in re.finditer(b"clip_id", content)):
        path.write_bytes(content[:place] + b"\xe7" + content[place + 1 :])
        assert is_intact(path.read_bytes()) is False
    spoilt = content.index(b"clip_id", content.index(b"schema"))
    path.write_bytes(content[:spoilt] + b"\xe7" + content[spoilt + 1 :])
    with pytest.raises(InputError, match=r"x\.parquet is damaged"):
        read_part(path)


def test_a_part_as_it_was_is_intact():
    assert is_intact(PART.encode()) is True


def test_one_of_an_earlier_version_has_no_seal(tmp_path):
    old = TABLE.replace_schema_metadata({"streams": '{"sight": "abc-1"}'})
    pq.write_table(old, tmp_path / "x.parquet")
    assert is_intact((tmp_path / "x.parquet").read_bytes()) is None
    assert read_part(tmp_path / "x.parquet").files is None


def test_pandas_reads_it(tmp_path):
    (tmp_path / "x.parquet").write_bytes(PART.encode())
    assert pd.read_parquet(tmp_path / "x.parquet")["clip_id"].tolist()[:2] == ["a", "b"]


@pytest.mark.parametrize(
    "told", [{}, {"streams": "nonsense"}, {"streams": "[]"}, {"streams": "{}", "files": "[1]"}]
)
def test_one_that_makes_no_sense_is_named(tmp_path, told):
    pq.write_table(TABLE.replace_schema_metadata(told), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x\.parquet is damaged"):
        read_part(tmp_path / "x.parquet")
