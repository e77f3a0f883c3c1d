"""Annotation files: real ones where they are beside the repository, and made ones at full counts."""

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
    folders = {}

    def folder(name):
        write = made.WRITERS[name]  # protocols of one data set share their files
        if write not in folders:
            folders[write] = tmp_path_factory.mktemp(name)
            write(folders[write])
        return folders[write]

    return folder


@pytest.fixture(scope="session")
def loaded(full):
    """loaded("vatex"): the benchmark of these files, read once."""
    benchmarks = {}

    def load(name):
        if name not in benchmarks:
            benchmarks[name] = load_benchmark(name, full(name))
        return benchmarks[name]

    return load
