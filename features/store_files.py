"""Where the files of a store lie.

    store.json
    parts/<shard>.parquet
    <stream>/<shard>.safetensors
    <stream>/<shard>.times.safetensors
    writers/<writer>.lock
    imports/<writer>-import.json

A shard is called after its writer: <host>-<process>-<random>-<number>. A file being written is called
.<its name>.<process> until it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PARTS, WRITERS, IMPORTS = "parts", "writers", "imports"  # folders that are not streams
ROWS, TIMES, PART = ".safetensors", ".times.safetensors", ".parquet"


def part_path(directory: Path, shard: str) -> Path:
    """The rows of a shard; as long as it is not there, the shard does not exist."""
    return directory / PARTS / f"{shard}{PART}"


def part_paths(directory: Path) -> list[Path]:
    """The parts of all shards that exist, in order of their names."""
    return sorted(path for path in (directory / PARTS).glob("*" + PART) if not path.name.startswith("."))


def rows_name(stream: str, shard: str) -> str:
    """The file of a stream's rows, as seen from the store."""
    return f"{stream}/{shard}{ROWS}"


def times_name(stream: str, shard: str) -> str:
    """The file of their times, as seen from the store."""
    return f"{stream}/{shard}{TIMES}"


def shard_of(path: Path) -> str:
    """The shard that a stream's file, or a part, belongs to."""
    return path.name.removesuffix(TIMES).removesuffix(ROWS).removesuffix(PART)


def stream_files(directory: Path, stream: str, prefix: str = "") -> Iterator[Path]:
    """A stream's files of the shards whose names begin so."""
    for path in (directory / stream).glob("*" + ROWS):
        if path.name.startswith(prefix) and not path.name.startswith("."):
            yield path
