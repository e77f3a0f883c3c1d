"""JSON that tells whether it is what was written."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.store.sealed_json import is_unbroken, sealed

CONTENT = {"format": 1, "clip_seconds": 2.5, "streams": {"übung": [1, None, "x"]}, "code": {}}


def test_it_reads_as_what_it_was_made_of():
    content = json.loads(sealed(CONTENT))
    assert content.pop("sha256") == hashlib.sha256(json.dumps(CONTENT, sort_keys=True).encode()).hexdigest()
    assert content == CONTENT
    assert is_unbroken(sealed(CONTENT), ()) is True


@given(st.data())
def test_every_flipped_bit_shows(data):
    content = bytearray(sealed(CONTENT))
    place = data.draw(st.integers(0, len(content) * 8 - 1))
    content[place // 8] ^= 1 << place % 8
    try:
        found = is_unbroken(bytes(content), ("format", "clip_seconds", "streams"))
    except ValueError:  # it is no JSON
        return
    assert found is False or json.loads(content) == json.loads(sealed(CONTENT))  # white space of another kind


def test_one_of_an_earlier_version():
    assert is_unbroken(b'{"format": 1}', ("format",)) is None
    assert is_unbroken(b'{"format": 1, "sha257": ""}', ("format",)) is False
    assert is_unbroken(b"[]", ()) is False
    with pytest.raises(ValueError, match="Expecting"):
        is_unbroken(b"", ())
