"""An index on disk, format 2. Everything opens without this package: JSON, Arrow IPC, .npy, safetensors, FAISS.

    index.json                        the manifest: what is part of the index, and what it is of
    segments/000003/segment.json      clips, units {code: rows}, their kinds, bytes and SHA-256 of all its files
    segments/000003/clips.arrow       Arrow IPC file, uncompressed, sorted by clip_id (columns:
    index/storage/columns.py) segments/000003/vectors-1011.npy  (N, W) float32: the experts of the pattern side by
    side, then the constant if
                                      the index carries constants
    segments/000003/rows-1011.npy     (N,) int64: their rows in the table, rising
    segments/000003/certified-1011*   what the scanner of that kind saves (index/scanners)
    removed-000007.safetensors        {segment: rows of its table that no longer count}
    log-000007                        what was put and removed since (index/storage/log.py)
    queries-000007.safetensors        held-out queries that the recall was measured with
    lock                              held by the one who writes

The manifest is replaced as a whole, and seals itself: "sha256" is of its other entries as canonical JSON. It has
the SHA-256 of each segment.json, of the removed rows and of the queries; so everything hangs from it but the log,
whose records carry CRCs. What it does not name is not part of the index. A number is never used twice.

Files and folders that outlive a power cut: synced, and then given their name.

Who writes an index: one process at a time, which holds a lock on the file `lock`; its number stands in it.

The system lets go of the lock when the process ends, however it ends; the file stays.

Origin: what an index was made from.

Which rows of segments no longer count: a safetensors file, {segment: (N,) int64 rows}.

Segments never change; a clip that is removed or replaced leaves its row behind, until its segment is written anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from index.scanners.kinds import Settings
from mee.errors import InputError
from mee.layout import Layout


@dataclass(frozen=True)
class Origin:
    """Opening checks that it is still so."""

    model: str  # directory, absolute
    model_fingerprint: str
    store: str  # directory, absolute


BLOCK = 1 << 24  # bytes that are read or written at a time


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole, in the place of what was there; an error leaves what was there."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """See that a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def place_folder(aside: Path, path: Path) -> None:
    """Sync a folder of files, and give it its name."""
    for file in aside.iterdir():
        sync(file)
    sync(aside)
    os.rename(aside, path)
    sync(path.parent)


def discard(path: Path) -> None:
    """Take a file or a folder away, if it is there and that can be; else a later writer tries again."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


FORMAT = 2
NAME, SEGMENTS, LOCK = "index.json", "segments", "lock"
SEAL = "sha256"
KNOWN = re.compile(r"segments/\d{6,}|(removed|queries)-\d{6,}\.safetensors|log-\d{6,}")  # what a manifest may name
REMEDY = "restore it, or make the index again: mee index STORE MODEL INDEX --overwrite"


@dataclass(frozen=True)
class Part:
    """A file that the manifest names, or a segment by its segment.json."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is part of an index."""

    identity: str  # made up when it was created; another index in the same place has another
    generation: int
    layout: Layout
    origin: Origin
    settings: Settings
    constants: Mapping[str, Any] | None = None
    recall: Mapping[str, Any] | None = None
    segments: tuple[Part, ...] = ()
    removed: Part | None = None
    queries: Part | None = None
    log: str

    def write(self, directory: Path) -> bytes:
        """Put it in the place of the one that was there; returns the file."""
        content = {"format": FORMAT, **asdict(self)}
        text = (json.dumps({**content, SEAL: _seal(content)}, indent=2, allow_nan=False) + "\n").encode()
        replace_file(directory / NAME, text)
        return text

    @property
    def files(self) -> set[str]:
        """Names of all that belongs to it, as seen from the directory."""
        parts = {part.name for part in (self.removed, self.queries) if part is not None}
        return parts | {self.log} | {f"{SEGMENTS}/{part.name}" for part in self.segments}


def read_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """The manifest and its file.

    Raises:
        InputError: there is none, or it is damaged or of another format.
    """
    path = directory / NAME
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"no index at '{directory}'; make one with: mee index STORE MODEL {directory}") from error
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it holds no entries")
        _check_format(path, content)
        if content.pop(SEAL) != _seal(content):
            raise ValueError("it is not what was written")
        return _parsed(content), text
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"it has no {error}" if isinstance(error, KeyError) else str(error)) from error


def damaged(path: Path, reason: str) -> InputError:
    """The one sentence of all damage."""
    words = reason.splitlines()[0] if reason.strip() else "it cannot be read"
    return InputError(f"'{path}' is damaged ({words}); {REMEDY}")


def _check_format(path: Path, content: Mapping[str, Any]) -> None:
    version = content["format"]
    if version == 1:
        raise InputError(
            f"'{path}' is of format 1, which earlier versions of mee wrote and this one does not read; "
            "make the index again: mee index STORE MODEL INDEX --overwrite"
        )
    if isinstance(version, int) and version > FORMAT:
        raise InputError(
            f"'{path}' is of format {version}, and this version of mee reads format {FORMAT}; use a newer one"
        )
    if version != FORMAT:
        raise ValueError(f"format {version!r} is none")


def _seal(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parsed(content: Mapping[str, Any]) -> Manifest:
    entries = {name: value for name, value in content.items() if name != "format"}
    layout = entries.pop("layout")
    entries["layout"] = Layout(tuple(layout["names"]), tuple(layout["sizes"]))
    entries["origin"] = Origin(**entries["origin"])
    entries["settings"] = Settings(**entries["settings"])
    entries["segments"] = tuple(Part(**part) for part in entries["segments"])
    for name in ("removed", "queries"):
        entries[name] = None if entries[name] is None else Part(**entries[name])
    manifest = Manifest(**entries)
    strange = [name for name in manifest.files if not KNOWN.fullmatch(name)]
    if strange:
        raise ValueError(f"it names '{min(strange)}', which no index has")
    return manifest


@final
class Lock:
    """Held from its making to its release."""

    def __init__(self, directory: Path) -> None:
        """Take it.

        Raises:
            InputError: another writer holds it.
        """
        path = directory / LOCK
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read(32).decode(errors="replace").strip()
            self._file.close()
            who = f"process {holder}" if holder.isdecimal() else "another process"
            what = f"{who} is writing the index at '{directory}'; wait until it is done, or stop it"
            raise InputError(what) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())
        self._file.flush()

    def release(self) -> None:
        """Let others write."""
        self._file.close()


def read_removed(directory: Path, part: Part | None) -> dict[str, NDArray[np.int64]]:
    """What was written.

    Raises:
        InputError: the file is not there, or damaged.
    """
    if part is None:
        return {}
    path = directory / part.name
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != part.sha256:
            raise ValueError("it is not what was written")
        return load(content)
    except FileNotFoundError as error:
        raise damaged(path, "it is not there") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(path, str(error)) from error
