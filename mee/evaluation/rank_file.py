"""The rank file: what every query got, so that others can check a result.

    query_id, rank, right_clip_id, top_1, …, top_10, score_1, …, score_10        .csv or .parquet, a row a query

rank            expected rank of the best-scored right clip; halves where it ties with wrong ones
right_clip_id   that clip
top_k, score_k  the k-th answer and its score; empty where the gallery has fewer clips

In .csv a number is the shortest that gives back the same float, of the type that was compared.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mee.errors import InputError
from mee.files import whole_file

ANSWERS: Final = 10
COLUMNS: Final = (
    "query_id",
    "rank",
    "right_clip_id",
    *(f"top_{k}" for k in range(1, ANSWERS + 1)),
    *(f"score_{k}" for k in range(1, ANSWERS + 1)),
)
_Row = tuple[str, float, str, tuple[str, ...], tuple[float, ...]]


@dataclass(frozen=True)
class RankFile:
    """What a rank file says of Q queries."""

    query_ids: tuple[str, ...]
    ranks: NDArray[np.float64]  # (Q,)
    right_clip_ids: tuple[str, ...]
    top_ids: tuple[tuple[str, ...], ...]  # Q times the answers in order, ten or fewer
    top_scores: tuple[tuple[float, ...], ...]  # of these answers


def check_rank_path(path: Path) -> None:
    """Refuse early what `write_ranks` would refuse late.

    Raises:
        InputError: the ending is unknown, there is no such folder, or a folder is in the way.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"ranks are written as .csv or .parquet, so '{path}' cannot be; give it such an ending")
    if path.is_dir():
        raise InputError(f"ranks cannot be written to '{path}', which is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"ranks cannot be written to '{path}': there is no folder '{path.parent}'; make it first")


def write_ranks(
    path: Path,
    *,
    query_ids: Sequence[str],
    ranks: ArrayLike,
    right_clip_ids: Sequence[str],
    top_ids: Sequence[Sequence[str]],
    top_scores: ArrayLike,
) -> None:
    """Write it whole, or not at all.

    Args:
        path: .csv or .parquet.
        query_ids: Q ids.
        ranks: (Q,) expected ranks.
        right_clip_ids: Q ids: of each query, its best-scored right clip.
        top_ids: Q times k ids of the first answers, of which ten are written.
        top_scores: (Q, k) float32 or float64, falling in each row.

    Raises:
        InputError: the path cannot be written to.
        ValueError: the lengths differ, or a rank or a score is none.
    """
    check_rank_path(path)
    scores = np.asarray(top_scores)
    scores = scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float64)
    numbers = np.asarray(ranks, np.float64)
    count = len(query_ids)
    if scores.ndim != 2 or {len(numbers), len(right_clip_ids), len(top_ids), len(scores)} != {count}:
        raise ValueError(f"{count} queries want as many ranks, right clips and rows of answers")
    if any(len(ids) != scores.shape[1] for ids in top_ids):
        raise ValueError("every answer wants an id and a score")
    scores, top_ids = scores[:, :ANSWERS], [tuple(ids[:ANSWERS]) for ids in top_ids]
    for rank, row in zip(numbers.tolist(), scores.tolist()):
        if fault := _fault(rank, row):
            raise ValueError(fault)
    write = _write_csv if path.suffix.lower() == ".csv" else _write_parquet
    with whole_file(path, "ranks") as aside:
        write(aside, query_ids, numbers, right_clip_ids, top_ids, scores)


def read_ranks(path: Path) -> RankFile:
    """Read one, strictly.

    Raises:
        InputError: there is none, or it is not what `write_ranks` writes.
    """
    if not path.is_file():
        raise InputError(f"no rank file at '{path}'")
    rows: list[_Row] = []
    seen: set[str] = set()
    try:
        for number, cells in enumerate(_rows_of(path), 1):
            row = _checked(cells, f"{path}, query {number}")
            if row[0] in seen:
                raise InputError(f"{path} has query {row[0]!r} more than once")
            seen.add(row[0])
            rows.append(row)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, csv.Error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is no readable rank file: {reason}") from error
    query_ids, ranks, right, ids, scores = zip(*rows) if rows else ((), (), (), (), ())
    return RankFile(query_ids, np.array(ranks, np.float64), right, ids, scores)


