"""Around a job: a full disk, files that come and go, folders without permission."""

import errno
import os
import stat
from unittest.mock import Mock

import numpy as np
import pytest

from features.errors import InputError
from features.media.library import size_of
from features.store.atomic_files import write_whole
from features.store.feature_store import FeatureStore
from features.store.verify import check_store

ROWS = np.ones((2, 3), np.float16)


@pytest.fixture
def full(monkeypatch):
    """`full(n)`: the disk has room for so many files more."""

    def make(files):
        left = [files]
        sync = os.fsync

        def fsync(number):
            left[0] -= stat.S_ISREG(os.fstat(number).st_mode)
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(number)

        monkeypatch.setattr(os, "fsync", fsync)

    yield make
    monkeypatch.undo()


@pytest.mark.parametrize("files", range(4))
def test_a_full_disk(store_job, full, monkeypatch, files):
    """One sentence; what was written before is whole, and nothing of what was not stays."""
    store_job.write(store_job.record("a", sight=ROWS, sound=ROWS), sight=3, sound=3)
    before = {path for path in store_job.directory.rglob("*") if path.is_file()}
    full(files)
    sentence = r"^\S+ cannot be written: No space left on device; what was written before is whole, so make room"
    late = store_job.record("b", sight=ROWS, sound=ROWS, times={"sight": np.ones(2, np.float32)})
    with pytest.raises(InputError, match=sentence):
        store_job.write(late, sight=3, sound=3)
    assert {path for path in store_job.directory.rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    store_job.write(late, sight=3, sound=3)
    assert list(FeatureStore(store_job.directory).clips.index) == ["a", "b"]
    assert check_store(store_job.directory, lambda done, of: None).findings == []


def test_a_write_is_complete_or_keeps_the_old_file_and_names_it(tmp_path, full):
    path = tmp_path / "a" / "store.json"
    write_whole(path, b"first")
    full(0)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(path, b"second")
    assert caught.value.filename == str(path)
    assert [each.read_bytes() for each in path.parent.iterdir()] == [b"first"]


def test_a_file_that_was_done_and_is_a_link_to_nowhere_now(job):
    assert job("a.mp4", "b.mp4").outcomes
    (job.videos / "a.mp4").unlink()
    (job.videos / "a.mp4").symlink_to("nowhere.mp4")
    report = job()
    assert (report.outcomes, report.changed) == ([], [])
    assert sorted(FeatureStore(job.directory).clips.index) == ["a.mp4", "b.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_be_listed_but_not_entered(job):
    (job.videos / "closed").mkdir()
    (job.videos / "closed" / "a.mp4").write_bytes(b"closed")
    (job.videos / "closed").chmod(0o600)
    try:
        (failure,) = job("a.mp4", "b.mp4").failures
    finally:
        (job.videos / "closed").chmod(0o700)
    assert (failure.video, failure.note) == ("closed/a.mp4", "it cannot be read: Permission denied")
    assert sorted(FeatureStore(job.directory).clips.index) == ["a.mp4", "b.mp4"]


def test_a_file_that_may_not_be_examined_has_no_size(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abc")
    assert size_of(path) == 3
    for number in (errno.EACCES, errno.EIO, errno.ESTALE):
        monkeypatch.setattr(type(path), "stat", Mock(side_effect=OSError(number, os.strerror(number))))
        assert size_of(path) is None
