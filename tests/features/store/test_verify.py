"""Whatever happens to a file of a store, looking finds it; and what is taken out can be made again."""

import hashlib
import json
import os
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.base import Fingerprint
from features.store import verify
from features.store.feature_store import FeatureStore
from features.store.layout import ClipRecord
from features.store.manifest import declare
from features.store.shard import read_part, read_sums, write_sums
from features.store.verify import repair
from features.store.writer import StoreWriter, clear_overwritten
from tests.features.small_stores import ROWS, TIMES, check, die, wrong

FILES = ["sight/*[0-9].safetensors", "sight/*.times.safetensors", "parts/*.parquet", "checksums/*.sha256"]


def files(store):
    return {path: path.stat().st_mtime_ns for path in [store, *store.rglob("*")]}


def test_a_store_as_it_was_written(store):
    before = files(store)
    report = check(store)
    assert (report.findings, report.shards, report.files) == ([], 2, 8)
    listed = [path for path in store.glob("*/*.*") if path.parent.name != "checksums"]
    assert report.bytes == sum(path.stat().st_size for path in listed)
    assert files(store) == before


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_sha256sum_checks_it_without_us(store):
    command = [
        "sha256sum",
        "-c",
        "--strict",
        *(f"checksums/{path.name}" for path in (store / "checksums").iterdir()),
    ]
    done = subprocess.run(command, cwd=store, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK\n") == 8


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_bit_anywhere_is_found_where_it_is(tmp_path_factory, data):
    store = tmp_path_factory.getbasetemp() / "flipped"
    if not store.exists():
        facts = {"verdict": "ok", "note": "", "reader": "pyav", "clips_of_video": 1, "file_bytes": 100}
        place = {"clip_id": "a", "video": "a", "start_s": 0.0, "end_s": 1.0}
        manifest = declare(store, {"sight": Fingerprint(extractor="x", version=1, dim=3)}, None, overwrite=False)
        with StoreWriter(store, manifest) as writer:
            writer.add([ClipRecord(**place, streams={"sight": ROWS}, times={"sight": TIMES}, **facts)])
    paths = sorted(path for path in store.rglob("*.*") if path.is_file() and not path.name.startswith("."))
    assert len(paths) == 5
    path = data.draw(st.sampled_from(paths))
    content = path.read_bytes()
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    spoilt = bytearray(content)
    spoilt[place // 8] ^= 1 << place % 8
    try:
        path.write_bytes(spoilt)
        try:
            named = wrong(store)
        except InputError as error:  # store.json cannot be read at all
            named = [str(error)]
        assert any(path.stem.split(".")[0] in name for name in named)
    finally:
        path.write_bytes(content)
    assert wrong(store) == {}


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(path.read_bytes() + b"0"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff" * path.stat().st_size),
        lambda path: path.unlink(),
    ],
    ids=["cut", "longer", "empty", "garbage", "gone"],
)
def test_a_damaged_file_is_found_taken_out_and_made_again(store, store_job, pattern, spoil):
    path = sorted(store.glob(pattern))[0]
    before = FeatureStore(store)
    spoil(path)
    found = wrong(store)
    if path.exists() or "checksums" not in pattern:
        assert list(found) == [path.relative_to(store).as_posix()]
    else:
        assert len(found) == 4
        assert all(what.startswith("is dangling") for what in found.values())
    assert repair(store, check(store).findings) == []
    assert check(store).findings == []
    left = FeatureStore(store)
    lost = sorted(set(before.rows.index) - left.done("sight"))
    assert lost in (["a", "b"], ["c", "d"])
    if "sight" in pattern:
        assert left.done("sound") == set("abcd")  # the other stream of the shard stays
    assert repair(store, []) == []
    for name in lost:
        sound = None if name == "d" else ROWS[:, :2]
        store_job.write(store_job.record(name, sight=ROWS, sound=sound), sight=3, sound=2)
    assert FeatureStore(store).coverage() == before.coverage()
    assert check(store).findings == []


def test_what_makes_no_sense_although_its_checksum_fits(store):
    """Of somebody else's program."""
    shard = sorted((store / "parts").iterdir())[0].stem
    (table, versions), sums, name = read_part(store, shard), read_sums(store, shard), f"parts/{shard}.parquet"
    write_sums(store, shard, {**sums, "smell/x.safetensors": "0" * 64})
    assert list(wrong(store)) == [f"checksums/{shard}.sha256"]
    for column in ("verdict", "sight"):
        lacking = table.drop_columns([column]).replace_schema_metadata({"streams": json.dumps(versions)})
        pq.write_table(lacking, store / name)
        write_sums(store, shard, {**sums, name: hashlib.sha256((store / name).read_bytes()).hexdigest()})
        assert column in wrong(store)[name]
    pq.write_table(pa.table({"clip_id": ["z"]}), store / "parts" / "mine.parquet")
    assert wrong(store)["parts/mine.parquet"].startswith("is dangling")


@pytest.mark.parametrize("versions", [None, ["other"]])
def test_streams_and_versions_that_store_json_does_not_know(store, versions):
    content = json.loads((store / "store.json").read_text())
    content["streams"]["sound"]["versions"] = versions
    if versions is None:
        del content["streams"]["sound"]
    (store / "store.json").write_text(json.dumps(content))
    report = check(store)
    assert [finding.name.partition("/")[0] for finding in report.wrong] == ["store.json", "parts", "parts"]
    assert all("'sound'" in finding.what for finding in report.wrong[1:])
    assert len(repair(store, report.findings)) == 3  # nothing is taken out: the files are good


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_only_be_read(store):
    for path in store.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert check(store).findings == []
    for path in store.rglob("*"):
        path.chmod(0o755)


@pytest.mark.parametrize("look", [check, lambda store: repair(store, [])])
def test_no_store(tmp_path, look):
    with pytest.raises(InputError, match="no feature store"):
        look(tmp_path)


def test_killed_while_it_repairs_the_rest_is_found_again(store, monkeypatch):
    """The list is changed first, so that what is left are files that do not count."""
    for path in store.glob(FILES[0]):
        path.write_bytes(b"")

    def stop(*_, **__):
        raise KeyboardInterrupt

    findings = check(store).findings
    monkeypatch.setattr(type(store), "unlink", stop)
    with pytest.raises(KeyboardInterrupt):
        repair(store, findings)
    monkeypatch.undo()
    assert FeatureStore(store).done("sound") == set("abcd")
    repair(store, check(store).findings)
    assert check(store).findings == []


def test_what_is_harmless(store, store_job):
    """What killed jobs and --overwrite leave, and files of somebody else."""
    writer = StoreWriter(store, store_job.declare(sight=3))
    writer.add([store_job.record("e", sight=ROWS)])
    writer.flush()
    (store / "checksums" / f"{writer.name}-000000.sha256").unlink()
    (store / "sight" / f".{writer.name}-000001.safetensors.77").touch()
    assert check(store).findings == []  # it lives
    die(writer)
    (store / "notes.txt").touch()
    (store / "parts" / "notes.txt").touch()
    (store / "mine").mkdir()
    manifest = store_job.declare(overwrite=True, sound=2)
    (store / ".store.json.99").touch()
    report = check(store)
    assert report.wrong == []
    whats = sorted(finding.what for finding in report.findings)
    assert whats.count(verify.KILLED) == 5
    assert whats.count(verify.OVERWRITTEN) == 2
    assert sum(what.startswith("is no") for what in whats) == 3
    clear_overwritten(store, manifest)
    assert repair(store, report.findings) == []
    assert {finding.name for finding in check(store).findings} == {
        "notes.txt",
        "parts/notes.txt",
        "mine",
    }
    assert FeatureStore(store).done("sight") == set("abcd")


def test_notes_on_imports(store):
    note = store / "imports" / "x-import.json"
    note.parent.mkdir()
    note.write_text("{")
    assert list(wrong(store)) == ["imports/x-import.json"]
    assert repair(store, check(store).findings) == []
    assert not note.exists()


def test_what_a_job_writes_meanwhile_is_left_alone(store, store_job, monkeypatch):
    """Between the look at the shards and that at the other files, and between looking and repairing."""
    real = verify._unlisted

    def late(*arguments):
        store_job.write(store_job.record("e", sight=ROWS, times={"sight": TIMES}), sight=3)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(verify, "_unlisted", late)
        report = check(store)
    assert report.findings == []
    repair(store, report.findings)
    assert FeatureStore(store).done("sight") == set("abcde")
    assert check(store).findings == []


def test_what_dangles_is_kept_while_others_write_and_when_its_list_comes_back(store, store_job):
    path = sorted((store / "checksums").iterdir())[0]
    content = path.read_bytes()
    path.unlink()
    report = check(store)
    assert len(report.wrong) == 4
    with StoreWriter(store, store_job.declare(sight=3)):
        repair(store, report.findings)
    path.write_bytes(content)
    repair(store, report.findings)
    assert check(store).findings == []
    np.testing.assert_array_equal(FeatureStore(store).read("sight", list("abcd")), [ROWS] * 4)
