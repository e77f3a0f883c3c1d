"""Codes and arrays on disk: damage is detected before FAISS reads out of bounds, and maps hold no file handle."""

import json
import mmap
import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from index.scanners import coded
from index.scanners.coded import mapped_array, mapped_bytes
from index.scanners.kinds import scanner_class
from index.scanners.scanner import Shape
from index.storage.snapshot import read_snapshot
from index.storage.writer import IndexWriter
from mee.layout import Layout
from tests.index.galleries import ORIGIN, entries_of, random_gallery
from tests.index.scanners.partitions import query_rows, unit_rows

SHAPE = Shape((12, 8), offset=True)
VECTORS = unit_rows(np.random.default_rng(0), 200, SHAPE)
QUERIES = query_rows(np.random.default_rng(1), 3, SHAPE)
CODED = ["fastscan"]
each_kind = pytest.mark.parametrize("kind", CODED)
each_file = pytest.mark.parametrize("number", [0, 1])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Kind -> its two files, as bytes; a folder with them; the facts in the second."""
    folder = tmp_path_factory.mktemp("codes")
    contents, facts = {}, {}
    for kind in CODED:
        scanner_class(kind).build(VECTORS, SHAPE).save(folder / kind)
        contents[kind] = [path.read_bytes() for path in scanner_class(kind).files(folder / kind)]
        facts[kind] = json.loads(read_facts(contents[kind][1]))
    return folder, contents, facts


def read_facts(content):
    """What the metadata says, without our code: 8 bytes of length, then JSON."""
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["facts"]


def use(kind, path, vectors=VECTORS, shape=SHAPE):
    return scanner_class(kind).open(path, vectors, shape).scan(QUERIES, 5)


def spoil(saved, kind, number=None, change=bytes):
    """A copy of a kind's files, one of them changed, or deleted where the change is None."""
    spoiled = saved[0] / "spoiled"
    for place, (path, content) in enumerate(zip(scanner_class(kind).files(spoiled), saved[1][kind])):
        path.unlink(missing_ok=True)  # the old one may be mapped
        changed = change(content) if place == number else content
        if changed is not None:
            path.write_bytes(changed)
    return spoiled


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8 % len(content)] ^= 1 << bit % 8
    return bytes(changed)


@each_kind
@given(bit=st.integers(0, 2**40))
def test_a_flipped_bit_is_detected_or_breaks_one_estimate(saved, kind, bit):
    path = spoil(saved, kind, 1, lambda content: flipped(content, bit))
    with pytest.raises(ValueError, match=r"spoiled.*(damaged|does not belong)"):
        use(kind, path)
    head = saved[2][kind]["bytes"] - saved[2][kind]["codes"]
    assert head > 1000
    path = spoil(saved, kind, 0, lambda content: flipped(content, bit % (8 * head)))
    with pytest.raises(ValueError, match=r"'.*spoiled' is damaged: its checksum is not what was written"):
        use(kind, path)
    codes = saved[2][kind]["codes"]
    if codes:
        path = spoil(saved, kind, 0, lambda content: flipped(content, 8 * head + bit % (8 * codes)))
        assert use(kind, path)[1].shape == (3, 5)


@each_kind
@each_file
@given(part=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_detected(saved, kind, number, part):
    path = spoil(saved, kind, number, lambda content: content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"spoiled.*(damaged|empty)"):
        use(kind, path)


@each_kind
@each_file
def test_missing_longer_and_foreign_files_are_detected(saved, kind, number):
    other = saved[1][kind][1 - number]
    for change, message in (
        (lambda _: None, "is missing or"),
        (lambda content: content + b"\0", "damaged"),
        (lambda _: b"something else altogether", "damaged"),
        (lambda _: other, "(damaged|does not belong|checksum)"),
    ):
        path = spoil(saved, kind, number, change)
        with pytest.raises(ValueError, match=f"spoiled.*{message}"):
            use(kind, path)
    scanner = scanner_class(kind).open(spoil(saved, kind, 0, lambda content: bytes(len(content))), VECTORS, SHAPE)
    with pytest.raises(ValueError, match="damaged"):  # opening reads no codes
        scanner.scan(QUERIES, 1)


@each_kind
@pytest.mark.parametrize(
    ("vectors", "shape", "message"),
    [
        (VECTORS[:199], SHAPE, "its rows is 200, theirs is 199"),
        (VECTORS, Shape((8, 12), offset=True), r"its sizes is \[12, 8\], theirs is \[8, 12\]"),
        (VECTORS, Shape((12, 9)), r"its sizes is \[12, 8\], theirs is \[12, 9\]"),
        (VECTORS[::-1].copy(), SHAPE, "it was made of others"),
    ],
)
def test_codes_of_other_vectors_are_refused(saved, kind, vectors, shape, message):
    with pytest.raises(ValueError, match=f"does not belong to the vectors: {message}"):
        use(kind, spoil(saved, kind), vectors, shape)


def test_a_file_of_another_format_is_refused(saved):
    path = spoil(saved, "fastscan")
    beside = scanner_class("fastscan").files(path)[1]
    arrays, text = load_file(beside), read_facts(beside.read_bytes())
    beside.unlink()
    save_file(arrays, beside, {"facts": text.replace('"format": 1', '"format": 2')})
    with pytest.raises(ValueError, match="damaged: its checksum is not that of its content"):
        use("fastscan", path)


# ---- files mapped into memory


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
    mapped, whole = mapped_array(path, (4, 3), np.float32), mapped_bytes(path)
    assert handles() == before
    assert mapped.flags.c_contiguous
    mapped[0, 0] = 7
    assert path.read_bytes() == content
    with monkeypatch.context() as patch:  # the system commits no memory for a writable map
        real = coded._system()
        only = lambda *how: coded.FAILED if how[2] & mmap.PROT_WRITE else real.mmap(*how)  # noqa: E731
        patch.setattr(coded, "_system", lambda: SimpleNamespace(mmap=only, munmap=real.munmap))
        reading = mapped_array(path, (4, 3), np.float32)
        assert not reading.flags.writeable
        np.testing.assert_array_equal(reading, array)
        del reading
    path.unlink()
    mapped[0, 0] = 0
    np.testing.assert_array_equal(mapped, array)
    assert whole.tobytes() == content


@pytest.mark.parametrize(
    ("content", "shape", "dtype", "message"),
    [
        (None, (3, 4), np.float32, r"it holds \(4, 3\) float32 and not \(3, 4\) float32"),
        (None, (4, 3), np.int64, r"it holds \(4, 3\) float32 and not \(4, 3\) int64"),
        (slice(-1), (4, 3), np.float32, "it has 47 bytes of"),
        (b"no array", (4, 3), np.float32, "magic"),
    ],
)
def test_a_file_that_is_not_the_array_is_refused(rows, content, shape, dtype, message):
    path, _ = rows
    if content is not None:
        path.write_bytes(path.read_bytes()[content] if isinstance(content, slice) else content)
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
