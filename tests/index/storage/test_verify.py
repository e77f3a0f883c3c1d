"""Damage of every kind is one sentence that names the file and what to do; verify finds what opening leaves."""

import json
import random
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.numpy import save

from index.scanners.kinds import Settings
from index.storage import manifest as manifest_module
from index.storage import segment as opened_segments
from index.storage.manifest import REMEDY, digest_of, read_manifest
from index.storage.snapshot import read_snapshot
from index.storage.verify import verify_index
from index.storage.writer import IndexWriter
from mee.errors import InputError
from mee.layout import Layout
from tests.index.made_clips import LAYOUT, ORIGIN, contents, made_entries

IDS = [f"c{number:04d}" for number in range(1500)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An index with every kind of file."""
    place = tmp_path_factory.mktemp("whole") / "ix"
    with IndexWriter.create(place, LAYOUT, ORIGIN, settings=Settings(kind="certified")) as writer:
        writer.put(made_entries(IDS, missing=0.05))
        writer.flush()
        writer.remove(IDS[:3])
        writer.put(made_entries(IDS[5:8], seed=1))
        writer.flush()
        writer.put(made_entries(["in the log", "also"], seed=2, missing=0))
        writer.remove(["also"])
    assert verify_index(place) == []
    assert {partition.scanner.kind for partition in read_snapshot(place).partitions} == {"flat", "certified"}
    return place


@pytest.fixture
def place(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "ix")
    return tmp_path / "ix"


def files_of(place):
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name != "lock")


def one_of_each_kind(place):
    """Files by what they are called but for their numbers."""
    return {re.sub(r"\d{6}", "N", str(path.relative_to(place))): path for path in files_of(place)}


def refused(place):
    """The one sentence."""
    with pytest.raises(InputError) as caught:
        read_snapshot(place)
    return str(caught.value)


KINDS = ("index.json", "segment.json", "clips.arrow", "vectors-111", "rows-111", "certified-111")
KINDS += ("removed-", "log-")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["missing", "empty", "halved", "flipped", "longer", "foreign"])
def test_damage_is_one_sentence(place, kind, how):
    path = next(path for path in files_of(place) if path.name.startswith(kind))
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "halved":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
    elif how == "longer":
        path.write_bytes(content + b"and more")
    else:
        path.write_bytes(b'{"a": [1, 2]}')
    if kind == "log-" and how == "halved":  # what a crash leaves
        assert contents(read_snapshot(place))
        return
    sentence = refused(place)
    assert "\n" not in sentence
    if (kind, how) == ("index.json", "missing"):
        assert re.fullmatch(r"no index at '.*'; make one with: mee index STORE MODEL .*", sentence)
        return
    assert re.fullmatch(rf"'.*{path.name}' is damaged \(.*\); {re.escape(REMEDY)}", sentence), sentence
    if kind != "index.json":
        assert any(path.name in finding for finding in verify_index(place))
    before = {path: path.read_bytes() for path in files_of(place)}
    if kind != "queries-":  # which only those read who want them
        with pytest.raises(InputError):
            IndexWriter.open(place)
    assert before == {path: path.read_bytes() for path in files_of(place)}


@hypothesis_settings(max_examples=12)
@given(seed=st.integers(0, 2**31))
def test_any_flipped_bit_is_found(whole, tmp_path_factory, seed):
    """In all but the log's end, which could be a record that a crash cut short."""
    rng = random.Random(seed)
    place = tmp_path_factory.mktemp("flipped") / "ix"
    shutil.copytree(whole, place)
    path = rng.choice(list(one_of_each_kind(place).values()))
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    try:
        refused(place)
    except pytest.fail.Exception:
        assert path.name.startswith("index.json")  # white space between entries, which says nothing
        assert contents(read_snapshot(place)) == contents(read_snapshot(whole))
    finally:
        shutil.rmtree(place)


@hypothesis_settings(max_examples=12)
@given(seed=st.integers(0, 2**31))
@example(seed=470)  # cuts the log
def test_any_cut_of_any_file_is_found(whole, tmp_path_factory, seed):
    rng = random.Random(seed)
    place = tmp_path_factory.mktemp("cut") / "ix"
    shutil.copytree(whole, place)
    path = rng.choice(list(one_of_each_kind(place).values()))
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])
    try:
        refused(place)
    except pytest.fail.Exception:
        if path.name.startswith("log-"):
            kept = set(contents(read_snapshot(whole))) - {"in the log"}
            assert kept <= set(contents(read_snapshot(place))) <= {*kept, "in the log", "also"}
        else:
            assert path.name == "index.json"  # its last end of line
    finally:
        shutil.rmtree(place)


def test_large_files_are_for_verify(place, monkeypatch):
    path = one_of_each_kind(place)["segments/N/vectors-111.npy"]
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(opened_segments, "CHECKED", 0)
    monkeypatch.setattr(opened_segments, "SKIMMED", len(content) - 1)
    read_snapshot(place)
    findings = verify_index(place)
    assert len(findings) == 1
    assert re.search(r"vectors-111.npy' is damaged \(it is not what was written\); restore it", findings[0])


