"""Score matrices in Parquet.

    wide    query_id, <clip id>, <clip id>, …       a row a query, a column a clip; or query_id as the index
    long    query_id, clip_id, score                a row a pair, in any order, every pair once

It is read in parts into a temporary file, so the matrix may be larger than memory: as float64 where a column is
float64, or else as float32.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError
from mee.external_scores.id_file import COLUMNS, checked_ids
from mee.external_scores.stored_array import StoredArray, room_for, unpacked

LONG: Final = ("query_id", "clip_id", "score")
_CELLS: Final = 1 << 21  # read at a time
_Parts = tuple[StoredArray, tuple[str, ...], tuple[str, ...]]


def read_parquet(path: Path) -> _Parts:
    """Read a matrix.

    Returns:
        The scores, the query ids of their rows and the clip ids of their columns.

    Raises:
        InputError: it has neither form, an id is empty or there twice, or a score is missing.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(path, pre_buffer=False) as file:  # or else all of it is read ahead
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"{path} has more than one column {twice!r}; every clip of the gallery is scored once"
            )
        if file.metadata.num_rows == 0:
            raise InputError(f"{path} has no rows; write it again")
        clip = next((name for name in COLUMNS["clip"] if name in names), None)
        if "query_id" in names and "score" in names and clip is not None:
            return _long(path, file, clip)
        return _wide(path, file)


def _wide(path: Path, file: Any) -> _Parts:
    schema = file.schema_arrow
    key = _query_column(path, schema)
    clips = [name for name in schema.names if name != key]
    if not clips:
        raise InputError(f"{path} has the column {key!r} and no other; every clip of the gallery is a column")
    kinds = [
        _float_kind(path, schema, name, f"drop it, or give the long form: {', '.join(LONG)}") for name in clips
    ]
    kind = np.dtype(np.float64 if np.float64 in kinds else np.float32)
    query_ids = checked_ids(file.read([key]).column(key).to_pylist(), "query", f"{path}: {key!r}")
    clip_ids = checked_ids(clips, "clip", f"{path}: its columns")

    def parts() -> Iterator[NDArray[Any]]:
        count = max(1, _CELLS // len(query_ids))
        for start in range(0, len(clips), count):
            names = clips[start : start + count]
            read = file.read(names)
            for name in names:
                column = read.column(name)
                if column.null_count:
                    row = column.is_null().to_pylist().index(True)
                    raise InputError(f"{path} has no score for query {query_ids[row]!r} and clip {name!r}")
                yield column.to_numpy()

    shape = (len(query_ids), len(clip_ids))
    return unpacked(path, "", shape, kind, parts(), fortran_order=True), query_ids, clip_ids


def _query_column(path: Path, schema: Any) -> str:
    """The column of query ids, or the only column that pandas wrote as the index."""
    if "query_id" in schema.names:
        return "query_id"
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    if len(index) == 1 and isinstance(index[0], str) and index[0] in schema.names:
        return index[0]
    raise InputError(
        f"{path} has no column 'query_id' and no index of query ids; give it query_id and a column a clip, or the "
        f"long form: {', '.join(LONG)}"
    )


def _float_kind(path: Path, schema: Any, name: str, advice: str) -> Any:
    from pyarrow import types

    kind = schema.field(name).type
    if not types.is_floating(kind):
        raise InputError(f"{path}: column {name!r} holds {kind}, not scores as floats; {advice}")
    return kind.to_pandas_dtype()


def _long(path: Path, file: Any, clip: str) -> _Parts:
    kind = np.dtype(
        np.float64
        if _float_kind(path, file.schema_arrow, "score", "write it as float32") is np.float64
        else np.float32
    )
    row_of: dict[Any, int] = {}
    column_of: dict[Any, int] = {}
    for batch in file.iter_batches(_CELLS, columns=["query_id", clip]):
        for name, numbers in (("query_id", row_of), (clip, column_of)):
            for value in batch.column(name).unique().to_pylist():
                numbers.setdefault(value, len(numbers))
    query_ids = checked_ids(row_of, "query", f"{path}: 'query_id'")
    clip_ids = checked_ids(column_of, "clip", f"{path}: '{clip}'")
    shape, rows = (len(query_ids), len(clip_ids)), file.metadata.num_rows
    if rows < shape[0] * shape[1]:
        raise InputError(
            f"{path} has {rows:,} scores, and {shape[0]:,} queries x {shape[1]:,} clips are "
            f"{shape[0] * shape[1]:,}; score every clip for every query, or ranks would mean nothing"
        )
    with room_for(shape[0] * shape[1] * kind.itemsize, path) as blank:
        _fill(blank, np.full(_CELLS, np.nan, kind), shape[0] * shape[1])
        cells: NDArray[Any] = np.frombuffer(mmap.mmap(blank.fileno(), 0), kind)
        _write_pairs(path, file, clip, (query_ids, clip_ids), (row_of, column_of), cells)
        return StoredArray.in_file(path, "", blank, 0, shape, kind), query_ids, clip_ids


def _fill(file: Any, part: NDArray[Any], count: int) -> None:
    """Write so many numbers: a disk that is full says so here, and not by a signal when the map is written."""
    for start in range(0, count, len(part)):
        file.write(part[: count - start].data)
    file.flush()


def _write_pairs(
    path: Path,
    file: Any,
    clip: str,
    ids: tuple[tuple[str, ...], tuple[str, ...]],
    numbers: tuple[dict[Any, int], dict[Any, int]],
    cells: NDArray[Any],
) -> None:
    """Put every score into its cell. All are NaN before; as many rows as cells, none twice, leave none out."""
    for batch in file.iter_batches(_CELLS, columns=["query_id", clip, "score"]):
        row, column = (_numbers(batch.column(name), known) for name, known in zip(("query_id", clip), numbers))
        flat = row * len(ids[1]) + column
        values = batch.column("score")
        bad = values.is_null().to_numpy(zero_copy_only=False)
        scores = values.to_numpy(zero_copy_only=False).astype(cells.dtype)
        bad |= ~np.isfinite(scores)
        if bad.any():
            place = int(bad.argmax())
            value = values[place].as_py()
            raise InputError(
                f"{path}: the score of query {ids[0][row[place]]!r} and clip {ids[1][column[place]]!r} is "
                f"{'missing' if value is None else value}; a score must be a finite number"
            )
        first = np.zeros(len(flat), bool)
        first[np.unique(flat, return_index=True)[1]] = True
        again = ~first | ~np.isnan(cells[flat])
        if again.any():
            place = int(again.argmax())
            raise InputError(
                f"{path} has more than one score of query {ids[0][row[place]]!r} and clip "
                f"{ids[1][column[place]]!r}; every pair is scored once"
            )
        cells[flat] = scores


def _numbers(column: Any, known: dict[Any, int]) -> NDArray[np.int64]:
    """The number of each id of a column."""
    coded = column.dictionary_encode()
    of_code = np.array([known[value] for value in coded.dictionary.to_pylist()], np.int64)
    done: NDArray[np.int64] = of_code[coded.indices.to_numpy(zero_copy_only=False)]
    return done
