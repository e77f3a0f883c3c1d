"""An index on disk, format 3. Everything opens without this package: JSON, Arrow IPC, .npy, safetensors, FAISS.

    index.json                        the manifest: what is part of the index, and what it is of
    segments/000003/segment.json      clips, partitions {code: rows}, their kinds, bytes and SHA-256 of all its
    files segments/000003/clips.arrow       Arrow IPC file, uncompressed, sorted by clip_id
    (index/storage/columns.py) segments/000003/vectors-1011.npy  (N, W) float32: the experts of the pattern side by
    side, then the clip's
                                      offset if the index carries offsets
    segments/000003/rows-1011.npy     (N,) int64: their rows in the table, rising
    segments/000003/certified-1011*   what the scanner of that kind saves (index/scanners)
    removed-000007.safetensors        {segment: (N,) int64 rows of its table that no longer count}
    log-000007                        what was put and removed since (index/storage/log.py)
    lock                              held by the writer

The manifest is replaced as a whole, and checks itself: "sha256" is of its other entries as canonical JSON. It has
the SHA-256 of each segment.json and of the removed rows; so everything hangs from it but the log, whose records
carry CRCs. What it does not name is not part of the index. A number is never used twice. Segments never change; a
clip that is removed or replaced leaves its row behind, until its segment is written anew. Files and folders are
synced before they get their names, so that they outlive a power cut.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from index.scanners import Settings
from mee.errors import InputError
from mee.layout import Layout

FORMAT = 3
INDEX_FILE, SEGMENTS, LOCK = "index.json", "segments", "lock"
SEAL = "sha256"
KNOWN = re.compile(r"segments/\d{6,}|removed-\d{6,}\.safetensors|log-\d{6,}")  # what a manifest may name
ASIDE = re.compile(r"segments/\.\d{6,}|\.(index\.json|removed-\d{6,}\.safetensors|log-\d{6,})\.\d+")
BLOCK = 1 << 24  # bytes that are read or written at a time
REMEDY = "restore it, or make the index again: mee index STORE MODEL INDEX --overwrite"


@dataclass(frozen=True)
class Origin:
    """What an index was made from; opening checks that it is still so."""

    model: str  # directory, absolute
    model_fingerprint: str
    store: str  # directory, absolute


@dataclass(frozen=True)
class Recall:
    """What share of the exact answers was found, and how that is known (index/recall.py)."""

    target: float | None  # what was asked for
    reached: float  # below the target where that is out of reach
    rerank: int  # candidates that are scored exactly for the best `at`
    at: int
    queries: int  # that `reached` is the mean of
    source: str  # what they are
    clips: int  # in the index then


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
    offsets: Mapping[str, Any] | None = None
    recall: Recall | None = None
    segments: tuple[Part, ...] = ()
    removed: Part | None = None
    log: str

    def write(self, directory: Path) -> bytes:
        """Put it in the place of the one that was there; returns the file."""
        content = {"format": FORMAT, **asdict(self)}
        text = (json.dumps({**content, SEAL: _seal(content)}, indent=2, allow_nan=False) + "\n").encode()
        replace_file(directory / INDEX_FILE, text)
        return text

    @property
    def files(self) -> set[str]:
        """Names of all that belongs to it, as seen from the directory."""
        parts = {f"{SEGMENTS}/{part.name}" for part in self.segments}
        return parts | {self.log} | ({self.removed.name} if self.removed is not None else set())


def read_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """The manifest and its file."""
    path = directory / INDEX_FILE
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"no index at '{directory}'; make one with: mee index STORE MODEL {directory}") from error
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it holds no entries")
        version = content["format"]
        if version == FORMAT:
            if content.pop(SEAL) != _seal(content):
                raise ValueError("it is not what was written")
            return _parsed(content), text
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"it has no {error}" if isinstance(error, KeyError) else str(error)) from error
    raise InputError(
        f"'{path}' is of format {version!r}, and this version of mee reads {FORMAT}; make the index again: "
        "mee index STORE MODEL INDEX --overwrite"
    )


def damaged(path: Path, reason: str) -> InputError:
    """The one sentence of all damage."""
    words = reason.splitlines()[0] if reason.strip() else "it cannot be read"
    return InputError(f"'{path}' is damaged ({words}); {REMEDY}")


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
    for name, kind in {"removed": Part, "recall": Recall}.items():
        entries[name] = None if entries[name] is None else kind(**entries[name])
    manifest = Manifest(**entries)
    strange = [name for name in manifest.files if not KNOWN.fullmatch(name)]
    if strange:
        raise ValueError(f"it names '{min(strange)}', which no index has")
    return manifest


def read_removed(directory: Path, part: Part | None) -> dict[str, NDArray[np.int64]]:
    """What was written."""
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


def parts_in(directory: Path) -> set[str]:
    """Names of all that could be part of an index, as seen from the directory."""
    return {name for name in _names(directory) if KNOWN.fullmatch(name)}


def is_foreign(directory: Path) -> bool:
    """Whether it holds something, and no index, whole or damaged, nor the beginnings of one."""
    parts, names = parts_in(directory), set(_names(directory))
    if INDEX_FILE in names:
        try:
            content = json.loads((directory / INDEX_FILE).read_bytes())
            return not (isinstance(content, dict) and {"format", "layout", "origin"} <= content.keys())
        except (OSError, ValueError, RecursionError):
            return not parts
    return any(name not in {*parts, LOCK, SEGMENTS} and not ASIDE.fullmatch(name) for name in names)


def last_number(directory: Path) -> int:
    """The highest in any name; 0 where there is none."""
    found = (re.search(r"\d{6,}", name) for name in parts_in(directory))
    return max((int(match.group()) for match in found if match), default=0)


def clear(directory: Path, kept: Collection[str]) -> None:
    """Take away what an index could have and this one does not; nobody else may be writing it."""
    for name in _names(directory):
        if (KNOWN.fullmatch(name) and name not in kept) or ASIDE.fullmatch(name):
            discard(directory / name)


def _names(directory: Path) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        yield path.name
        if path.name == SEGMENTS and path.is_dir():
            yield from (f"{SEGMENTS}/{folder.name}" for folder in sorted(path.iterdir()))
