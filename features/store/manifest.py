"""store.json: what a feature store is made of, and the refusal to mix what does not belong together.

    format          version of the store's format
    clip_seconds    how videos are cut; null: the default rule
    streams         by name:
        fingerprint     extractor, its version, model, revision, size, parameters with what is sampled
        digest          of the fingerprint
        versions        that count
        overwritten     versions that no longer count
        code            versions of mee and of the packages below it when the stream was declared
    sha256          of the other entries as json.dumps gives them, keys sorted

Streams are mixed only under one digest. The packages do not enter it, or no two releases could fill one store.

A version of a stream is an identifier drawn at random when the stream is declared or overwritten; every part names
those that its rows belong to. So a merge need not rewrite anything: what counts in the union is what any store
declared and none has overwritten.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self, final

from filelock import FileLock

from features.errors import InputError
from features.extractors import Fingerprint
from features.store.atomic_files import write_whole
from features.store.layout import RESERVED

FORMAT = 2
STORE_FILE = "store.json"
READING = ("mee", "av", "numpy", "opencv-python-headless")  # what every extractor's numbers go through
MODELS = ("torch", "transformers")


@final
@dataclass(frozen=True)
class StreamEntry:
    """One stream: what made it, and which of its versions count."""

    fingerprint: Mapping[str, Any]  # features.extractors.base.Fingerprint, as JSON
    digest: str
    versions: tuple[str, ...]  # several after a merge; sorted
    overwritten: tuple[str, ...] = ()  # sorted
    code: Mapping[str, str] = field(default_factory=dict, compare=False)  # version by package

    @classmethod
    def of(cls, made_by: Fingerprint) -> StreamEntry:
        """A new version by an extractor, with the code that runs now."""
        fingerprint = json.loads(json.dumps(asdict(made_by)))
        return cls(fingerprint, made_by.digest, (uuid.uuid4().hex[:12],), code=_code_versions(made_by))

    @property
    def key(self) -> str:
        """Changes when the stream is overwritten, not when stores are merged."""
        return " ".join((self.digest, *self.overwritten))

    def overwritten_by(self, new: StreamEntry) -> StreamEntry:
        """Only the new version counts."""
        return replace(new, overwritten=tuple(sorted({*self.overwritten, *self.versions})))

    def united(self, other: StreamEntry) -> StreamEntry:
        """All versions that one of both knows, without those that one of both has overwritten."""
        overwritten = {*self.overwritten, *other.overwritten}
        versions = {*self.versions, *other.versions} - overwritten
        return replace(self, versions=tuple(sorted(versions)), overwritten=tuple(sorted(overwritten)))


@final
@dataclass(frozen=True)
class Manifest:
    """The content of store.json."""

    clip_seconds: float | None  # how videos are cut; None: the default rule of features.media.cutting
    streams: Mapping[str, StreamEntry]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the manifest of an existing store.

        Raises:
            InputError: there is no store, or it is of another format.
        """
        path = directory / STORE_FILE
        if not path.is_file():
            raise InputError(
                f"no feature store at '{directory}'; make one with: mee precompute VIDEOS {directory} "
                f"(or mee import {directory} STREAM=FILE)"
            )
        try:
            content = json.loads(path.read_text())
            if (found := content["format"]) != FORMAT:
                raise InputError(
                    f"{path} is of format {found}, this version of mee reads format {FORMAT}; make it again: "
                    "mee precompute VIDEOS NEW_STORE (or mee import NEW_STORE STREAM=FILE)"
                )
            streams: dict[str, StreamEntry] = {}
            for name, entry in content["streams"].items():
                known = {key: tuple(entry[key]) for key in ("versions", "overwritten")}
                streams[name] = StreamEntry(**{**entry, **known})
            return cls(content["clip_seconds"], streams)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is damaged: {error}") from error

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
        content = json.loads(path.read_bytes())
        return bool(content.pop("sha256") == _checksum(content))
    except (ValueError, LookupError, AttributeError, TypeError, OSError):
        return False


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def declare(
    directory: Path, fingerprints: Mapping[str, Fingerprint], clip_seconds: float | None, *, overwrite: bool
) -> Manifest:
    """Make or extend a store's manifest for the streams that a job is going to write.

    Args:
        directory: of the store; made if it is not there.
        fingerprints: what makes each stream.
        clip_seconds: how videos are cut.
        overwrite: begin a new version of these streams, so that what is there of them no longer counts.

    Raises:
        InputError: the path is taken by something else, the store's videos are cut in another way, or a stream was
            made by another extractor and `overwrite` is False.
    """
    for stream in fingerprints:
        if stream in RESERVED:
            raise InputError(f"no stream may be called '{stream}': the store uses this name itself")

    def extended(there: Manifest | None) -> Manifest:
        streams = {} if there is None else dict(there.streams)
        for stream, made_by in fingerprints.items():
            old, new = streams.get(stream), StreamEntry.of(made_by)
            if old is not None and not overwrite and old.digest != new.digest:
                raise InputError(
                    f"{directory}: its '{stream}' was made by another extractor (fingerprint {old.digest}, now "
                    f"{new.digest}), and a store never mixes two. Write to another store, or begin the stream "
                    "anew with --overwrite"
                )
            if old is None or overwrite:
                streams[stream] = new if old is None else old.overwritten_by(new)
        if there is not None and there.clip_seconds != clip_seconds:
            raise InputError(
                f"{directory}: its videos are cut by --clip-seconds {there.clip_seconds or 'default'}, this job "
                f"asks for {clip_seconds or 'default'}. Use the same, or write to another store"
            )
        return Manifest(clip_seconds, streams)

    return change(directory, extended)


def change(directory: Path, make: Callable[[Manifest | None], Manifest]) -> Manifest:
    """Replace a store's manifest by what ``make`` says; one job at a time, so that no stream is lost."""
    if directory.exists() and _is_foreign(directory):
        raise InputError(f"'{directory}' is there already and is not a feature store; name another place")
    directory.mkdir(parents=True, exist_ok=True)
    with store_lock(directory):
        for aside in directory.glob(f".{STORE_FILE}.[0-9]*"):  # of jobs that were killed
            aside.unlink()
        there = Manifest.read(directory) if (directory / STORE_FILE).exists() else None
        manifest = make(there)
        if manifest != there:
            write_whole(directory / STORE_FILE, manifest.encode())
    return manifest


def store_lock(directory: Path) -> FileLock:
    """Held for moments: while store.json is replaced, and while a writer comes or goes."""
    return FileLock(directory / f".{STORE_FILE}.lock")


def _is_foreign(directory: Path) -> bool:
    """Whether something else than a store, or than what a job killed at its very start left, is at this path."""
    if not directory.is_dir():
        return True
    others = [path for path in directory.iterdir() if not path.name.startswith(f".{STORE_FILE}.")]
    return bool(others) and not (directory / STORE_FILE).is_file()  # last: another job may be making it


def _code_versions(made_by: Fingerprint) -> dict[str, str]:
    """Versions by package: for the record; the fingerprint is what must be equal."""
    imported = made_by.extractor.partition(":")[0] == "imported"
    packages = READING[:1] if imported else (*READING, *(MODELS if made_by.model is not None else ()))
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # another build of it, under another name
            continue
    return found