def _fault(rank: float, scores: Sequence[float]) -> str:
    """What is wrong with the numbers of a query; "" if nothing."""
    if not math.isfinite(rank) or rank < 1 or not (2 * rank).is_integer():
        return f"its rank is {rank}, and expected ranks are 1, 1.5, 2, …"
    if any(math.isnan(score) for score in scores):
        return "a score is NaN"
    if any(one < other for one, other in pairwise(scores)):
        return "its scores do not fall from answer to answer"
    return ""


def _write_csv(
    path: Path,
    query_ids: Sequence[str],
    ranks: NDArray[np.float64],
    right: Sequence[str],
    top_ids: Sequence[Sequence[str]],
    scores: NDArray[Any],
) -> None:
    blanks = [""] * (ANSWERS - scores.shape[1])
    bare = any("\r" in name for names in (query_ids, right, *top_ids) for name in names)  # csv would not quote it
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL)
        writer.writerow(COLUMNS)
        for query_id, rank, clip_id, ids, row in zip(query_ids, ranks.tolist(), right, top_ids, scores):
            shown = int(rank) if rank.is_integer() else rank
            writer.writerow([query_id, shown, clip_id, *ids, *blanks, *map(str, row), *blanks])


def _write_parquet(
    path: Path,
    query_ids: Sequence[str],
    ranks: NDArray[np.float64],
    right: Sequence[str],
    top_ids: Sequence[Sequence[str]],
    scores: NDArray[Any],
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    count, answers = scores.shape
    nothing = [None] * count
    ids = [[row[k] for row in top_ids] if k < answers else nothing for k in range(ANSWERS)]
    numbers = [np.ascontiguousarray(scores[:, k]) if k < answers else nothing for k in range(ANSWERS)]
    kind = pa.from_numpy_dtype(scores.dtype)
    kinds = [pa.string(), pa.float64(), pa.string(), *[pa.string()] * ANSWERS, *[kind] * ANSWERS]
    columns = [list(query_ids), ranks, list(right), *ids, *numbers]
    arrays = [pa.array(column, each) for column, each in zip(columns, kinds)]
    parquet.write_table(pa.table(arrays, names=list(COLUMNS)), path)


def _rows_of(path: Path) -> Iterator[list[Any]]:
    """The cells of each row, "" or None where one is empty."""
    match path.suffix.lower():
        case ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.reader(file, strict=True)
                _check_columns(path, next(rows, []))
                yield from rows
        case ".parquet":
            from pyarrow import parquet

            with parquet.ParquetFile(path) as table:
                _check_columns(path, table.schema_arrow.names)
                for batch in table.iter_batches():
                    yield from map(list, zip(*(column.to_pylist() for column in batch.columns)))
        case suffix:
            raise InputError(f"{path}: ranks are read from .csv or .parquet, not '{suffix}'")


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if tuple(names) != COLUMNS:
        raise InputError(
            f"{path} is no rank file: its columns must be query_id, rank, right_clip_id, top_1 to top_{ANSWERS} "
            f"and score_1 to score_{ANSWERS}"
        )


def _checked(cells: list[Any], where: str) -> _Row:
    """One row, its empty cells gone."""
    if len(cells) != len(COLUMNS):
        raise InputError(f"{where} has {len(cells)} fields, and a rank file has {len(COLUMNS)}")
    query_id, rank, right, *answers = ["" if cell is None else cell for cell in cells]
    ids, scores = ([cell for cell in part if cell != ""] for part in (answers[:ANSWERS], answers[ANSWERS:]))
    if not all(isinstance(name, str) for name in (query_id, right, *ids)):
        raise InputError(f"{where} has an id that is no text")
    given = [cell != "" for cell in answers]
    if not query_id or not right or given != [k < len(ids) for k in range(ANSWERS)] * 2:
        raise InputError(f"{where} has an empty field among its ids, its answers or their scores")
    try:
        numbers = (float(rank), tuple(map(float, scores)))
    except (ValueError, TypeError):
        raise InputError(f"{where} has a rank or a score that is no number") from None
    if fault := _fault(*numbers):
        raise InputError(f"{where}: {fault}")
    return query_id, numbers[0], right, tuple(ids), numbers[1]
