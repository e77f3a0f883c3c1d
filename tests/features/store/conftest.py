"""No syncing; and what all commands do with a store that came from anyone."""

import os
import shutil
import signal

import pytest

from features.errors import InputError
from features.store.export import export_stream
from features.store.feature_store import FeatureStore
from features.store.merge import merge_stores
from features.store.verify import check_store, repair
from tests.features.small_stores import ROWS, quiet, read_all


@pytest.fixture(scope="session", autouse=True)
def _no_syncing():
    """No test here cuts the power; syncing would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def commands(store, store_job, tmp_path):
    """Name -> what it does with the store `store`; those that write come last."""
    new, records = tmp_path / "new", [store_job.record("late", sight=ROWS, sound=ROWS[:, :2])]
    return {
        "read": lambda: read_all(store),
        "export": lambda: export_stream(FeatureStore(store), new / "{stream}.npz", [], quiet, overwrite=True),
        "merge": lambda: merge_stores(new / "all", [store], quiet),
        "verify": lambda: check_store(store, quiet),
        "write": lambda: store_job.write(*records, sight=3, sound=2),
        "merge into": lambda: merge_stores(store, [tmp_path / "good"], quiet),
        "overwrite": lambda: store_job.write(sight=3, overwrite=True),
        "repair": lambda: repair(store, check_store(store, quiet).findings),
    }


@pytest.fixture
def refused(store, tmp_path, commands):
    """refused(spoil): the commands that refuse the store after spoil(store, victim), a tree of a store's names."""
    shutil.copytree(store, tmp_path / "good")
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in {path.name for path in store.rglob("*")} | {"x-1-a-000001.parquet", ".x.1", "dead-1-a.lock"}:
        (victim / name).write_text(name)
    os.mkfifo(victim / "pipe")  # whoever opens it waits

    def facts():
        found = ((path.name, path.lstat()) for path in victim.rglob("*"))
        return sorted((name, each.st_mode, each.st_mtime_ns, each.st_nlink) for name, each in found)

    def run(spoil):
        spoil(store, victim)
        before, messages = facts(), {}
        for name, command in commands.items():
            try:
                command()
            except InputError as error:
                messages[name] = str(error)
            assert facts() == before, name
        assert not any("\n" in message for message in messages.values())
        return messages

    previous = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(60)
    yield run
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
