"""Settings of an import, and how its command line spells them. Nothing here imports numpy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_STREAM = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How streams made elsewhere are taken in."""

    ids: Path | None = None  # the clips, one id a line, or a table with video_id; in the order of stacks
    name: tuple[str, ...] = ()  # extractor that made a stream: STREAM=NAME each, or NAME where there is one stream
    nan_is_missing: bool = False  # rows of NaN stand for what is missing
    zero_is_missing: bool = False  # a stream of zeros stands for a missing one
    overwrite: bool = False  # overwrite these streams where the store has them


def named_files(sources: Sequence[str]) -> dict[str, Path]:
    """STREAM=FILE, each -> files by stream."""
    if not sources:
        raise ValueError("name what to import, before the options: mee import STORE appearance=resnet.npy")
    files: dict[str, Path] = {}
    for source in sources:
        stream, equals, file = source.partition("=")
        if not equals or not file or not _STREAM.fullmatch(stream):
            raise ValueError(f"'{source}' should be STREAM=FILE, as in appearance=resnet.npy")
        if stream in files:
            raise ValueError(f"'{stream}' is given twice; one stream comes from one file")
        files[stream] = Path(file)
    return files


def extractor_names(names: Sequence[str], streams: Sequence[str]) -> dict[str, str]:
    """NAME or STREAM=NAME, each -> names by stream; streams that are not named have no entry."""
    found: dict[str, str] = {}
    for text in names:
        stream, equals, name = text.rpartition("=")
        if not equals and len(streams) == 1:
            stream = streams[0]
        if stream not in streams or not name or stream in found:
            raise ValueError(f"--name {text} should be STREAM=NAME, each of {', '.join(streams)} at most once")
        found[stream] = name
    return found
