"""Metadata: what a user knows of clips or videos, as further columns of an index, for filters.

    clip_id | video_id | video    a clip, or all clips of a video, named as captions name them
    <column>                      a text, whole numbers, numbers, or true / false; empty: nothing is known

CSV, whatever separates its fields, or Parquet. In CSV, a column is of whole numbers, numbers or true / false where
every filled cell is one; what would not come back as it was written ("007", a number of 20 digits) is text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final
from unicodedata import normalize

from mee.errors import InputError
from mee.files import limited, read_parquet

if TYPE_CHECKING:
    import pandas as pd

    from mee.data import FeatureSource

MOST_COLUMNS = 1000
KEYS = ("clip_id", "video_id", "video")  # the first that is there
OWN = ("clip_id", "video", "start_s", "end_s", "duration", "pattern", "vector", "streams", "offset", "version")
WHOLE = r"-?(?:0|[1-9][0-9]{0,17})"  # every one of them is an int64
LONG = r"-?[0-9]{16,}"  # a float64 would change its last digits
NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


@final
@dataclass(frozen=True)
class Metadata:
    """A table of metadata, before it is known which clips it is about."""

    path: Path
    ids: tuple[str, ...]  # of its rows, each once
    columns: pd.DataFrame  # of these rows; string, Int64, Float64 or boolean

    def of_clips(self, source: FeatureSource) -> tuple[pd.DataFrame, list[str]]:
        """The columns by clip_id, of the clips that it knows; and the ids that lead to no usable clip.

        Raises:
            InputError: none of it is about these clips, or two rows are about the same.
        """
        from mee.data import find_videos

        like = next(iter(source.clips.index.astype(str)), "")
        words = {
            "what": f"clips or videos of {self.path}",
            "remedy": f"Name them as the store does, like '{like}'",
        }
        found, unknown = find_videos(self.ids, source, partial=True, **words)
        row_of: dict[str, int] = {}
        for row, name in enumerate(self.ids):
            for clip_id in found[name][1] if name in found else ():
                if clip_id in row_of:
                    first = self.ids[row_of[clip_id]]
                    raise InputError(
                        f"{self.path}: rows '{first}' and '{name}' are both about '{clip_id}'; "
                        "leave one of them out"
                    )
                row_of[clip_id] = row
        table = self.columns.iloc[list(row_of.values())]
        return table.set_axis(list(row_of), axis=0).rename_axis("clip_id"), unknown


def read_metadata(path: Path, taken: Collection[str] = ()) -> Metadata:
    """Read a table of metadata; taken: names of columns that the index has from elsewhere.

    Raises:
        InputError: there is no such file, it is no such table, or a column or a row of it cannot be used.
    """
    if not path.is_file():
        raise InputError(f"no file of metadata at '{path}'")
    try:
        with limited(path):
            match path.suffix.lower():
                case ".csv" | ".tsv":
                    table = _of_csv(path)
                case ".parquet":
                    table = _of_parquet(path)
                case suffix:
                    raise InputError(f"{path}: metadata is read from .csv, .tsv or .parquet, not '{suffix}'")
    except InputError:
        raise
    except Exception as error:  # the parsers raise anything on a damaged table
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a readable {path.suffix} table: {reason}") from error
    key = next((name for name in KEYS if name in table), None)
    if key is None:
        found = ", ".join(f"'{name}'" for name in table.columns[:8]) or "nothing"
        raise InputError(
            f"{path} has no column 'clip_id' or 'video_id' that names clips or videos; it has {found}"
        )
    columns = table.drop(columns=[name for name in KEYS if name in table])
    if not len(table) or not len(columns.columns):
        raise InputError(f"{path} holds no metadata: it needs a row and, besides '{key}', a column at least")
    for name in columns:
        _check_name(path, str(name), taken)
        if (columns[name].dtype == "Float64") and columns[name].abs().eq(float("inf")).any():
            raise InputError(f"{path}: column '{name}' holds an infinite number; leave it empty")
    return Metadata(path, _ids(path, key, table[key]), columns)


def _ids(path: Path, key: str, values: pd.Series[str]) -> tuple[str, ...]:
    ids = values.astype("string").str.strip().fillna("")
    if (ids == "").any():
        raise InputError(f"{path}: row {int((ids == '').to_numpy().argmax()) + 1} has nothing in column '{key}'")
    twice = ids[ids.duplicated()]
    if len(twice):
        raise InputError(f"{path}: '{twice.iloc[0]}' has two rows; leave one of them out")
    return tuple(ids)


def _check_name(path: Path, name: str, taken: Collection[str]) -> None:
    """Refuse a column with the name of one of the index's own, or with an unreadable name."""
    if name in OWN or name in taken:
        raise InputError(f"{path}: the index has a column '{name}' of its own; give this one another name")
    if not name.strip() or not name.isprintable():
        raise InputError(f"{path}: a column is called {name!r}; give it a name that can be read")


def _of_csv(path: Path) -> pd.DataFrame:
    from mee.data import read_rows

    table = read_rows(path, KEYS)
    _check_once(path, list(table.columns))
    for name in table.columns.difference(list(KEYS)):
        table[name] = _typed(table[name])
    return table.reset_index(drop=True)


def _typed(values: pd.Series[str]) -> pd.Series:
    """A column of texts, converted to the type that all of them have."""
    values = values.str.strip().replace("", None)
    filled = values.dropna()
    if not len(filled):
        return values
    lower = filled.str.lower()
    if lower.isin(["true", "false"]).all():
        return (values.str.lower() == "true").astype("boolean")
    if filled.str.fullmatch(WHOLE).all():
        return values.astype("Int64")
    if filled.str.fullmatch(NUMBER).all() and not filled.str.fullmatch(LONG).any():
        return values.astype("Float64")
    return values


def _of_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    from index.storage import as_pandas, kept_column

    table = read_parquet(path)
    _check_once(path, table.column_names)
    return as_pandas(pa.table({name: kept_column(table[name], name) for name in table.column_names}))


def _check_once(path: Path, names: Sequence[str]) -> None:
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{path} has {len(names):,} columns; no more than {MOST_COLUMNS:,} are read")
    same = [normalize("NFKC", name) for name in names]  # as filters compare them
    twice = [name for place, name in enumerate(names) if same[place] in same[:place]]
    if twice:
        raise InputError(f"{path} has two columns '{twice[0]}'; rename one of them")
