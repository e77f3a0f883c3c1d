"""What lies in a store beside its shards."""

from features.store.feature_store import FeatureStore
from features.store.verify import mend
from features.store.writer import StoreWriter, clear_overwritten
from tests.features.small_stores import ROWS, TIMES, check, wrong


def test_what_is_harmless(store, store_job):
    """What killed jobs and --overwrite leave, and files of somebody else."""
    writer = StoreWriter(store, store_job.declare(sight=3))
    writer.add([store_job.record("e", sight=ROWS)])
    writer.flush()
    (store / "parts" / f"{writer.name}-000000.parquet").unlink()
    (store / "sight" / f".{writer.name}-000001.safetensors.77").touch()
    assert check(store).findings == []  # it lives
    writer._lock._file.close()  # as death does
    (store / "notes.txt").touch()
    (store / "parts" / "notes.txt").touch()
    (store / "mine").mkdir()
    manifest = store_job.declare(overwrite=True, sound=2)
    (store / ".store.json.99").touch()
    report = check(store)
    assert report.wrong == []
    assert report.superseded == 2
    whats = sorted(finding.what for finding in report.findings)
    killed, gone, foreign = (
        "was left by a job that was killed",
        "no longer counts: its stream was begun anew",
        "is no",
    )
    assert whats.count(killed) == 4
    assert whats.count(gone) == 2
    assert sum(what.startswith(foreign) for what in whats) == 3
    clear_overwritten(store, manifest)
    assert mend(store, report.findings) == []
    assert {finding.name for finding in check(store).findings} == {
        "notes.txt",
        "parts/notes.txt",
        "mine/",
        ".store.json.99",  # goes with the next job that looks at store.json
    }
    assert (store / "parts" / "notes.txt").exists()
    assert FeatureStore(store).done("sight") == set("abcd")


def test_notes_on_imports(store):
    note = store / "imports" / "x-import.json"
    note.parent.mkdir()
    note.write_text("{")
    assert list(wrong(store)) == ["imports/x-import.json"]
    assert mend(store, check(store).findings) == []
    assert not note.exists()


def test_what_a_job_writes_meanwhile_is_left_alone(store, store_job, monkeypatch):
    """Between the look at the parts and that at the other files, and between looking and mending."""
    from features.store import verify as store_check

    real = store_check.find_leftovers

    def late(*arguments):
        store_job.write(store_job.record("e", sight=ROWS, times={"sight": TIMES}), sight=3)
        return real(*arguments)

    monkeypatch.setattr(store_check, "find_leftovers", late)
    report = check(store)
    assert report.findings == []
    mend(store, report.findings)
    assert FeatureStore(store).done("sight") == set("abcde")
    monkeypatch.undo()
    assert check(store).findings == []


def test_an_orphan_whose_part_comes_back_is_not_taken_away(store):
    path = sorted((store / "parts").iterdir())[0]
    content = path.read_bytes()
    path.unlink()
    report = check(store)
    assert len(report.wrong) == 3
    path.write_bytes(content)
    mend(store, report.findings)
    assert check(store).findings == []
    assert FeatureStore(store).done("sight") == set("abcd")
