"""Mapped files: what they hold, that no handle is held, and what is said where they are something else."""

import os

import numpy as np
import pytest
import torch

from index.scanners.coded import mapped_array, mapped_bytes
from index.storage.snapshot import read_snapshot
from index.storage.writer import IndexWriter
from mee.layout import Layout
from tests.index.galleries import ORIGIN, entries_of, random_gallery


@pytest.fixture
def rows(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "rows.npy", array)
    return tmp_path / "rows.npy", array


def handles():
    return len(os.listdir("/proc/self/fd"))


def test_it_is_what_was_saved_even_when_the_file_is_gone(rows):
    path, array = rows
    content = path.read_bytes()
    before = handles()
    mapped, whole = mapped_array(path, (4, 3), np.float32), mapped_bytes(path)
    assert handles() == before
    assert mapped.flags.c_contiguous
    mapped[0, 0] = 7
    assert path.read_bytes() == content
    path.unlink()
    mapped[0, 0] = 0
    np.testing.assert_array_equal(mapped, array)
    assert whole.tobytes() == content


def test_where_the_system_promises_no_memory_it_is_mapped_for_reading(rows, monkeypatch):
    def refused(*args, **kwargs):
        raise RuntimeError("Cannot allocate memory")

    monkeypatch.setattr(torch, "from_file", refused)
    np.testing.assert_array_equal(mapped_array(rows[0], (4, 3), np.float32), rows[1])


def test_what_is_not_the_array_is_refused(rows, tmp_path):
    path, _ = rows
    with pytest.raises(ValueError, match=r"it holds \(4, 3\) float32 and not \(3, 4\) float32"):
        mapped_array(path, (3, 4), np.float32)
    with pytest.raises(ValueError, match=r"it holds \(4, 3\) float32 and not \(4, 3\) int64"):
        mapped_array(path, (4, 3), np.int64)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="it has 47 bytes of"):
        mapped_array(path, (4, 3), np.float32)
    path.write_bytes(b"no array")
    with pytest.raises(ValueError, match="magic"):
        mapped_array(path, (4, 3), np.float32)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        mapped_bytes(path)
    with pytest.raises(FileNotFoundError):
        mapped_array(tmp_path / "nothing.npy", (4, 3), np.float32)


def test_an_index_of_many_patterns_opens_with_few_handles(tmp_path):
    layout = Layout(tuple("abcdef"), (3,) * 6)
    before = handles()
    with IndexWriter.create(tmp_path / "index", layout, ORIGIN) as writer:
        for first in (0, 500):
            writer.put(entries_of(random_gallery(500, first, 0.5, first=first, layout=layout), layout))
        snapshot = read_snapshot(tmp_path / "index")
        assert len(snapshot.partitions) > 100
        assert handles() < before + 20
