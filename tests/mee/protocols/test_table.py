"""The table of protocols: the counts of the literature, and what every row must have."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mee.protocols.table import PROTOCOLS

# train, validation, test videos, queries: typed from the data sets' papers, not from the table
COUNTS = {
    "msrvtt-full": ({"": 6513}, 497, 2990, 59800),
    "msrvtt-1ka": ({"9k": 9000, "7k": 7010}, 0, 1000, 1000),
    "msrvtt-1kb": ({"": 6656}, 0, 1000, 1000),
    "lsmdc": ({"": 101079}, 7408, 1000, 1000),
    "lsmdc-mc": ({"": 101079}, 7408, None, 10053),
    "msvd": ({"": 1200}, 100, 670, None),
    "didemo": ({"": 8392}, 1065, 1004, 1004),
    "activitynet": ({"": 10009}, 0, 4917, 4917),
    "vatex": ({"": 25991}, 1500, 1500, 15000),
    "coco": ({"": 118287}, 0, 5000, 25014),
    "folder": ({}, None, None, None),
}


def test_the_counts_are_those_of_the_literature():
    found = {name: (dict(row.train), row.val, row.gallery, row.queries) for name, row in PROTOCOLS.items()}
    assert found == COUNTS


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_row_is_called_by_its_name_and_has_a_reader(name):
    row = PROTOCOLS[name]
    module, _, function = row.reader.partition(":")
    assert row.name == name
    assert callable(getattr(import_module(module), function))
    assert row.title
    assert row.files
    assert (row.missing, row.only) == ({"msvd": ("audio",)}.get(name, ()), {"coco": ("appearance",)}.get(name, ()))


def test_names_and_loading_cost_no_heavy_import():
    code = "import sys, mee.protocols.load; print({'torch', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules))"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
