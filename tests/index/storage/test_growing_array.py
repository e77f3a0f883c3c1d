"""What was handed out stays as it was."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from index.storage.tail import GrowingArray


@given(st.lists(st.lists(st.integers(-5, 5), max_size=6), max_size=12))
def test_it_holds_what_was_put(parts):
    grown, seen, held = GrowingArray((), np.int64), [], []
    for part in parts:
        grown.extend(np.array(part, dtype=np.int64))
        held += part
        seen.append((grown.rows, list(held)))
        assert len(grown) == len(held)
    for rows, then in seen:
        assert rows.tolist() == then


def test_it_is_seldom_copied():
    grown = GrowingArray((3,), np.float32)
    places = set()
    for _ in range(1000):
        grown.extend(np.ones((1, 3), dtype=np.float32))
        places.add(grown.rows.__array_interface__["data"][0])
    assert grown.rows.shape == (1000, 3)
    assert len(places) <= 11
