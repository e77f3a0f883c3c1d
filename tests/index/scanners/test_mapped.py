"""Files mapped into memory hold no file handle; FAISS's file is checked before FAISS reads out of bounds."""

import mmap
import os
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.scanners import mapped
from index.scanners.fastscan import FastScan
from index.scanners.mapped import mapped_array, mapped_bytes
from index.scanners.scanner import Shape
from index.storage.snapshot import read_snapshot
from index.storage.writer import IndexWriter
from mee.layout import Layout
from tests.index.galleries import ORIGIN, entries_of, random_gallery
from tests.index.scanners.partitions import query_rows, unit_rows


@pytest.fixture
def rows(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "rows.npy", array)
    return tmp_path / "rows.npy", array


def handles():
    return len(os.listdir("/proc/self/fd"))


def test_a_map_is_what_was_saved_even_when_the_file_is_gone(rows, monkeypatch):
    path, array = rows
    content, before = path.read_bytes(), handles()
    array_there, whole = mapped_array(path, (4, 3), np.float32), mapped_bytes(path)
    assert handles() == before
    assert array_there.flags.c_contiguous
    array_there[0, 0] = 7
    assert path.read_bytes() == content
    with monkeypatch.context() as patch:  # the system commits no memory for a writable map
        real = mapped._system()
        only = lambda *how: mapped.FAILED if how[2] & mmap.PROT_WRITE else real.mmap(*how)  # noqa: E731
        patch.setattr(mapped, "_system", lambda: SimpleNamespace(mmap=only, munmap=real.munmap))
        reading = mapped_array(path, (4, 3), np.float32)
        assert not reading.flags.writeable
        np.testing.assert_array_equal(reading, array)
        del reading
    path.unlink()
    array_there[0, 0] = 0
    np.testing.assert_array_equal(array_there, array)
    assert whole.tobytes() == content


@pytest.mark.parametrize(
    ("content", "shape", "dtype", "message"),
    [
        (None, (3, 4), np.float32, r"it holds \(4, 3\) float32 and not \(3, 4\) float32"),
        (None, (4, 3), np.int64, r"it holds \(4, 3\) float32 and not \(4, 3\) int64"),
        (slice(-1), (4, 3), np.float32, "it has 47 bytes of"),
        (b"no array", (4, 3), np.float32, "magic"),
        (b"<g4", (4, 3), np.float32, "numbers of an unknown kind, <g4"),  # one bit flipped
    ],
)
def test_a_file_that_is_not_the_array_is_refused(rows, content, shape, dtype, message):
    path, _ = rows
    if content is not None:
        whole = path.read_bytes()
        made = whole[content] if isinstance(content, slice) else content
        path.write_bytes(whole.replace(b"<f4", made) if made == b"<g4" else made)
    with pytest.raises(ValueError, match=message):
        mapped_array(path, shape, dtype)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        mapped_bytes(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        mapped_array(path, shape, dtype)


def test_an_index_of_many_patterns_opens_with_few_handles(tmp_path):
    layout, before = Layout(tuple("abcdef"), (3,) * 6), handles()
    with IndexWriter.create(tmp_path / "index", layout, ORIGIN) as writer:
        for first in (0, 500):
            writer.put(entries_of(random_gallery(500, first, 0.5, first=first, layout=layout), layout))
        assert len(read_snapshot(tmp_path / "index").partitions) > 100
        assert handles() < before + 20


# ---- FAISS's file


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A fastscan's path, and its vectors and queries."""
    shape, generator = Shape((12, 8), offset=True), np.random.default_rng(0)
    vectors, path = unit_rows(generator, 200, shape), tmp_path_factory.mktemp("codes") / "fastscan-11"
    FastScan.build(vectors, shape).save(path)
    return path, vectors, shape, query_rows(generator, 3, shape)


@given(bit=st.integers(0, 2**40), cut=st.booleans(), number=st.integers(0, 1))
def test_any_flipped_bit_and_any_cut_is_refused_or_breaks_estimates(saved, bit, cut, number):
    path, vectors, shape, queries = saved
    content, spoiled = bytearray(FastScan.files(path)[number].read_bytes()), path.with_name("spoiled-11")
    for whole, copy in zip(FastScan.files(path), FastScan.files(spoiled)):
        copy.unlink(missing_ok=True)  # the old one may be mapped
        copy.write_bytes(whole.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    copy.unlink() if number else spoiled.unlink()
    FastScan.files(spoiled)[number].write_bytes(content[: bit % len(content)] if cut else content)
    rows = None
    with suppress(ValueError):
        rows = FastScan.open(spoiled, vectors, shape).scan(queries, 5)[1]
    assert rows is None if cut else rows is None or rows.shape == (3, 5)


def test_codes_of_other_sizes_are_refused(saved):
    path, vectors, shape, queries = saved
    with pytest.raises(ValueError, match="fastscan-11' is damaged, or of a FAISS that this one cannot read"):
        FastScan.open(path, vectors[:199], shape).scan(queries, 1)
    with pytest.raises(ValueError, match="it holds"):
        FastScan.open(path, vectors, Shape((12, 10)))
