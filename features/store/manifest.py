"""store.json: what a feature store is made of, and the refusal to mix what does not belong together.

    format          version of all of this
    clip_seconds    how videos are cut; null: the default rule
    streams         {name: fingerprint (extractor, its version, model, revision, size, parameters with what is
                    sampled), its digest, and how often the stream was begun}
    code            {name: versions of mee and of the packages below it, when the stream was begun}
    sha256          of all this, for mee store verify (features/store/sealed_json.py)

Streams are mixed only under one digest. The versions do not enter it, or no two releases could fill one store.

The versions of the code that makes streams, for a store's record of where they come from.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

from features.errors import InputError
from features.extractors.base import Fingerprint
from features.store.atomic_files import write_whole
from features.store.part import RESERVED
from features.store.sealed_json import sealed

OWN = "mee"
READING = ("av", "numpy", "opencv-python-headless")  # what every extractor's numbers go through
MODELS = ("torch", "transformers")


def code_versions(made_by: Fingerprint) -> dict[str, str]:
    """Versions by package. They are told, not held against anybody: the fingerprint is what must be equal."""
    if made_by.extractor.partition(":")[0] == "imported":
        return _versions([OWN])
    return _versions([OWN, *READING, *(MODELS if made_by.model is not None else ())])


def own_version() -> str:
    """Of mee; empty where it runs without being installed."""
    return _versions([OWN]).get(OWN, "")


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # another build of it, under another name
            continue
    return found


FORMAT = 1
NAME = "store.json"
UNSEALED = ("format", "clip_seconds", "streams")  # its entries when it had no sha256 yet


@final
@dataclass(frozen=True)
class StreamEntry:
    """One stream: who made it, and how often it was begun anew."""

    fingerprint: Mapping[str, Any]  # features.extractors.base.Fingerprint, as JSON
    digest: str
    generation: int = 1
    code: Mapping[str, str] = field(default_factory=dict, compare=False)  # version by package

    @classmethod
    def of(cls, made_by: Fingerprint) -> StreamEntry:
        """The first of an extractor, with the code that runs now."""
        return cls(json.loads(json.dumps(asdict(made_by))), made_by.digest, code=code_versions(made_by))

    @property
    def key(self) -> str:
        """What a part says of the stream to show that it belongs to this entry."""
        return f"{self.digest}-{self.generation}"


@final
@dataclass(frozen=True)
class Manifest:
    """The content of store.json."""

    clip_seconds: float | None  # how videos are cut; None: the default rule of features.media.cutting
    streams: Mapping[str, StreamEntry]

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read the manifest of an existing store.

        Raises:
            InputError: there is no store, or it is of another format.
        """
        path = directory / NAME
        if not path.is_file():
            raise InputError(
                f"no feature store at '{directory}'; make one with: mee precompute VIDEOS {directory} "
                f"(or mee import {directory} STREAM=FILE)"
            )
        try:
            content = json.loads(path.read_text())
            version = content["format"]
            if version != FORMAT:
                raise InputError(f"{path} is of format {version}, this version of mee reads format {FORMAT}")
            code = content.get("code", {})  # stores of before it was told have none
            streams = {
                name: StreamEntry(**entry, code=code.get(name, {})) for name, entry in content["streams"].items()
            }
            return cls(content["clip_seconds"], streams)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is damaged: {error}") from error

    @property
    def keys(self) -> dict[str, str]:
        """What a part says of each stream whose rows count."""
        return {stream: entry.key for stream, entry in self.streams.items()}

    def write(self, directory: Path) -> None:
        """Put the manifest in place, whole."""
        write_whole(directory / NAME, self._encoded())

    def _encoded(self) -> bytes:
        streams = {name: asdict(entry) for name, entry in self.streams.items()}
        code = {name: entry.pop("code") for name, entry in streams.items()}
        content = {"format": FORMAT, "clip_seconds": self.clip_seconds, "streams": streams, "code": code}
        return sealed(content)


def declare(
    directory: Path, fingerprints: Mapping[str, Fingerprint], clip_seconds: float | None, *, overwrite: bool
) -> Manifest:
    """Make or extend a store's manifest for the streams that a job is going to write.

    Args:
        directory: of the store; made if it is not there.
        fingerprints: of the extractors, stream by stream.
        clip_seconds: how videos are cut.
        overwrite: begin these streams anew, so that what is there of them no longer counts.

    Raises:
        InputError: the path is taken by something else, the store's videos are cut in another way, or a stream was
            made by another extractor and `overwrite` is False.
    """
    wanted = {stream: StreamEntry.of(made_by) for stream, made_by in fingerprints.items()}
    return declare_entries(directory, wanted, clip_seconds, overwrite=overwrite)


def declare_entries(
    directory: Path, wanted: Mapping[str, StreamEntry], clip_seconds: float | None, *, overwrite: bool = False
) -> Manifest:
    """As `declare`, for streams that another store has an entry of."""
    for stream in wanted:
        if stream in RESERVED:
            raise InputError(f"no stream may be called '{stream}': the store uses this name itself")
    if directory.exists() and _is_foreign(directory):
        raise InputError(f"'{directory}' is there already and is not a feature store; name another place")
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        there = Manifest.read(directory) if (directory / NAME).exists() else None
        manifest = _merged(directory, there, Manifest(clip_seconds, wanted), overwrite=overwrite)
        if manifest != there:
            manifest.write(directory)
    return manifest


def _is_foreign(directory: Path) -> bool:
    """Whether something else than a store, or than what a job killed at its very start left, is at this path."""
    if not directory.is_dir():
        return True
    others = [path for path in directory.iterdir() if not path.name.startswith(f".{NAME}.")]
    return bool(others) and not (directory / NAME).is_file()  # looked for last: another job may just be making it


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One job at a time changes store.json, so that none loses another's streams."""
    place = directory / f".{NAME}.lock"
    with place.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for aside in directory.glob(f".{NAME}.*"):  # of jobs that were killed
            if aside != place:
                aside.unlink()
        yield


def _merged(directory: Path, there: Manifest | None, wanted: Manifest, *, overwrite: bool) -> Manifest:
    """The manifest that is there with the streams that are wanted."""
    if there is None:
        return wanted
    streams = dict(there.streams)
    for stream, entry in wanted.streams.items():
        old = streams.get(stream)
        if old is not None and overwrite:
            streams[stream] = replace(entry, generation=old.generation + 1)
        elif old is None:
            streams[stream] = entry
        elif old.digest != entry.digest:
            raise InputError(
                f"{directory}: its '{stream}' was made by another extractor (fingerprint {old.digest}, now "
                f"{entry.digest}), and a store never mixes two. Write to another store, or begin the stream anew "
                "with --overwrite"
            )
    if there.clip_seconds != wanted.clip_seconds:
        raise InputError(
            f"{directory}: its videos are cut by --clip-seconds {there.clip_seconds or 'default'}, this job asks "
            f"for {wanted.clip_seconds or 'default'}. Use the same, or write to another store"
        )
    return Manifest(there.clip_seconds, streams)
