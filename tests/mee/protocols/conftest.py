"""Annotation files: real ones where they are beside the repository, and made ones at full counts."""

from functools import cache
from pathlib import Path

import pytest

from mee.protocols.table import load_benchmark
from tests.mee.protocols import made_annotations

REAL = Path(__file__).parents[4] / "shared" / "data" / "annotations"


@pytest.fixture(scope="session")
def real():
    """The directory of real annotation files."""
    if not REAL.is_dir():
        pytest.skip("no ../shared/data/annotations beside the repository")
    return REAL


@pytest.fixture(scope="session")
def made():
    """The module made_annotations.py."""
    return made_annotations


@pytest.fixture(scope="session")
def full(made, tmp_path_factory):
    """full("vatex"): a directory with all files of a protocol, whole. Not to be written to."""

    @cache
    def written(write):  # protocols of one data set share their files
        folder = tmp_path_factory.mktemp(write.__name__)
        write(folder)
        return folder

    return lambda name: written(made.WRITERS[name])


@pytest.fixture(scope="session")
def loaded(full):
    """loaded("vatex"): the benchmark of these files, read once."""
    return cache(lambda name: load_benchmark(name, full(name)))
