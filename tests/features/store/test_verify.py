"""Whatever happens to a file of a store, verify finds it; and what repair removes can be made again."""

import hashlib
import json
import os
import shutil
import subprocess
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.store import verify
from features.store.feature_store import FeatureStore
from features.store.shard import read_part, read_sums, write_sums
from features.store.verify import repair
from features.store.writer import StoreWriter, clear_overwritten
from tests.features.small_stores import ROWS, TIMES, check, die, files, wrong

FILES = ["sight/*[0-9].safetensors", "sight/*.times.safetensors", "parts/*.parquet", "checksums/*.sha256"]


def test_a_store_as_it_was_written_a_damaged_note_and_no_store(store, tmp_path):
    before = files(store)
    report = check(store)
    assert (report.findings, report.shards, report.files) == ([], 2, 8)
    listed = [path for path in store.glob("*/*.*") if path.parent.name != "checksums"]
    assert report.bytes == sum(path.stat().st_size for path in listed)
    assert files(store) == before
    if shutil.which("sha256sum"):  # it is verified without mee
        command = ["sha256sum", "-c", "--strict", *(path.relative_to(store) for path in store.glob("checksums/*"))]
        done = subprocess.run(command, cwd=store, capture_output=True, text=True, check=True)
        assert done.stdout.count(": OK\n") == 8
    note = store / "imports" / "x-import.json"
    note.parent.mkdir()
    note.write_text("{")
    assert list(wrong(store)) == ["imports/x-import.json"]
    assert repair(store, check(store).findings) == []
    assert not note.exists()
    for look in (check, lambda store: repair(store, [])):
        with pytest.raises(InputError, match="no feature store"):
            look(tmp_path)


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_bit_anywhere_is_found_where_it_is(tmp_path_factory, fill_store, data):
    store = tmp_path_factory.getbasetemp() / "flipped"
    if not store.exists():
        fill_store(store, {"a": ROWS}, {"a": TIMES})
    paths = sorted(path for path in store.rglob("*.*") if path.is_file() and not path.name.startswith("."))
    assert len(paths) == 5
    path = data.draw(st.sampled_from(paths))
    content = path.read_bytes()
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    spoilt = bytearray(content)
    spoilt[place // 8] ^= 1 << place % 8
    path.write_bytes(spoilt)
    try:
        named = [*wrong(store)]
    except InputError as error:  # store.json cannot be read at all
        named = [str(error)]
    path.write_bytes(content)
    assert any(path.stem.split(".")[0] in name for name in named)
    assert wrong(store) == {}


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\xff" * path.stat().st_size),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_found_removed_and_made_again(store, store_job, pattern, damage):
    path = sorted(store.glob(pattern))[0]
    before = FeatureStore(store)
    DAMAGE[damage](path)
    found = wrong(store)
    if path.exists() or "checksums" not in pattern:
        assert list(found) == [path.relative_to(store).as_posix()]
    else:
        assert len(found) == 4
        assert all("dangling" in what for what in found.values())
    assert repair(store, check(store).findings) == []
    assert check(store).findings == []
    after = FeatureStore(store)
    lost = sorted(set(before.rows.index) - after.done("sight"))
    assert lost in (["a", "b"], ["c", "d"])
    if "sight" in pattern:
        assert after.done("sound") == set("abcd")  # the other stream of the shard stays
    assert repair(store, []) == []
    for name in lost:
        sound = None if name == "d" else ROWS[:, :2]
        store_job.write(store_job.record(name, sight=ROWS, sound=sound), sight=3, sound=2)
    assert FeatureStore(store).coverage() == before.coverage()
    assert check(store).findings == []


def test_files_of_other_programs_although_their_checksums_fit(store):
    shard = sorted((store / "parts").iterdir())[0].stem
    (table, versions, _), sums = read_part(store, shard, ["sight", "sound"]), read_sums(store, shard)
    name = f"parts/{shard}.parquet"
    write_sums(store, shard, {**sums, "smell/x.safetensors": "0" * 64})
    assert list(wrong(store)) == [f"checksums/{shard}.sha256"]
    for column in ("verdict", "sight"):
        lacking = table.drop_columns([column]).replace_schema_metadata({"streams": json.dumps(versions)})
        pq.write_table(lacking, store / name)
        write_sums(store, shard, {**sums, name: hashlib.sha256((store / name).read_bytes()).hexdigest()})
        assert column in wrong(store)[name]
    pq.write_table(pa.table({"clip_id": ["z"]}), store / "parts" / "mine.parquet")
    assert "dangling" in wrong(store)["parts/mine.parquet"]


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
    assert len(repair(store, report.findings)) == 3  # nothing is removed: the files are good


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store(store):
    for path in store.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert check(store).findings == []
    for path in store.rglob("*"):
        path.chmod(0o755)


def test_killed_while_it_repairs_the_rest_is_found_again(store, monkeypatch):
    """The list is changed first, so that only files remain that do not count."""
    for path in store.glob(FILES[0]):
        path.write_bytes(b"")
    findings = check(store).findings
    monkeypatch.setattr(type(store), "unlink", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        repair(store, findings)
    monkeypatch.undo()
    assert FeatureStore(store).done("sound") == set("abcd")
    repair(store, check(store).findings)
    assert check(store).findings == []


def test_what_is_harmless(store, store_job):
    """What killed jobs and --overwrite leave, and files that are not the store's."""
    writer = StoreWriter(store, store_job.declare(sight=3))
    writer.add([store_job.record("e", sight=ROWS)])
    writer.flush()
    (store / "checksums" / f"{writer.name}-000002.sha256").unlink()
    (store / "sight" / f".{writer.name}-000001.safetensors.77").touch()
    assert check(store).findings == []  # it runs
    die(writer)
    foreign = {"notes.txt", "parts/notes.txt", "mine"}
    (store / "mine").mkdir()
    for name in foreign - {"mine"}:
        (store / name).touch()
    manifest = store_job.declare(overwrite=True, sound=2)
    (store / ".store.json.99").touch()
    report = check(store)
    assert report.wrong == []
    whats = sorted(finding.what for finding in report.findings)
    assert whats.count(verify.KILLED) == 5
    assert whats.count(verify.OVERWRITTEN) == 2
    assert len(whats) == 5 + 2 + len(foreign)
    clear_overwritten(store, manifest)
    assert repair(store, report.findings) == []
    assert {finding.name for finding in check(store).findings} == foreign
    assert FeatureStore(store).done("sight") == set("abcd")


def test_what_a_job_writes_meanwhile_is_kept(store, store_job, monkeypatch):
    """Between the check of the shards and that of the other files, and between check and repair."""
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


def test_dangling_files_are_kept_while_others_write_and_when_their_list_comes_back(store, store_job):
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
