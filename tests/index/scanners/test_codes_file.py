"""Codes on disk: whatever is wrong with them is said, before FAISS reads where nothing is."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from index.scanners.kinds import KINDS, build, files, open_scanner
from index.scanners.scanner import Shape
from tests.index.scanners.partitions import query_rows, unit_rows

SHAPE = Shape((12, 8), offset=True)
VECTORS = unit_rows(np.random.default_rng(0), 200, SHAPE)
QUERIES = query_rows(np.random.default_rng(1), 3, SHAPE)
CODED = [kind for kind in KINDS if kind != "flat"]
coded = pytest.mark.parametrize("kind", CODED)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Kind -> the two files of it, as bytes, with a folder to spoil them in."""
    folder = tmp_path_factory.mktemp("codes")
    contents = {}
    for kind in CODED:
        build(kind, VECTORS, SHAPE).save(folder / kind)
        contents[kind] = [path.read_bytes() for path in files(kind, folder / kind)]
    return folder, contents


def use(kind, path, vectors=VECTORS, shape=SHAPE):
    scanner = open_scanner(kind, path, vectors, shape)
    return scanner.scan(QUERIES, 5)


def spoil(saved, kind, number, change):
    folder, contents = saved
    spoiled = folder / "spoiled"
    for place, (path, content) in enumerate(zip(files(kind, spoiled), contents[kind])):
        path.unlink(missing_ok=True)  # the old one may be mapped
        path.write_bytes(change(content) if place == number else content)
    return spoiled


def flipped(content, bit):
    bit %= 8 * len(content)
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@coded
@given(bit=st.integers(0, 2**40))
def test_a_flipped_bit_of_the_small_file_is_noticed(saved, kind, bit):
    path = spoil(saved, kind, 1, lambda content: flipped(content, bit))
    with pytest.raises(ValueError, match=r"spoiled.*(damaged|does not belong)"):
        use(kind, path)


@coded
@given(bit=st.integers(0, 2**40))
def test_a_flipped_bit_before_the_codes_is_noticed(saved, kind, bit):
    folder, _ = saved
    _, beside = files(kind, folder / kind)
    facts = json.loads(read_facts(beside))
    head = facts["bytes"] - facts["codes"]
    assert head > (0 if kind == "certified" else 1000)
    path = spoil(saved, kind, 0, lambda content: flipped(content, bit % (8 * head)))
    with pytest.raises(ValueError, match=r"'.*spoiled' is damaged: its checksum is not what was written"):
        use(kind, path)


@given(bit=st.integers(0, 2**40))
def test_a_flipped_code_breaks_nothing_but_an_estimate(saved, bit):
    folder, _ = saved
    facts = json.loads(read_facts(files("certified", folder / "certified")[1]))
    start = facts["bytes"] - facts["codes"]
    path = spoil(saved, "certified", 0, lambda content: flipped(content, 8 * start + bit % (8 * facts["codes"])))
    assert use("certified", path)[1].shape == (3, 5)


@coded
@pytest.mark.parametrize("number", [0, 1])
@given(part=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_noticed(saved, kind, number, part):
    path = spoil(saved, kind, number, lambda content: content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"spoiled.*(damaged|empty)"):
        use(kind, path)


@coded
@pytest.mark.parametrize("number", [0, 1])
def test_a_file_with_more_behind_it_is_noticed(saved, kind, number):
    path = spoil(saved, kind, number, lambda content: content + b"\0")
    with pytest.raises(ValueError, match=r"spoiled.*damaged"):
        use(kind, path)


@coded
@pytest.mark.parametrize("number", [0, 1])
def test_a_missing_file_is_noticed(saved, kind, number):
    path = spoil(saved, kind, number, bytes)
    files(kind, path)[number].unlink()
    with pytest.raises(ValueError, match=r"spoiled.*is missing or"):
        use(kind, path)


@coded
@pytest.mark.parametrize("number", [0, 1])
def test_a_foreign_file_is_noticed(saved, kind, number):
    other = CODED[CODED.index(kind) - 1]
    path = spoil(saved, kind, number, lambda content: saved[1][other][number])
    with pytest.raises(ValueError, match=r"spoiled.*(damaged|does not belong|checksum)"):
        use(kind, path)
    path = spoil(saved, kind, number, lambda content: b"something else altogether")
    with pytest.raises(ValueError, match=r"spoiled.*damaged"):
        use(kind, path)


@coded
@pytest.mark.parametrize(
    ("vectors", "shape", "says"),
    [
        (VECTORS[:199], SHAPE, "its rows is 200, theirs is 199"),
        (VECTORS, Shape((8, 12), offset=True), r"its sizes is \[12, 8\], theirs is \[8, 12\]"),
        (VECTORS, Shape((12, 9)), r"its sizes is \[12, 8\], theirs is \[12, 9\]"),
        (VECTORS[::-1].copy(), SHAPE, "it was made of others"),
    ],
)
def test_codes_of_other_vectors_are_refused(saved, kind, vectors, shape, says):
    path = spoil(saved, kind, 2, bytes)
    with pytest.raises(ValueError, match=f"does not belong to the vectors: {says}"):
        use(kind, path, vectors, shape)


@coded
def test_opening_reads_no_codes(saved, kind):
    """Damage of the large file, other than its length, shows at the first scan."""
    path = spoil(saved, kind, 0, lambda content: bytes(len(content)))
    scanner = open_scanner(kind, path, VECTORS, SHAPE)
    with pytest.raises(ValueError, match="damaged"):
        scanner.scan(QUERIES, 1)


def test_a_file_of_another_format_is_refused(saved):
    path = spoil(saved, "certified", 2, bytes)
    beside = files("certified", path)[1]
    arrays, text = load_file(beside), read_facts(beside)
    beside.unlink()
    save_file(arrays, beside, {"facts": text.replace('"format": 1', '"format": 2')})
    with pytest.raises(ValueError, match="damaged: its checksum is not that of its content"):
        use("certified", path)


def read_facts(path):
    """What the metadata says, without our code: 8 bytes of length, then JSON."""
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["facts"]
