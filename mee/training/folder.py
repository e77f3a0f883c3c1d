"""The folder of an unfinished run, MODEL.training beside the model that it makes; it is removed at the end.

    lock                held by the run, and says whose it is
    state.safetensors   replaced after each epoch (mee.training.state)
    model/              the finished model, which is then moved to its place
    replaced/           the model that was in its place

The finished model is synced before anything moves. A run that is killed between the two moves leaves both models
here, and the next run moves the new one to its place.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mee.checkpoint import CONFIG, TEXT, TRAINING, WEIGHTS
from mee.errors import InputError, name_ids
from mee.files import make_folder, regular_size, sync
from mee.weights import Checkpointed

LOCK, STATE, NEW, REPLACED = "lock", "state.safetensors", "model", "replaced"
# Files that a killed run leaves: ours, and those that safetensors writes aside.
OURS = re.compile(rf"{LOCK}|{NEW}|{REPLACED}|{STATE}|\.{STATE}\.\d+|\.tmp\w+")
HOLDER_BYTES = 200  # of a lock file that are shown


@contextmanager
def run_folder(model: Path, *, overwrite: bool, leads: bool = True) -> Iterator[Path]:
    """Make and hold the folder of the run that makes a model; remove it at the end, if no state is in it.

    What an earlier run had finished is moved to its place.

    Args:
        model: its place; where it is a link, the folder is beside what it leads to.
        overwrite: replace a model that is there.
        leads: whether this is the first of the run's processes; the others only get the path.

    Raises:
        InputError: the place or the folder holds something else, or another run holds the folder.
    """
    if leads:
        _check_place(model, overwrite=overwrite)
    folder = model.resolve().with_name(f"{model.resolve().name}.training")
    if not leads:
        yield folder
        return
    if folder.is_symlink():
        raise InputError(f"'{folder}' is a symbolic link and not a folder; remove it, or name another model")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        if strange := [path.name for path in folder.iterdir() if not OURS.fullmatch(path.name)]:
            danger = "and a training would remove that folder in the end; move them, or name another model"
            raise InputError(f"'{folder}' holds {name_ids(sorted(strange))}, {danger}")
        with _held(folder / LOCK):
            new, replaced = folder / NEW, folder / REPLACED
            if _is_folder(new) and _is_folder(replaced) and not model.exists():
                _move(new, model.resolve())
            clear(folder, kept=(LOCK, STATE))
            _check_place(model, overwrite=overwrite)  # again: from here on no other training writes it
            yield folder
    finally:
        for path in dict.fromkeys((folder, *made)):
            with suppress(OSError):  # it holds something
                path.rmdir()
                sync(path.parent)


def _check_place(model: Path, *, overwrite: bool) -> None:
    parts = [(model / name).exists() for name in (CONFIG, WEIGHTS, TEXT)]  # others have a config.json, too
    if model.exists() and not all(parts):
        raise InputError(f"'{model}' exists and is not a model; name another place")
    if model.exists() and not overwrite:
        raise InputError(f"there is a model at '{model}' already; replace it with --overwrite")


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock file that says who does, and remove it at the end; that of a killed process is free.

    Releases of filelock that the project allows follow a link, and empty the file that another process holds.
    """
    with suppress(FileNotFoundError):
        regular_size(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags, 0o666), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = " ".join(file.read(HOLDER_BYTES).decode("utf-8", "replace").split())
            raise InputError(
                f"another training uses '{path.parent}' ({holder}); wait until it has ended, or name another model"
            ) from None
        if os.fstat(file.fileno()).st_nlink != 1:
            raise InputError(f"'{path}' was removed just now, or is a hard link; remove it and try again")
        file.truncate()
        where = f"process {os.getpid()} on {socket.gethostname()}"
        file.write(f"{where} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n".encode())
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def clear(folder: Path, *, kept: tuple[str, ...] = (LOCK,)) -> None:
    """Remove what a run has left in its folder."""
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if _is_folder(path) else path.unlink(missing_ok=True)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _move(path: Path, to: Path) -> None:
    path.rename(to)
    sync(to.parent)
    sync(path.parent)


def write_checkpoint(model: Checkpointed, record: Mapping[str, Any], directory: Path, folder: Path) -> None:
    """Write a model and its training.json into the run's folder, sync it, and move it to `directory`.

    Raises:
        OSError: it cannot be written.
    """
    new, directory = folder / NEW, directory.resolve()
    try:
        model.save_pretrained(new)
    except SafetensorError as error:  # also that of a full disk
        raise OSError(f"'{new}' cannot be written: {error}") from error
    (new / TRAINING).write_text(json.dumps(record, indent=2) + "\n")
    (new / WEIGHTS).chmod((new / CONFIG).stat().st_mode)  # safetensors lets only the owner read what it writes
    for path in (*new.rglob("*"), new, folder):
        sync(path)
    if directory.exists():
        _move(directory, folder / REPLACED)
    _move(new, directory)
    clear(folder)
