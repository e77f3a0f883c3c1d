"""Whatever happens to a file of a store, looking finds it; and what is taken out can be made again."""

import json
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.store.feature_store import FeatureStore
from features.store.verify import mend
from features.store.writer import StoreWriter
from tests.features.small_stores import ROWS, TIMES, check, wrong


def test_a_store_as_it_was_written(store):
    report = check(store)
    assert (report.findings, report.shards, report.files, report.unsealed) == ([], 2, 8, [])
    assert report.bytes == sum(path.stat().st_size for path in store.glob("*/*.*"))


def test_looking_changes_nothing(store):
    before = {path: path.stat().st_mtime_ns for path in [store, *store.rglob("*")]}
    check(store)
    assert {path: path.stat().st_mtime_ns for path in [store, *store.rglob("*")]} == before


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_bit_anywhere_is_found_where_it_is(tmp_path_factory, data):
    store = tmp_path_factory.getbasetemp() / "flipped"
    if not store.exists():
        from features.extractors.base import Fingerprint
        from features.store.manifest import declare
        from features.store.part import ClipRecord

        facts = {"verdict": "ok", "note": "", "reader": "pyav", "clips_of_video": 1, "file_bytes": 100}
        manifest = declare(store, {"sight": Fingerprint(extractor="x", version=1, dim=3)}, None, overwrite=False)
        with StoreWriter(store, manifest) as writer:
            record = ClipRecord(
                clip_id="a",
                video="a",
                start_s=0.0,
                end_s=1.0,
                streams={"sight": ROWS},
                times={"sight": TIMES},
                **facts,
            )
            writer.add([record])
    files = sorted(path for path in store.rglob("*.*") if path.is_file() and not path.name.startswith("."))
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    spoilt = bytearray(content)
    spoilt[place // 8] ^= 1 << place % 8
    try:
        path.write_bytes(spoilt)
        try:
            named = [*wrong(store), *check(store).unsealed]
        except InputError as error:  # store.json cannot be read at all
            named = [str(error)]
        assert any(path.stem.split(".")[0] in name for name in named)
    finally:
        path.write_bytes(content)
    assert wrong(store) == {}


FILES = ["sight/*[0-9].safetensors", "sight/*.times.safetensors", "parts/*.parquet"]


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
    if path.exists() or "parts" not in pattern:
        assert list(found) == [path.relative_to(store).as_posix()]
    else:
        assert len(found) == 3
        assert all(what.startswith("is an orphan") for what in found.values())
    assert mend(store, check(store).findings) == []
    assert check(store).findings == []
    left = FeatureStore(store)
    lost = sorted(set(before.rows.index) - left.done("sight"))
    assert lost == ["a", "b"] or lost == ["c", "d"]
    if "parts" not in pattern:
        assert left.done("sound") == set("abcd")  # the other stream of the shard stays
    assert mend(store, []) == []
    for name in lost:
        store_job.write(
            store_job.record(name, sight=ROWS, sound=None if name == "d" else ROWS[:, :2]), sight=3, sound=2
        )
    after = FeatureStore(store)
    assert after.coverage() == before.coverage()
    assert check(store).findings == []


def test_streams_that_store_json_does_not_know(store):
    content = json.loads((store / "store.json").read_text())
    del content["streams"]["sound"], content["sha256"], content["code"]
    (store / "store.json").write_text(json.dumps(content))
    report = check(store)
    assert {finding.what for finding in report.wrong} == {
        "tells of a stream 'sound' that store.json has no entry for"
    }
    assert {finding.name for finding in report.findings if not finding.wrong} == {"sound/"}
    assert len(mend(store, report.findings)) == 2  # nothing is taken out: the files are good


def test_a_store_json_of_before_the_parts(store, store_job):
    old = (store / "store.json").read_text()
    store_job.write(store_job.record("a", sight=ROWS), sight=3, overwrite=True)
    (store / "store.json").write_text(old)
    (what,) = {finding.what for finding in check(store).wrong}
    assert "tells of a 'sight' that is newer" in what


def test_a_store_json_changed_by_hand(store):
    text = (store / "store.json").read_text()
    (store / "store.json").write_text(text.replace('"extractor": "sight"', '"extractor": "light"'))
    assert wrong(store) == {"store.json": "is not what was written: its checksum differs"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_only_be_read(store):
    for path in store.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert check(store).findings == []
    for path in store.rglob("*"):
        path.chmod(0o755)


def test_no_store(tmp_path):
    with pytest.raises(InputError, match="no feature store"):
        check(tmp_path)
    with pytest.raises(InputError, match="no feature store"):
        mend(tmp_path, [])


def test_killed_while_it_mends_the_rest_is_found_again(store, monkeypatch):
    """The part is changed first, so that what is left are files that do not count."""
    from features.store import verify as store_check

    for path in store.glob(FILES[0]):
        path.write_bytes(b"")
    real = store_check.write_whole

    def once(path, content):
        real(path, content)
        raise KeyboardInterrupt

    monkeypatch.setattr(store_check, "write_whole", once)
    with pytest.raises(KeyboardInterrupt):
        mend(store, check(store).findings)
    monkeypatch.undo()
    assert FeatureStore(store).done("sound") == set("abcd")
    for lock in (store / "writers").iterdir():
        lock.unlink()
    mend(store, check(store).findings)
    assert check(store).findings == []
    shutil.rmtree(store)
