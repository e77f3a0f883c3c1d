"""Damage of every kind is one sentence that names the file and what to do; verify finds what opening does not."""

import random
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from index.scanners import Settings
from index.storage import checksums
from index.storage.manifest import REMEDY, read_manifest
from index.storage.snapshot import read_snapshot
from index.storage.verify import verify_index
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, contents, made_entries
from tests.index.storage.hostile import resealed, resealed_removed, resealed_segment, sentence

IDS = [f"c{number:04d}" for number in range(1500)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An index with every kind of file."""
    place = tmp_path_factory.mktemp("whole") / "ix"
    with IndexWriter.create(place, LAYOUT, ORIGIN, settings=Settings(kind="certified")) as writer:
        writer.put(made_entries(IDS, missing=0.05))
        writer.remove(IDS[:3])
        writer.put(made_entries(IDS[5:8], seed=1))
    assert verify_index(place) == []
    assert {partition.scanner.kind for partition in read_snapshot(place).partitions} == {"flat", "certified"}
    return place


@pytest.fixture
def place(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "ix")
    return tmp_path / "ix"


def files_of(place):
    return {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file() and path.name != "lock"}


def verified(place):
    """What verify finds; the reason where it finds nothing to verify."""
    try:
        return verify_index(place)
    except InputError as error:
        return [str(error)]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


FILES = ["index.json", "removed-", "segment.json", "clips.arrow", "vectors-111", "rows-111"]
FILES += ["certified-111", "coding.safetensors"]
DAMAGE = {
    "missing": None, "empty": lambda content: b"", "halved": lambda content: content[: len(content) // 2],
    "flipped": flipped, "longer": lambda content: content + b"and more",
    "foreign": lambda content: b'{"a": [1, 2]}',
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_damage_of_every_file_is_one_sentence(place, name, says):
    path = max(place.rglob(f"{name}*"), key=lambda path: (path.stat().st_size, path.name == name))
    whole, sentences = path.read_bytes(), {}
    for how, damage in DAMAGE.items():
        path.unlink() if damage is None else path.write_bytes(damage(whole))
        files, said = files_of(place), sentence("open", place)
        (sentences[how],) = verified(place)
        assert said == sentences[how]
        with pytest.raises(InputError, match=re.escape(said)):
            IndexWriter.open(place)
        assert files_of(place) == files
        assert "\n" not in sentences[how]
        if (name, how) != ("index.json", "missing"):
            assert sentences[how].startswith(f"'{path}' is damaged (")
            assert sentences[how].endswith(f"); {REMEDY}")
        path.write_bytes(whole)
    numbers = re.compile(r"(?<= )\d[\d,]*")  # sizes, which differ between versions of Arrow
    says("\n".join(f"{how}: {numbers.sub('N', said)}" for how, said in sentences.items()))


@hypothesis_settings(max_examples=12)
@given(seed=st.integers(0, 2**31), cut=st.booleans())
def test_any_flipped_bit_and_any_cut_of_any_file_is_found(whole, tmp_path_factory, seed, cut):
    rng, place = random.Random(seed), tmp_path_factory.mktemp("damaged") / "ix"
    shutil.copytree(whole, place)
    kinds = {re.sub(r"\d{6}", "N", str(path.relative_to(place))): path for path in files_of(place)}
    path = kinds[rng.choice(sorted(kinds))]
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    if cut:
        del content[at:]
    else:
        content[at] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    found = sentence("open", place)
    if found is None:
        assert verified(place) == []
        assert path.name == "index.json"  # white space between entries, or its last line end
        assert contents(read_snapshot(place)) == contents(read_snapshot(whole))
    else:
        assert path.name in found
    shutil.rmtree(place)


def test_verify_finds_all_damage_of_files_too_large_to_be_read_by_opening(place, monkeypatch):
    path = max(place.rglob("vectors-111.npy"), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    monkeypatch.setattr(checksums, "MOST", 0)
    assert sentence("open", place) is None
    (finding,) = verify_index(place)
    assert f"{path.name}' is damaged (its checksum is wrong)" in finding
    table, moved = next(path for path in files_of(place) if path.name == "clips.arrow"), []
    table.write_bytes(bytes(table.stat().st_size))
    assert len(verify_index(place, lambda done, of: moved.append((done, of)))) == 2
    assert moved[-1][0] == moved[-1][1] > 0


@given(start=st.floats(0, 1), share=st.floats(1 / 15 + 0.005, 1))
def test_a_sample_finds_a_hole_of_a_fifteenth_of_a_file(tmp_path_factory, start, share):
    folder, content = tmp_path_factory.mktemp("large"), np.random.default_rng(0).bytes(2_000_000)
    (folder / "file").write_bytes(content)
    facts = checksums.facts_of(folder)["file"]
    assert facts[0] == len(content)
    first = int(start * (1 - share) * len(content))
    length = min(int(share * len(content)), len(content) - first)
    (folder / "file").write_bytes(content[:first] + bytes(length) + content[first + length :])
    for whole in (True, False):
        with pytest.raises(ValueError, match="its checksum is wrong"):
            checksums.check_file(folder / "file", facts, whole=whole)


@given(sizes=st.lists(st.integers(1, 1 << 34), max_size=60))
def test_opening_reads_no_more_than_a_bound_and_small_files_first(sizes):
    files = {Path(f"{number}"): (size, "", "") for number, size in enumerate(sizes)}
    chosen = list(checksums.worth_checking(files))
    read = [files[path][0] if whole else checksums.BLOCK * checksums.BLOCKS for path, whole in chosen]
    assert sum(read) <= checksums.MOST
    assert [files[path][0] for path, _ in chosen] == sorted(sizes)[: len(chosen)]
    assert len(chosen) == len(sizes) or sum(read) + checksums.SMALL > checksums.MOST


REF = {"sha256": "", "removed": None}
MANIFESTS = {
    "an older format": lambda content: content.update(format=4),
    "a format that is text": lambda content: content.update(format="5"),
    "no generation": lambda content: content.pop("generation"),
    "an unknown entry": lambda content: content.update(log="log-000001"),
    "sizes of another layout": lambda content: content["layout"].update(sizes=[6, 3, 5]),
    "too few sizes": lambda content: content["layout"].update(sizes=[6, 3]),
    "one more component": lambda content: content.update(offsets={}),
    "an unknown kind": lambda content: content.update(settings={"kind": "round"}),
    "half an origin": lambda content: content["origin"].pop("store"),
    "another segment": lambda content: content["segments"].append({**REF, "name": "000099"}),
    "a path outside": lambda content: content["segments"].append({**REF, "name": "../x"}),
    "removed rows outside": lambda content: content["segments"][0]["removed"].update(name="../x"),
}


def test_a_manifest_that_names_something_else_is_refused(place, says):
    whole, sentences = (place / "index.json").read_bytes(), {}
    for name, change in MANIFESTS.items():
        resealed(place, change)
        sentences[name] = sentence("open", place)
        (place / "index.json").write_bytes(whole.replace(b"/models/m", b"/models/n"))
        assert "its checksum is wrong" in sentence("open", place)
        (place / "index.json").write_bytes(whole)
    says("\n".join(f"{name}: {said}" for name, said in sentences.items()))


def table_with(change):
    def rewrite(folder):
        table = pa.Table.from_pylist(
            pa.ipc.open_file((folder / "clips.arrow").read_bytes()).read_all().to_pylist()
        )
        table = change(table)
        with pa.ipc.new_file(folder / "clips.arrow", table.schema) as file:
            file.write_table(table)

    return rewrite


def array_with(name, change):
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


@pytest.mark.parametrize(
    ("change", "said", "opens"),
    [
        (array_with("vectors-111.npy", lambda array: array.astype(np.float64)), "and not .* float32", False),
        (array_with("vectors-111.npy", lambda array: array[:, 1:]), "and not", False),
        (array_with("vectors-111.npy", lambda array: np.asfortranarray(array)), "and not", False),
        (array_with("rows-111.npy", lambda array: array[1:]), "and not", False),
        (array_with("rows-111.npy", lambda array: array + 1500), "its rows are not those of 1,500 clips", False),
        (table_with(lambda table: table.drop_columns(["pattern"])), "it has no column 'pattern'", False),
        (table_with(lambda table: table.slice(1)), "clips of 1,500", False),
        (array_with("vectors-111.npy", lambda array: 7 * array), "is not finite, or of norm above 1.001", True),
        (array_with("rows-111.npy", lambda array: array[::-1]), "its rows are not those of 1,500 clips", False),
        (table_with(lambda table: table.take(list(range(1500))[::-1])), "it is not sorted by clip_id", True),
    ],
)
def test_files_that_disagree_are_found_although_their_checksums_are_right(place, change, said, opens):
    folder = max((place / "segments").iterdir(), key=lambda folder: (folder / "clips.arrow").stat().st_size)
    change(folder)
    resealed_segment(place, folder)
    assert any(re.search(said, finding) for finding in verify_index(place))
    assert (sentence("open", place) is None) == opens


def test_a_clip_that_is_there_twice_is_found(place):
    path = place / read_manifest(place)[0].segments[0].removed.name
    np.save(path, np.array([0]))
    resealed_removed(place)
    assert any("is in it twice" in finding for finding in verify_index(place))