def test_verify_tells_all_and_how_far_it_is(place):
    for kind in ("clips.arrow", "rows-111"):
        path = next(path for path in files_of(place) if kind in path.name)
        path.write_bytes(bytes(path.stat().st_size))
    moved = []
    assert len(verify_index(place, lambda done, of: moved.append((done, of)))) == 2
    assert moved[-1][0] == moved[-1][1] > 0


def test_nothing_to_verify(tmp_path):
    with pytest.raises(InputError, match="no index at"):
        verify_index(tmp_path)


def sealed(place, change):
    """Change a manifest and seal it again."""
    content = json.loads((place / "index.json").read_text())
    content.pop("sha256")
    change(content)
    content["sha256"] = manifest_module._seal(content)
    (place / "index.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content.update(format=1), "is of format 1"),
        (lambda content: content.update(format="3"), "is of format '3'"),
        (lambda content: content.pop("log"), "is damaged"),
        (lambda content: content.update(log="../log-000001"), "it names '../log-000001', which no index has"),
        (lambda content: content["layout"].update(sizes=[6, 3, 5]), "is damaged"),
        (lambda content: content["layout"].update(sizes=[6, 3]), "every expert needs a positive size"),
        (lambda content: content.update(offsets={}), "is damaged"),
        (lambda content: content.update(settings={"kind": "round"}), "there is no kind 'round'"),
        (lambda content: content["origin"].pop("store"), "is damaged"),
        (lambda content: content["segments"].append({"name": "000099", "sha256": ""}), "it is not there"),
        (lambda content: content["segments"].append({"name": "../x", "sha256": ""}), "which no index has"),
        (lambda content: content.update(identity="of another"), "it is not the log of this index"),
    ],
)
def test_a_manifest_that_says_something_else(place, change, sentence):
    sealed(place, change)
    assert sentence in refused(place)


def test_a_manifest_that_is_edited_by_hand(place):
    text = (place / "index.json").read_text()
    (place / "index.json").write_text(text.replace("/models/m", "/models/n"))
    assert "'index.json' is damaged" in refused(place).replace(f"{place}/", "")


def rewritten(place, change):
    """Change files of the largest segment, and let all checksums agree."""
    folder = max((place / "segments").iterdir(), key=lambda folder: (folder / "clips.arrow").stat().st_size)
    change(folder)
    facts = json.loads((folder / "segment.json").read_text())
    for name in facts["files"]:
        facts["files"][name] = {"bytes": (folder / name).stat().st_size, "sha256": digest_of(folder / name)}
    (folder / "segment.json").write_text(json.dumps(facts))

    def renew(content):
        for part in content["segments"]:
            if part["name"] == folder.name:
                part["sha256"] = digest_of(folder / "segment.json")

    sealed(place, renew)


def table_with(change):
    def rewrite(folder):
        with pa.memory_map(str(folder / "clips.arrow")) as source:
            table = pa.Table.from_pylist(pa.ipc.open_file(source).read_all().to_pylist())
        table = change(table)
        with pa.ipc.new_file(folder / "clips.arrow", table.schema) as file:
            file.write_table(table)

    return rewrite


def array_with(name, change):
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (array_with("vectors-111.npy", lambda array: array.astype(np.float64)), "and not .* float32"),
        (array_with("vectors-111.npy", lambda array: array[:, 1:]), "and not"),
        (array_with("vectors-111.npy", lambda array: np.asfortranarray(array)), "and not"),
        (array_with("rows-111.npy", lambda array: array[1:]), "and not"),
        (table_with(lambda table: table.drop_columns(["pattern"])), "it has no column 'pattern'"),
        (table_with(lambda table: table.slice(1)), "clips of 1,500"),
    ],
)
def test_pieces_that_do_not_belong_together_do_not_open(place, change, sentence):
    rewritten(place, change)
    assert re.search(sentence, refused(place))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (array_with("vectors-111.npy", lambda array: 7 * array), "a vector is not finite, or of norm above 1.001"),
        (array_with("rows-111.npy", lambda array: array[::-1]), "its rows are not those of its pattern"),
        (table_with(lambda table: table.take(list(range(len(table)))[::-1])), "it is not sorted by clip_id"),
    ],
)
def test_pieces_that_do_not_belong_together_are_found(place, change, sentence):
    rewritten(place, change)
    assert any(sentence in finding for finding in verify_index(place))


def test_a_clip_that_is_there_twice(place):
    manifest = read_manifest(place)[0]
    path = place / manifest.removed.name
    path.write_bytes(save({manifest.segments[0].name: np.array([0], dtype=np.int64)}))
    sealed(place, lambda content: content["removed"].update(sha256=digest_of(path)))
    assert any("is in it twice" in finding for finding in verify_index(place))


def test_a_layout_of_another_index(place, tmp_path):
    other = tmp_path / "other"
    layout = Layout(("appearance", "motion"), (6, 3))
    with IndexWriter.create(other, layout, ORIGIN) as writer:
        writer.put(made_entries(["a"], layout=layout, missing=0))
    log = next(place.glob("log-*"))
    shutil.copy(next(other.glob("log-*")), log)
    assert "it is not the log of this index" in refused(place)
