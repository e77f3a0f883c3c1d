"""Files of a store that no part tells of, and what each is.

being written    its writer lives: nothing is said of it
left             by a job that was killed, or begun anew since: harmless, the next job or `mend` takes it away
an orphan        no writer claims it, and its part is gone: wrong, clips have been lost
foreign          no file of a store: harmless, and left alone
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from features.store.lock import claims
from features.store.manifest import NAME
from features.store.part import IMPORTS, PARTS, ROWS, WRITERS, made_by, part_path, shard_of
from features.store.sealed_json import is_unbroken
from features.store.shard_check import Finding

UNSEALED_NOTE = ("written_at", "nan_is_missing", "zero_is_missing", "streams")  # a note of before it had a seal
KILLED = "was left by a job that was killed"


def find_leftovers(directory: Path, keys: Mapping[str, str], known: Collection[str]) -> Iterator[Finding]:
    """Look at every file.

    Args:
        directory: of the store.
        keys: of the streams' entries in the manifest.
        known: names, as seen from the store, of the files that are part of it, or of which all is said.
    """
    for path in sorted(directory.iterdir()):
        if not path.is_dir():
            yield from _in_root(path.name)
        elif path.name == WRITERS:
            yield from _locks(path, claims(directory))
        elif path.name in (IMPORTS, PARTS) or path.name in keys:
            for file in sorted(path.iterdir()):
                name = f"{path.name}/{file.name}"
                if file.name.startswith("."):
                    if not _claim(directory, name):
                        yield Finding(name=name, what=KILLED, wrong=False, deletable=True)
                elif path.name == IMPORTS:
                    yield from _note(file)
                elif name not in known:
                    yield from _in_stream(directory, name, keys)
        else:
            yield Finding(name=f"{path.name}/", what="is no stream of this store", wrong=False)


def counts(directory: Path, name: str, keys: Mapping[str, str]) -> bool:
    """Whether a stream's file, as things stand now, is of a shard that exists, or is going to be.

    Args:
        directory: of the store.
        name: of the file, as seen from the store.
        keys: of the streams' entries in the manifest.
    """
    claim = _claim(directory, name)  # asked first: a writer that ends now has its part in place
    part = part_path(directory, shard_of(directory / name).removeprefix("."))
    if claim or not part.exists():
        return bool(claim)
    stream = name.partition("/")[0]
    return stream in keys and made_by(part).get(stream) == keys[stream]


def _claim(directory: Path, name: str) -> bool | None:
    """Whether the writer of a file lives; None where nobody says to have been writing it."""
    shard = shard_of(directory / name).removeprefix(".")
    return next((lives for beginning, lives in claims(directory).items() if shard.startswith(beginning)), None)


def _in_root(name: str) -> Iterator[Finding]:
    if name.startswith(f".{NAME}."):
        if name != f".{NAME}.lock":
            yield Finding(name=name, what=KILLED, wrong=False)
    elif name != NAME:
        yield Finding(name=name, what="is no file of a store", wrong=False)


def _note(path: Path) -> Iterator[Finding]:
    """A note on where imported streams came from."""
    try:
        unbroken = is_unbroken(path.read_bytes(), UNSEALED_NOTE)
    except (ValueError, OSError):
        unbroken = False
    if unbroken is False:
        what = "is not what was written; it only notes which files imported streams came from"
        yield Finding(name=f"{IMPORTS}/{path.name}", what=what, deletable=True)


def _locks(folder: Path, writing: Mapping[str, bool]) -> Iterator[Finding]:
    for path in sorted(folder.iterdir()):
        name = f"{WRITERS}/{path.name}"
        if path.suffix != ".lock":
            yield Finding(name=name, what="is no file of a store", wrong=False)
        elif writing.get(f"{path.stem}-") is False:
            yield Finding(name=name, what=KILLED, wrong=False)


def _in_stream(directory: Path, name: str, keys: Mapping[str, str]) -> Iterator[Finding]:
    """One file of a stream's folder, or of that of the parts, that no part knew of when they were read."""
    path = directory / name
    claim = _claim(directory, name)
    part = part_path(directory, shard_of(path))
    if claim or path == part or not path.exists() or counts(directory, name, keys):
        return  # a job came meanwhile
    if not name.endswith(ROWS):
        yield Finding(name=name, what="is no file of a store", wrong=False)
    elif part.exists():
        yield Finding(name=name, what="no longer counts: its stream was begun anew", wrong=False, deletable=True)
    elif claim is False:
        yield Finding(name=name, what=KILLED, wrong=False, deletable=True)
    else:
        yield Finding(name=name, what="is an orphan: the part that tells of its clips is gone", deletable=True)
