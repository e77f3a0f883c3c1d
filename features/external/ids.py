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
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("clip_id", "id", "video_id", "video")  # where the id stands, the first that is there
CAPTIONS = {"caption", "captions", "sentence"}


@dataclass(frozen=True)
class ListedClip:
    """What a list says of one clip."""

    clip_id: str
    video: str
    start_s: float = 0.0
    end_s: float = 0.0


def read_ids(path: Path) -> dict[str, ListedClip]:
    """Read a list of clips, in its order."""
    if not path.is_file():
        raise InputError(f"no list of ids at '{path}'")
    try:
        table = _table(path)
    except InputError:
        raise
    except (ValueError, OSError, RecursionError) as error:  # of all the parsers
        raise InputError(f"{path} is not a readable list of ids: {str(error).partition(chr(10))[0]}") from error
    if not len(table):
        raise InputError(f"{path} lists no ids")
    column = next((name for name in COLUMNS if name in table), None)
    if column is None:
        raise InputError(f"{path} has no column {' or '.join(COLUMNS)}; it has {', '.join(map(str, table))}")
    ids = checked_ids(table[column], str(path), repeated=not CAPTIONS.isdisjoint(table))
    whole = next((name for name in ("video", "video_id") if name in table and column == "clip_id"), None)
    videos = ids if whole is None else checked_ids(table[whole], f"{path}: '{whole}'", repeated=True)
    starts, ends = (_seconds(path, table, name) for name in ("start_s", "end_s"))
    clips: dict[str, ListedClip] = {}
    for clip in map(ListedClip, ids, videos, starts, ends):
        if clip.end_s < clip.start_s:
            raise InputError(
                f"{path}: '{clip.clip_id}' ends at {clip.end_s:g} s, before it begins ({clip.start_s:g} s)"
            )
        clips.setdefault(clip.clip_id, clip)
    return clips


def checked_ids(ids: Iterable[Any], where: str, *, repeated: bool = False) -> list[str]:
    """Ids as text, without outer white space.

    Args:
        ids: text, bytes in UTF-8, or whole numbers.
        where: named in messages.
        repeated: an id may come again.
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


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    suffix = path.suffix.lower()
    if suffix == ".csv":
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    if suffix == ".parquet":
        return pd.read_parquet(path).reset_index()
    if suffix not in ("", ".txt", ".json", ".jsonl"):
        raise InputError(f"{path}: ids are read from .txt, .csv, .parquet, .json or .jsonl, not '{suffix}'")
    text = path.read_text(encoding="utf-8-sig")
    lines = [line for line in text.split("\n") if line.strip()]
    rows = json.loads(text) if suffix == ".json" else list(map(json.loads, lines)) if suffix == ".jsonl" else lines
    if not isinstance(rows, list):
        raise InputError(f"{path} should hold a list of ids")
    return pd.DataFrame([row if isinstance(row, dict) else {"clip_id": row} for row in rows], dtype=object)


def _seconds(path: Path, table: pd.DataFrame, name: str) -> list[float]:
    import pandas as pd

    if name not in table:
        return [0.0] * len(table)
    given = table[name].replace("", 0).fillna(0)
    seconds = pd.to_numeric(given, errors="coerce")
    wrong = given[~seconds.between(0, float("inf"), inclusive="left")]
    if len(wrong):
        raise InputError(f"{path}: '{name}' should be seconds, and is {wrong.iloc[0]!r}")
    return [float(second) for second in seconds]
