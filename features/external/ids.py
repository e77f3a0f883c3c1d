"""The list of clips that an import is about.

    .txt, or no ending     one id a line
    .csv .parquet          a table with a column clip_id, id, video_id or video
    .jsonl .json           objects with one of these, or the ids themselves

A table may also say `start_s` and `end_s` (seconds; where unknown, 0) and, beside `clip_id`, the `video` that the
clip is part of. In a table of captions (with a column `caption` or `sentence`) a clip may come again; its place
is where it comes first.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import InputError

COLUMNS = ("clip_id", "id", "video_id", "video")  # where the id stands, the first that is there
CAPTIONS = ("caption", "captions", "sentence")


@dataclass(frozen=True)
class ListedClip:
    """What a list says of one clip."""

    clip_id: str
    video: str
    start_s: float = 0.0
    end_s: float = 0.0


def read_ids(path: Path) -> dict[str, ListedClip]:
    """Read a list of clips, in its order.

    Raises:
        InputError: the file cannot be read, or an id is empty, damaged or listed twice.
    """
    if not path.is_file():
        raise InputError(f"no list of ids at '{path}'")
    try:
        rows = list(_rows(path))
    except InputError:
        raise
    except (
        ValueError,
        OSError,
        RecursionError,
    ) as error:  # of all the parsers
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not a readable list of ids: {reason}") from error
    if not rows:
        raise InputError(f"{path} lists no ids")
    first = rows[0]
    if not isinstance(first, Mapping):
        return {clip_id: ListedClip(clip_id, clip_id) for clip_id in checked_ids(rows, str(path))}
    return _clips(path, rows)


def checked_ids(ids: Iterable[Any], where: str, *, repeated: bool = False) -> list[str]:
    """Ids as text, without outer white space.

    Args:
        ids: text, bytes in UTF-8, or whole numbers.
        where: named in messages.
        repeated: an id may come again.

    Raises:
        InputError: one is empty, no text, cannot be stored, or comes twice.
    """
    checked = [_text(value, where, number) for number, value in enumerate(ids, 1)]
    twice = [clip_id for clip_id, count in Counter(checked).items() if count > 1]
    if twice and not repeated:
        raise InputError(f"{where} has {len(twice)} ids more than once, '{twice[0]}' among them")
    return checked


def _text(value: Any, where: str, number: int) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise InputError(f"{where}: id {number} is {value!r:.40}, and should be text")
    text = str(value).strip()
    if not text:
        raise InputError(f"{where}: id {number} is empty")
    if text == "__metadata__" or any(ord(c) < 32 or c == "\ufffd" or "\ud800" <= c <= "\udfff" for c in text):
        raise InputError(f"{where}: id {number} ({text!a}) cannot be the name of a clip")
    return text


def _rows(path: Path) -> Iterable[Any]:
    match path.suffix.lower():
        case ".csv" | ".parquet":
            return _table(path)
        case ".jsonl" | ".ndjson":
            lines = path.read_text(encoding="utf-8-sig").split("\n")
            return [json.loads(line) for line in lines if line.strip()]
        case ".json":
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            if not isinstance(content, list):
                raise InputError(f"{path} should hold a list of ids")
            return content
        case ".txt" | "" | ".lst" | ".list":
            return [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        case suffix:
            raise InputError(f"{path}: ids are read from .txt, .csv, .parquet, .json or .jsonl, not '{suffix}'")


def _table(path: Path) -> list[dict[str, Any]]:
    import pandas as pd

    if path.suffix.lower() == ".parquet":
        table = pd.read_parquet(path)
    else:
        table = pd.read_csv(path, dtype="string", keep_default_na=False, encoding="utf-8-sig")
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index()
    table = table.astype(object).where(table.notna(), None)
    return [dict(zip(table.columns.astype(str), row)) for row in table.itertuples(index=False)]


def _clips(path: Path, rows: list[Any]) -> dict[str, ListedClip]:
    keys = list(rows[0])
    column = next((name for name in COLUMNS if name in keys), None)
    if column is None:
        raise InputError(f"{path} has no column {' or '.join(COLUMNS)}; it has {', '.join(keys)}")
    if not all(isinstance(row, Mapping) and column in row for row in rows):
        raise InputError(f"{path}: not every line has '{column}'")
    repeated = any(name in keys for name in CAPTIONS)
    ids = checked_ids([row[column] for row in rows], str(path), repeated=repeated)
    of_video = next((name for name in ("video", "video_id") if name in keys and column == "clip_id"), None)
    clips: dict[str, ListedClip] = {}
    for number, (clip_id, row) in enumerate(zip(ids, rows), 1):
        video = clip_id if of_video is None else _text(row.get(of_video), f"{path}: '{of_video}'", number)
        start, end = (_seconds(row.get(name), f"{path}: '{name}' of '{clip_id}'") for name in ("start_s", "end_s"))
        if end < start:
            raise InputError(f"{path}: '{clip_id}' ends at {end:g} s, before it begins ({start:g} s)")
        clips.setdefault(clip_id, ListedClip(clip_id, video, start, end))
    return clips


def _seconds(value: Any, where: str) -> float:
    if value is None or value == "":
        return 0.0
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{where} should be seconds, and is {value!r}")
    return seconds
