"""The queries that an index's recall was measured with: a safetensors file of packed, logits and share."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load, save

from index.queries import Queries
from index.storage.manifest import Part, damaged, read_manifest, replace_file


def write_queries(path: Path, queries: Queries) -> Part:
    """Write them whole."""
    content = save({"packed": queries.packed, "logits": queries.logits, "share": queries.share})
    replace_file(path, content)
    return Part(path.name, hashlib.sha256(content).hexdigest())


def read_queries(directory: Path) -> Queries | None:
    """The queries of an index; None where it has none.

    Raises:
        InputError: there is no index, or they are damaged.
    """
    part = read_manifest(directory)[0].queries
    if part is None:
        return None
    path = directory / part.name
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != part.sha256:
            raise ValueError("it is not what was written")
        return Queries(**load(content))
    except FileNotFoundError as error:
        raise damaged(path, "it is not there") from error
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise damaged(path, str(error)) from error
