"""Part: the rows of one shard, and what its other files must be.

    parts/<shard>.parquet    columns of features.record.SCHEMA, and one of each stream: present, missing, nothing
    key-value metadata       streams    {stream: key of the manifest's entry that made it}
                             files      {<stream>/<shard>.safetensors: {"size": bytes, "sha256": ...}}
                             code       version of mee that wrote it
                             sha256     of this very file, with these 64 digits all put to 0

So whoever writes a shard says, without talking to anybody, what all of it must be, and one flipped bit shows.
Parts without files and sha256 are of an earlier version, and are read all the same.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError

NO_DIGEST = "0" * 64
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)  # the last: of a column's name


class FileFacts(NamedTuple):
    """What one file of a shard must be."""

    size: int  # bytes
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> FileFacts:
        """Of a file with this content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


@final
@dataclass(frozen=True)
class Part:
    """The content of a part."""

    table: pa.Table
    keys: Mapping[str, str]  # for each stream that it tells of, the key of the manifest's entry
    files: Mapping[str, FileFacts] | None = None  # by name as seen from the store; None: it does not say
    code: str = field(default="", compare=False)

    def encode(self) -> bytes:
        """The file."""
        files = {name: facts._asdict() for name, facts in (self.files or {}).items()}
        told: dict[str, str] = {"streams": json.dumps(self.keys)}
        if self.files is not None:
            told["files"] = json.dumps(files)
        content = io.BytesIO()
        schema = self.table.schema.remove_metadata()
        # a stored schema would repeat the metadata
        with pq.ParquetWriter(content, schema, store_schema=False) as writer:
            writer.write_table(self.table.replace_schema_metadata())
            writer.add_key_value_metadata({**told, "code": self.code, "sha256": NO_DIGEST})
        return _sealed(content.getvalue())


def made_by(path: Path) -> dict[str, str]:
    """For each stream that the rows of a part tell of, the key of the manifest's entry it belongs to.

    Raises:
        InputError: the file is damaged.
    """
    return _keys(path, _metadata(_read(path, pq.read_schema)))


def read_part(path: Path) -> Part:
    """The rows of a part and what it says of its shard.

    Raises:
        InputError: the file is damaged.
    """
    table = _read(path, lambda path: pq.ParquetFile(path).read())
    told = _metadata(table.schema)
    keys = _keys(path, told)
    try:
        stated = json.loads(told["files"]) if "files" in told else None
        files = None if stated is None else {name: FileFacts(**facts) for name, facts in stated.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, "it does not say what its shard is made of") from error
    return Part(table.replace_schema_metadata(), keys, files, told.get("code", ""))


def is_intact(content: bytes) -> bool | None:
    """Whether the file of a part is, bit by bit, what was written; None where it does not say what that was."""
    try:
        told = pq.read_schema(io.BytesIO(content)).metadata or {}
    except UNREADABLE:
        return False
    digest = told.get(b"sha256")
    if digest is None:  # one of an earlier version tells of streams and nothing else; others have lost their seal
        return None if b"streams" in told and b"files" not in told else False
    place = content.rfind(digest)
    blank = content[:place] + NO_DIGEST.encode() + content[place + len(NO_DIGEST) :]
    return len(digest) == len(NO_DIGEST) and hashlib.sha256(blank).hexdigest().encode() == digest


def _sealed(content: bytes) -> bytes:
    place = content.rfind(NO_DIGEST.encode())  # the last of the metadata, which stands at the end
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:place] + digest + content[place + len(digest) :]


def _metadata(schema: pa.Schema) -> dict[str, str]:
    return {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (schema.metadata or {}).items()
    }


def _keys(path: Path, told: Mapping[str, str]) -> dict[str, str]:
    try:
        keys: dict[str, str] = json.loads(told["streams"])
    except (KeyError, ValueError) as error:
        raise _damaged(path, "it does not say which extractors made it") from error
    if not isinstance(keys, dict):
        raise _damaged(path, "it does not say which extractors made it")
    return keys


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except UNREADABLE as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is damaged ({' '.join(reason.split())}). Delete it and run mee precompute again: the videos it "
        "told of are extracted anew"
    )
