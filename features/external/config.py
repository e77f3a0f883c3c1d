"""Settings of an import, how its command line spells them, and the list of its clips.

Format of a list, by its ending:

    .txt, or none          one id a line
    .csv .parquet          a table with a column clip_id, id, video_id or video
    .jsonl .json           objects with one of these, or the ids themselves

A table may also have `start_s` and `end_s` (seconds; 0 where unknown) and, beside `clip_id`, the `video` that the
clip is part of. In a table of captions (with a column `caption` or `sentence`) a clip may occur again; its first
place counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import InputError
from features.files import limited, parse_json, read_file, read_parquet

if TYPE_CHECKING:  # the command line needs its settings only
    import pandas as pd

COLUMNS = ("clip_id", "id", "video_id", "video")  # the first of these holds the id
CAPTIONS = {"caption", "captions", "sentence"}
_STREAM = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How streams made elsewhere are imported."""

    ids: Path | None = None  # the clips, one id a line, or a table with video_id; in the order of stacks
    name: tuple[str, ...] = ()  # extractor that made a stream: STREAM=NAME each, or NAME for a single stream
    columns: tuple[str, ...] = ()  # names of a stream's last columns, one a line: STREAM=FILE each, or FILE
    nan_is_missing: bool = False  # rows of NaN stand for what is missing
    zero_is_missing: bool = False  # rows of zeros at the end are padding, a stream of zeros is a missing one
    overwrite: bool = False  # overwrite these streams where the store has them


def named_files(sources: Sequence[str]) -> dict[str, Path]:
    """STREAM=FILE, each -> files by stream."""
    if not sources:
        raise ValueError("name what to import, before the options: mee import STORE appearance=resnet.npy")
    files: dict[str, Path] = {}
    for source in sources:
        stream, equals, file = source.partition("=")
        if not equals or not file or not _STREAM.fullmatch(stream):
            raise ValueError(f"'{source}' should be STREAM=FILE, as in appearance=resnet.npy")
        if stream in files:
            raise ValueError(f"'{stream}' is given twice; one stream comes from one file")
        files[stream] = Path(file)
    return files


def by_stream(option: str, what: str, names: Sequence[str], streams: Sequence[str]) -> dict[str, str]:
    """NAME or STREAM=NAME, each -> by stream; streams without one have no entry. ``what``: NAME, in messages."""
    found: dict[str, str] = {}
    for text in names:
        stream, equals, name = text.rpartition("=")
        if not equals and len(streams) == 1:
            stream = streams[0]
        if stream not in streams or not name or stream in found:
            raise ValueError(f"{option} {text} should be STREAM={what}, each of {', '.join(streams)} at most once")
        found[stream] = name
    return found


@dataclass(frozen=True)
class ListedClip:
    """One clip of a list."""

    clip_id: str
    video: str
    start_s: float = 0.0
    end_s: float = 0.0


def read_ids(path: Path) -> dict[str, ListedClip]:
    """Read a list of clips, in its order; each id, time and column can be used."""
    if not path.is_file():
        raise InputError(f"no list of ids at '{path}'")
    try:
        with limited(path):
            table = _table(path)
    except InputError:
        raise
    except Exception as error:  # the parsers raise anything on a damaged list
        raise InputError(f"{path} is not a readable list of ids: {str(error).partition(chr(10))[0]}") from error
    if not len(table):
        raise InputError(f"{path} lists no ids")
    column = next((name for name in COLUMNS if name in table), None)
    if column is None:
        raise InputError(f"{path} has no column {' or '.join(COLUMNS)}; it has {', '.join(map(str, table))}")
    ids = checked_ids(table[column], str(path), repeated=not CAPTIONS.isdisjoint(table))
    of_video = next((name for name in ("video", "video_id") if name in table and column == "clip_id"), None)
    videos = ids if of_video is None else checked_ids(table[of_video], f"{path}: '{of_video}'", repeated=True)
    starts, ends = (_seconds(path, table, name) for name in ("start_s", "end_s"))
    clips: dict[str, ListedClip] = {}
    for clip in map(ListedClip, ids, videos, starts, ends):
        if clip.end_s < clip.start_s:
            raise InputError(
                f"{path}: '{clip.clip_id}' ends at {clip.end_s:g} s, before it begins ({clip.start_s:g} s)"
            )
        clips.setdefault(clip.clip_id, clip)
    return clips


def read_columns(path: Path, dim: int) -> tuple[str, ...]:
    """Read the names of a stream's ``dim`` columns, or of the last, one a line, without outer white space."""
    try:
        text = read_file(path, follow=True).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InputError(f"no names of columns can be read from '{path}': {reason}") from error
    names = tuple(line.strip() for line in text.rstrip().split("\n"))
    return ("",) * (dim - len(names)) + names


def checked_ids(ids: Iterable[Any], where: str, *, repeated: bool = False) -> list[str]:
    """Ids (text, bytes in UTF-8 or whole numbers) as text, without outer white space; ``where``: for messages."""
    checked = [_text(value, where, number) for number, value in enumerate(ids, 1)]
    twice = [clip_id for clip_id, count in Counter(checked).items() if count > 1]
    if twice and not repeated:
        raise InputError(f"{where} has {len(twice)} ids more than once, '{twice[0]}' among them")
    return checked


def _text(value: Any, where: str, number: int) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        shown = f"{value!r:.40}" if isinstance(value, (float, bool)) or value is None else type(value).__name__
        raise InputError(f"{where}: id {number} is {shown}, and should be text")
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
        table: pd.DataFrame = read_parquet(path).to_pandas(use_threads=False)
        return table.reset_index()
    if suffix not in ("", ".txt", ".json", ".jsonl"):
        raise InputError(f"{path}: ids are read from .txt, .csv, .parquet, .json or .jsonl, not '{suffix}'")
    text = path.read_text(encoding="utf-8-sig")
    lines = [line for line in text.split("\n") if line.strip()]
    rows = parse_json(text) if suffix == ".json" else list(map(parse_json, lines)) if suffix == ".jsonl" else lines
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
