"""One writer at a time; the lock goes when its holder does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from index.storage.manifest import Lock
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN


def test_a_second_writer_is_told_who_writes(tmp_path):
    place = tmp_path / "ix"
    sentence = f"process {os.getpid()} is writing the index at '{place}'; wait until it is done, or stop it"
    with IndexWriter.create(place, LAYOUT, ORIGIN):
        for begin in (
            lambda: IndexWriter.open(place),
            lambda: IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True),
        ):
            with pytest.raises(InputError) as caught:
                begin()
            assert str(caught.value) == sentence
    IndexWriter.open(place).close()


def test_a_lock_that_says_nothing_yet(tmp_path):
    lock = Lock(tmp_path)
    (tmp_path / "lock").write_text("")
    with pytest.raises(InputError, match="another process is writing the index"):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()


def test_it_goes_with_its_process(tmp_path):
    code = "import os, pathlib; from index.storage.manifest import Lock; "
    code += f"held = Lock(pathlib.Path({str(tmp_path)!r})); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 9
    Lock(tmp_path).release()


def test_an_error_while_opening_lets_it_go(tmp_path):
    place = tmp_path / "ix"
    IndexWriter.create(place, LAYOUT, ORIGIN).close()
    next(place.glob("log-*")).write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(InputError, match="is damaged"):
            IndexWriter.open(place)
