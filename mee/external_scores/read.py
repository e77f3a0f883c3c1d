"""Scores of any other system, from its file.

    a matrix        (Q, G), the higher the better           -> mee.external_scores.matrix_scores
    two tables      (Q, E) and (G, E), inner products       -> mee.external_scores.table_scores

Formats: mee.external_scores.formats. Ids come with the file, or in files of their own:
mee.external_scores.id_file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from mee.errors import InputError
from mee.external_scores.formats import SIDES, FoundScores, errors_of, open_scores
from mee.external_scores.id_file import Side, read_ids
from mee.external_scores.matrix_scores import MatrixScores
from mee.external_scores.named_scores import NamedScores
from mee.external_scores.stored_array import StoredArray
from mee.external_scores.table_scores import TableScores

_FLAGS: Final[dict[Side, str]] = {"query": "--query-ids", "clip": "--clip-ids"}
_AXES: Final[dict[Side, tuple[str, str]]] = {"query": ("rows", "text table"), "clip": ("columns", "video table")}


@dataclass(frozen=True)
class ScoreFile:
    """What a file, or two files of tables, say."""

    name: str  # for messages: its path
    scores: NamedScores
    query_ids: tuple[str, ...]
    clip_ids: tuple[str, ...]
    sha256: str  # of the file of scores, or of text embeddings
    files: Mapping[str, str]  # all that was read: role -> "name sha256:digits"
    unit_norm: bool  # embeddings were divided by their norms


def read_scores(
    path: Path,
    *,
    query_ids: Path | None = None,
    clip_ids: Path | None = None,
    video: Path | None = None,
    unit_norm: bool = False,
    device: torch.device | None = None,
) -> ScoreFile:
    """Open scores; the numbers stay in the file until they are asked for.

    Args:
        path: a score matrix or two tables; or the (Q, E) text table, where `video` is given.
        query_ids: ids of the rows, where the file has none.
        clip_ids: ids of the columns, or of the rows of the video table, where the file has none.
        video: the (G, E) video table, where it is a .npy of its own.
        unit_norm: divide every embedding by its norm.
        device: where blocks are wanted; None: the CPU.

    Raises:
        InputError: a file cannot be used; ids are missing, named twice, or not as many as rows or columns; or
            embeddings cannot be used, see table_scores. A NaN among scores is found when it is read.
    """
    found = open_scores(path)
    if video is not None:
        found = _joined(path, found, video)
    tables = found.tables
    matrix = tables.get("scores", tables.get(""))
    if matrix is not None and unit_norm:
        raise InputError(f"{path} is a score matrix, which has no norms; leave out --unit-norm")
    if matrix is not None:
        counts = dict(zip(SIDES, matrix.shape))
    else:
        counts = {"query": tables["text"].shape[0], "clip": tables["video"].shape[0]}
    named: dict[Side, Path | None] = {"query": query_ids, "clip": clip_ids}
    ids = {side: _ids(path, found, side, named[side]) for side in SIDES}
    _check_counts(path, counts, ids, matrix)
    scores: NamedScores
    if matrix is not None:
        scores = MatrixScores(matrix, ids["query"], ids["clip"], device=device)
    else:
        scores = TableScores(
            tables["text"], tables["video"], ids["query"], ids["clip"], device=device, unit_norm=unit_norm
        )
    sha256 = _sha256(path)
    files = {"scores" if video is None else "text": f"{path.name} sha256:{sha256}"}
    for role, file in (("video", video), ("query ids", query_ids), ("clip ids", clip_ids)):
        if file is not None:
            files[role] = f"{file.name} sha256:{_sha256(file)}"
    return ScoreFile(str(path), scores, ids["query"], ids["clip"], sha256, files, unit_norm)


def _joined(path: Path, text: FoundScores, video: Path) -> FoundScores:
    """Two tables that lie in a .npy each."""
    other = open_scores(video)
    for file, found in ((path, text), (video, other)):
        if set(found.tables) != {""}:
            raise InputError(
                f"{file}: a table in a file of its own is read from .npy; .npz and .safetensors hold both, "
                "'text' and 'video'"
            )
    return FoundScores({"text": text.tables[""], "video": other.tables[""]})


def _ids(path: Path, found: FoundScores, side: Side, given: Path | None) -> tuple[str, ...]:
    own = found.ids.get(side)
    if own is not None and given is not None:
        raise InputError(f"{path} names its {side} ids itself; leave out {_FLAGS[side]} {given}")
    if own is not None:
        return own
    if given is None:
        axis = _AXES[side]["text" in found.tables]
        raise InputError(
            f"{path} names no {side} ids; give them in a file, one a line in the order of the {axis}: "
            f"{_FLAGS[side]} FILE"
        )
    return read_ids(given, side)


def _check_counts(
    path: Path, counts: Mapping[Side, int], ids: Mapping[Side, tuple[str, ...]], matrix: StoredArray | None
) -> None:
    if all(counts[side] == len(ids[side]) for side in SIDES):
        return
    numbers = [len(ids[side]) for side in SIDES]
    turned = matrix is not None and numbers == [counts["clip"], counts["query"]]
    advice = "its rows must be queries, so turn it" if turned else "name every row and column once, in order"
    what = (
        f"{counts['query']} rows and {counts['clip']} columns"
        if matrix is not None
        else (f"{counts['query']} text and {counts['clip']} video embeddings")
    )
    raise InputError(f"{path} has {what}, but {numbers[0]} query ids and {numbers[1]} clip ids; {advice}")


def _sha256(path: Path) -> str:
    with errors_of(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
