"""An index in a PostgreSQL database."""

import numpy as np

from index.postgres import Database
from tests.index.made_clips import LAYOUT, ORIGIN, made_entries


def test_what_is_put_is_found(postgres):
    database = Database.create(postgres.fresh(), LAYOUT, ORIGIN)
    database.put(made_entries(["a", "b", "c"], title=["x", None, ""]))
    changes = database.since(-1)
    assert changes.table["title"].to_pylist() == ["x", None, ""] and changes.generation == 1
    code = changes.table["pattern"][0].as_py()
    pattern = tuple(digit == "1" for digit in code)
    query = np.ones(database.state.width(pattern), np.float32)
    scores, rows = database.search(pattern, query, 5)
    np.testing.assert_allclose(database.vectors(pattern, rows) @ query, scores, rtol=1e-5)
