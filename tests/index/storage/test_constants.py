"""Constants for an index: from a file or as it has them, and what is said where one is missing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from index.storage.constants import Constants
from mee.errors import InputError
from mee.evaluation.constants_file import FileConstants
from mee.evaluation.result import Normalisation

FACTS = Normalisation(method="nnn", bank="9 training captions", parameters={"alpha": 0.75})
FILE = FileConstants(
    Path("c.parquet"),
    FACTS,
    ("a", "b", "x"),
    np.array([0.1, 0.2, np.nan], np.float32),
    np.array([True, False, True]),
)


def rows(**constants):
    columns = {
        "constant": pd.array([pair[0] for pair in constants.values()], "Float64"),
        "active": pd.array([pair[1] for pair in constants.values()], "boolean"),
    }
    return pd.DataFrame(columns, index=list(constants))


def test_of_a_file():
    constants = Constants.of_file(FILE, ["b", "a"])
    assert constants.facts == FACTS.model_dump(mode="json")
    assert constants.mapping(["a", "c"]) == {"a": (float(np.float32(0.1)), True)}
    columns = constants.columns(["c", "b"])
    assert columns["constant"].isna().tolist() == [True, False]
    assert columns["active"].isna().tolist() == [True, False]
    assert columns["constant"]["b"] == np.float32(0.2)
    with pytest.raises(InputError, match="no constant of 1 of 2 clips, 'c' among them"):
        Constants.of_file(FILE, ["a", "c"])


def test_of_an_index():
    there = rows(a=(0.5, True), b=(None, None))
    assert Constants.of_index({"method": "nnn"}, there, ["a"]).mapping(["a", "b"]) == {"a": (0.5, True)}
    for lacking in ("b", "new"):
        says = (
            rf"carries constants \(nnn\), and 1 clips have none, '{lacking}' among them; give those of all clips"
        )
        with pytest.raises(InputError, match=says):
            Constants.of_index({"method": "nnn"}, there, ["a", lacking])


@pytest.mark.parametrize(
    ("facts", "there", "differs"),
    [
        (None, rows(a=(None, None)), True),
        (FACTS.model_dump(mode="json"), rows(a=(float(np.float32(0.1)), True)), False),
        (FACTS.model_dump(mode="json"), rows(), False),
        (FACTS.model_dump(mode="json"), rows(a=(None, None)), True),
        (FACTS.model_dump(mode="json"), rows(a=(float(np.float32(0.1)), False)), True),
        (FACTS.model_dump(mode="json"), rows(a=(0.3, True)), True),
        (FACTS.model_dump(mode="json") | {"bank": "other"}, rows(a=(float(np.float32(0.1)), True)), True),
    ],
)
def test_whether_an_index_carries_others(facts, there, differs):
    assert Constants.of_file(FILE, ["a", "b"]).differ_from(facts, there) == differs
