"""Which rows of segments no longer count: a safetensors file, {segment: (N,) int64 rows}.

Segments never change; a clip that is removed or replaced leaves its row behind, until its segment is written anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from index.durable import replace_file
from index.manifest import Part, damaged
from index.segment import Segment


def write_removed(path: Path, segments: Sequence[Segment]) -> Part | None:
    """Write down what of some segments does not count; None, and no file, where all of it does."""
    gone = {segment.name: np.flatnonzero(~segment.live) for segment in segments if segment.live is not None}
    if not gone:
        return None
    content = save(gone)
    replace_file(path, content)
    return Part(path.name, hashlib.sha256(content).hexdigest())


def read_removed(directory: Path, part: Part | None) -> dict[str, NDArray[np.int64]]:
    """What was written.

    Raises:
        InputError: the file is not there, or damaged.
    """
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
