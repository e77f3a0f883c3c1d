"""The folder of a run: one training at a time holds it, it holds only its own, and nothing outside is touched."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mee.errors import InputError
from mee.model import MEE
from mee.text.transformer import TransformerEncoder
from mee.training.folder import LOCK, NEW, REPLACED, STATE, clear, run_folder, write_checkpoint
from tests.mee.conftest import refusal

HOLD = """
import sys
from pathlib import Path
from mee.training.folder import run_folder
with run_folder(Path(sys.argv[1]), overwrite=True) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def model(tmp_path):
    return tmp_path / "m"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "m.training"


@pytest.fixture
def other_run(model):
    """Another process that holds the folder of `model` until it is killed."""
    place = {"cwd": Path(__file__).parents[3], "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, model], **place, **pipes) as run:
        assert run.stdout.readline()
        yield run
        run.kill()


def whole(place):
    place.mkdir()
    for name in ("config.json", "model.safetensors", "text"):
        (place / name).write_text(place.name)


def hold(model, **given):
    with run_folder(model, **{"overwrite": False, **given}) as folder:
        return folder


def test_a_second_run_is_refused_at_once_and_a_killed_one_does_not_hold_it(model, folder, other_run):
    for given in ({}, {"overwrite": True}):
        holder = rf"another training uses '{folder}' \(process {other_run.pid} on .* UTC"
        assert re.match(holder, refusal(hold, model, **given))
    assert hold(model, leads=False) == folder  # another process of the same run
    other_run.kill()
    other_run.wait()
    assert (folder / LOCK).exists()
    assert hold(model) == folder
    assert not folder.exists()


def test_who_holds_a_folder_is_told_in_visible_text(model, folder, other_run, says):
    (folder / LOCK).write_bytes(b"\x1b[2J\xff one\ntwo \xe2\x80\xae" + b"x" * 10_000)
    says(refusal(hold, model))


def test_a_link_to_the_model_leads_to_the_same_folder(model, folder, tmp_path):
    whole(model)
    (tmp_path / "link").symlink_to(model)
    with run_folder(tmp_path / "link", overwrite=True) as mine:
        assert mine == folder
        with pytest.raises(InputError, match="another training"):
            hold(model, overwrite=True)


def test_nothing_remains_of_a_run_that_made_nothing_but_a_state_does(tmp_path):
    with run_folder(tmp_path / "a" / "b" / "m", overwrite=False) as folder:
        assert [path.name for path in folder.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []
    with run_folder(tmp_path / "a" / "m", overwrite=False) as folder:
        (folder / STATE).touch()
        for name in (".tmpAb12cD", f".{STATE}.77", NEW):  # of a killed run
            (folder / name).touch()
    with run_folder(tmp_path / "a" / "m", overwrite=False) as folder:
        assert {path.name for path in folder.iterdir()} == {LOCK, STATE}
        clear(folder)
        assert {path.name for path in folder.iterdir()} == {LOCK}
    assert list((tmp_path / "a").iterdir()) == []


def test_a_model_that_was_on_its_way_is_moved_to_its_place(model, folder):
    folder.mkdir()
    whole(folder / NEW)
    whole(folder / REPLACED)
    with run_folder(model, overwrite=True) as held:
        assert (model / "config.json").read_text() == NEW
        assert {path.name for path in held.iterdir()} == {LOCK}
    with pytest.raises(InputError, match=r"there is a model at '.*m' already"):
        hold(model)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["film.mp4", "state", "state.safetensors.bak", "lock\n", ".state.safetensors.x"])
def test_a_folder_of_something_else_is_left_as_it_is(model, folder, name):
    folder.mkdir()
    (folder / name).write_text("dear to me")
    with pytest.raises(InputError, match=r"m.training' holds '.*', and a training would remove that folder"):
        hold(model, overwrite=True)
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "dear to me"


@pytest.fixture
def victim(tmp_path):
    """A folder and a file that nobody may touch."""
    place = tmp_path / "victim"
    place.mkdir()
    (place / "file").write_text("dear to me")
    yield place
    assert [path.name for path in place.iterdir()] == ["file"]
    assert (place / "file").read_text() == "dear to me"


LOCKS = {
    "link": lambda lock, victim: lock.symlink_to(victim / "file"),
    "dangling": lambda lock, victim: lock.symlink_to(victim / "new"),
    "hard link": lambda lock, victim: lock.hardlink_to(victim / "file"),
    "pipe": lambda lock, victim: os.mkfifo(lock),
    "folder": lambda lock, victim: lock.mkdir(),
}


@pytest.mark.parametrize("kind", LOCKS)
def test_a_lock_is_a_file_of_its_own(model, folder, victim, says, kind):
    folder.mkdir()
    LOCKS[kind](folder / LOCK, victim)
    says(refusal(hold, model))


def test_a_full_disk_leaves_the_model_that_was_there(model, folder, model_config, tokenizer):
    whole(model)
    made = MEE(model_config, TransformerEncoder(model_config.text, tokenizer))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with run_folder(model, overwrite=True) as held:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(OSError, match=r"m.training/model' cannot be written: .*File too large"):
                write_checkpoint(made, {}, model, held)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (model / "config.json").read_text() == "m"
    hold(model, overwrite=True)
    assert not folder.exists()


def test_links_in_a_folder_are_removed_and_not_followed(model, folder, victim):
    folder.mkdir()
    for name in (NEW, REPLACED, f".{STATE}.1"):
        (folder / name).symlink_to(victim)
    hold(model)
    assert not model.exists()
    assert not folder.exists()


def test_a_link_in_the_folders_place_is_refused(model, folder, victim, says):
    folder.symlink_to(victim)
    says(refusal(hold, model, overwrite=True))
    assert folder.is_symlink()
