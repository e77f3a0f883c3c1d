"""store.json: the streams of a feature store, what made them, and which of their versions count.

    format          version of the store's format
    clip_seconds    how videos are cut; null: the default rule
    streams         by name:
        fingerprint     extractor, its version, model, revision, size, parameters including the sampling
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
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self, final

from filelock import FileLock

from features.errors import InputError
from features.extractors import Fingerprint
from features.files import write_whole
from features.store.layout import RESERVED

FORMAT = 2
STORE_FILE = "store.json"
READING = ("mee", "av", "numpy", "opencv-python-headless")  # packages that every extractor depends on
MODELS = ("torch", "transformers")


@final
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

    def united(self, other: StreamEntry) -> StreamEntry:
        """All versions of both, without those that either has overwritten."""
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
            InputError: there is no store, it is damaged, or of another format.
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
                versions = {key: tuple(entry[key]) for key in ("versions", "overwritten")}
                streams[name] = StreamEntry(**{**entry, **versions})
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


def check_names(streams: Iterable[str]) -> None:
    """Refuse names of streams that the store uses itself."""
    for stream in RESERVED.intersection(streams):
        raise InputError(f"no stream may be called '{stream}': the store uses this name itself")


def declare(
    directory: Path, fingerprints: Mapping[str, Fingerprint], clip_seconds: float | None, *, overwrite: bool
) -> Manifest:
    """Make or extend a store's manifest by the streams that a job is going to write.

    Args:
        directory: of the store; created if it does not exist.
        fingerprints: what makes each stream.
        clip_seconds: how videos are cut.
        overwrite: start a new version of these streams; the present ones no longer count.

    Raises:
        InputError: the directory is something else, the store's videos are cut in another way, or a stream was
            made by another extractor and `overwrite` is False.
    """
    check_names(fingerprints)

    def extended(there: Manifest | None) -> Manifest:
        streams = {} if there is None else dict(there.streams)
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
        others = not directory.is_dir() or any(
            not p.name.startswith(f".{STORE_FILE}.") for p in directory.iterdir()
        )
        if others and not (directory / STORE_FILE).is_file():
            raise InputError(f"'{directory}' is there already and is not a feature store; name another place")
    directory.mkdir(parents=True, exist_ok=True)
    with store_lock(directory):
        for temporary in directory.glob(f".{STORE_FILE}.[0-9]*"):  # of killed jobs
            temporary.unlink()
        there = Manifest.read(directory) if (directory / STORE_FILE).exists() else None
        manifest = make(there)
        if manifest != there:
            write_whole(directory / STORE_FILE, manifest.encode())
    return manifest


def store_lock(directory: Path) -> FileLock:
    """Held briefly: while store.json or a list of checksums changes, and while a writer starts or ends."""
    return FileLock(directory / f".{STORE_FILE}.lock")


def _code_versions(made_by: Fingerprint) -> dict[str, str]:
    """Versions by package; for information only."""
    imported = made_by.extractor.partition(":")[0] == "imported"
    packages = READING[:1] if imported else (*READING, *(MODELS if made_by.model is not None else ()))
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a build of it under another name
            continue
    return found
