"""store.json: the streams of a feature store, what made them, and which of their versions count.

    format          version of the store's format
    clip_seconds    how videos are cut; null: the default rule
    streams         by name:
        fingerprint     extractor, its version, model, revision, size (0: it holds words), parameters including the
                        sampling, and the names of the columns: "" for those without one, an empty list where none
                        has one
        digest          of the fingerprint
        versions        that count
        overwritten     versions that no longer count
        code            versions of mee and of its dependencies when the stream was declared
    sha256          of the other entries, encoded by json.dumps with sorted keys

One stream has one digest. Versions of packages are not part of it: otherwise no two releases could fill one store.

The version of a stream is an identifier drawn at random when the stream is declared or overwritten; every part
lists the versions of its streams. So a merge rewrites nothing: in the union, the versions count that any of the
stores declared and none has overwritten.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import distributions
from pathlib import Path
from shlex import quote
from typing import Any, Self

from features.errors import InputError
from features.extractors import Fingerprint, check_columns
from features.files import check_folder, make_folder, parse_json, read_file, remove, write_whole
from features.store.layout import FOLDERS, STORE_FILE, is_name, is_stream
from features.store.writers import Work, store_lock

FORMAT = 6
MOST_DIM = 1 << 20  # numbers in a row
KINDS: dict[str, Any] = {"extractor": str, "version": int, "dim": int, "parameters": dict}  # of a fingerprint
KINDS |= {"model": str | None, "revision": str | None, "columns": list}
READING = ("mee", "av", "numpy", "opencv-python-headless")  # packages that every extractor depends on
MODELS = ("torch", "transformers")
NAMES = "a name is of at most 100 letters, digits, - and _"


@dataclass(frozen=True)
class StreamEntry:
    """One stream: what made it, and which of its versions count."""

    fingerprint: Mapping[str, Any]  # features.extractors.Fingerprint, as JSON
    digest: str
    versions: tuple[str, ...]  # several after a merge; sorted
    overwritten: tuple[str, ...] = ()  # sorted
    code: Mapping[str, str] = field(default_factory=dict, compare=False)  # version by package

    @classmethod
    def of(cls, made_by: Fingerprint) -> StreamEntry:
        """A new version by an extractor, with the packages installed now."""
        fingerprint = json.loads(json.dumps(asdict(made_by)))
        return cls(fingerprint, made_by.digest, (uuid.uuid4().hex[:12],), code=_code_versions(made_by))

    @classmethod
    def read(cls, entry: Any) -> StreamEntry:
        """From an entry of store.json; where `of` did not make it, raises ValueError or what Python raises."""
        made_by, lists = entry["fingerprint"], [entry["versions"], entry["overwritten"]]
        typed = [(made_by[name], kind) for name, kind in KINDS.items()] + [(each, list) for each in lists]
        typed += [(word, str) for word in entry["code"].values()]
        wrong = [value for value, kind in typed if not isinstance(value, kind) or value is True]
        wrong = wrong or [name for name in (entry["digest"], *lists[0], *lists[1]) if not is_name(name)]
        wrong = wrong or [dim for dim in (made_by["dim"],) if not 0 <= dim <= MOST_DIM]
        if wrong or made_by.keys() != KINDS.keys():
            raise ValueError(f"an entry of a stream is unknown or wrong: {wrong or [*made_by]}"[:200])
        check_columns(made_by["columns"], made_by["dim"])
        return cls(**{**entry, "versions": tuple(lists[0]), "overwritten": tuple(lists[1])})

    def united(self, other: StreamEntry) -> StreamEntry:
        """All versions of both, without those that either has overwritten."""
        overwritten = {*self.overwritten, *other.overwritten}
        versions = {*self.versions, *other.versions} - overwritten
        return replace(self, versions=tuple(sorted(versions)), overwritten=tuple(sorted(overwritten)))


@dataclass(frozen=True)
class Manifest:
    """The content of store.json."""

    clip_seconds: float | None  # how videos are cut; None: the default rule of features.media.cutting
    streams: Mapping[str, StreamEntry]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the manifest of an existing store, which is valid and of this format."""
        path = directory / STORE_FILE
        if not os.path.lexists(path):
            raise InputError(
                f"no feature store at '{directory}'; make one with: mee precompute VIDEOS {quote(str(directory))} "
                f"(or mee import {quote(str(directory))} STREAM=FILE)"
            )
        try:
            content = parse_json(read_file(path))
            if (found := content["format"]) != FORMAT or type(found) is not int:
                raise InputError(
                    f"{path} is of format {found!r:.40}, this version of mee reads format {FORMAT}; make it "
                    "again: mee precompute VIDEOS NEW_STORE (or mee import NEW_STORE STREAM=FILE)"
                )
            if wrong := [name for name in content["streams"] if not is_stream(name)]:
                raise ValueError(f"no stream can be called {wrong[0]!r:.80}")
            seconds = content["clip_seconds"]
            if seconds is not None and not (type(seconds) in (int, float) and 0 < seconds < math.inf):
                raise ValueError(f"its clip_seconds is {seconds!r:.40}")
            read = cls(seconds, {name: StreamEntry.read(entry) for name, entry in content["streams"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            what = error if isinstance(error, ValueError) else "an entry is missing or of another type"
            raise InputError(f"{path} is damaged: {what}; put a copy of it in its place") from error
        read.check_folders(directory)
        return read

    def holds_words(self, stream: str) -> bool:
        """Whether the rows of a stream are what is said or written, not numbers."""
        return bool(self.streams[stream].fingerprint["dim"] == 0)

    def check_folders(self, directory: Path) -> None:
        """Raises InputError where the store leads out of its directory: its folders may not be links."""
        for name in (*FOLDERS, *self.streams):
            check_folder(directory / name)

    def encode(self) -> bytes:
        """The file."""
        streams = {name: asdict(entry) for name, entry in self.streams.items()}
        return checksummed({"format": FORMAT, "clip_seconds": self.clip_seconds, "streams": streams})


def checksummed(content: Mapping[str, Any]) -> bytes:
    """JSON of these entries and a checksum over them."""
    return (json.dumps({**content, "sha256": _checksum(content)}, indent=2) + "\n").encode()


def is_valid(path: Path) -> bool:
    """Whether a file of checksummed JSON is what was written."""
    try:
        content = parse_json(read_file(path))
        return bool(content.pop("sha256") == _checksum(content))
    except (ValueError, LookupError, AttributeError, TypeError, OSError):
        return False


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_names(streams: Iterable[str]) -> None:
    """Refuse what no stream can be called: other letters, and names that the store uses itself."""
    for stream in streams:
        if not is_stream(stream):
            allowed = "the store uses this name itself" if is_name(stream) else NAMES
            raise InputError(f"no stream may be called '{stream:.200}': {allowed}")


def declare(
    directory: Path,
    fingerprints: Mapping[str, Fingerprint],
    clip_seconds: float | None,
    *,
    overwrite: bool,
    work: Work | None = None,
) -> Manifest:
    """Make or extend the manifest of a store, new or not, by the streams that a job is going to write.

    Args:
        directory: of the store.
        fingerprints: what makes each stream.
        clip_seconds: how videos are cut.
        overwrite: start a new version of these streams; the present ones no longer count.
        work: of the job.
    """
    check_names(fingerprints)

    def extended(there: Manifest | None) -> Manifest:
        streams = {} if there is None else dict(there.streams)
        if there is not None and work is not None:
            work.refuse_same(directory)
        for stream, made_by in fingerprints.items():
            old, new = streams.get(stream), StreamEntry.of(made_by)
            if old is not None and not overwrite and old.digest != new.digest:
                raise InputError(
                    f"{directory}: its '{stream}' was made by another extractor (fingerprint {old.digest}, now "
                    f"{new.digest}), and a store never mixes two. Write to another store, or replace the stream "
                    "with --overwrite"
                )
            if old is None:
                streams[stream] = new
            elif overwrite:
                streams[stream] = replace(new, overwritten=tuple(sorted({*old.overwritten, *old.versions})))
        if there is not None and there.clip_seconds != clip_seconds:
            raise InputError(
                f"{directory}: its videos are cut by --clip-seconds {there.clip_seconds or 'default'}, this job "
                f"requests {clip_seconds or 'default'}. Use the same, or write to another store"
            )
        return Manifest(clip_seconds, streams)

    return change(directory, extended)


def change(directory: Path, make: Callable[[Manifest | None], Manifest]) -> Manifest:
    """Replace a store's manifest by what ``make`` returns for it; one job at a time, so that no stream is lost."""
    if directory.exists():
        # temporary files of a killed job do not make a directory foreign; the manifest is looked for last, because
        # another job may be writing it
        ours = directory.is_dir() and all(p.name.startswith(f".{STORE_FILE}.") for p in directory.iterdir())
        if not ours and not (directory / STORE_FILE).is_file():
            raise InputError(f"'{directory}' is there already and is not a feature store; name another place")
    make_folder(directory)
    with store_lock(directory):
        for temporary in directory.glob(f".{STORE_FILE}.[0-9]*"):  # of killed jobs
            remove(temporary)
        there = Manifest.read(directory) if os.path.lexists(directory / STORE_FILE) else None
        manifest = make(there)
        if manifest != there:
            write_whole(directory / STORE_FILE, manifest.encode())
    return manifest


def _code_versions(made_by: Fingerprint) -> dict[str, str]:
    """Versions by package; for information only. A build under another name is not among them."""
    imported = made_by.extractor.partition(":")[0] == "imported"
    packages = READING[:1] if imported else (*READING, *(MODELS if made_by.model is not None else ()))
    return {name: found.version for name in packages for found in [*distributions(name=name)][:1]}
