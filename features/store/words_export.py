"""What is said or written in the videos of a store -> WebVTT or CSV, for people, players and spreadsheets.

An utterance that two clips share counts once. In CSV, text that a spreadsheet could take for a formula begins with
an apostrophe.
"""

from __future__ import annotations

from html import escape
from pathlib import Path, PurePosixPath

import pandas as pd

from features.errors import InputError
from features.files import is_bare
from features.store.feature_store import FeatureStore

COLUMNS = ["video", "start_s", "end_s", "stream", "words"]
ORDER = ["video", "stream", "start_s", "end_s"]
FORMULA = ("=", "+", "-", "@")
SHORTEST_CUE_S = 0.001  # WebVTT has no cue that ends when it begins


def words_table(store: FeatureStore, stream: str | None = None, video: str | None = None) -> pd.DataFrame:
    """COLUMNS of each utterance, by video, stream and time; of one stream or one video, or of all."""
    there = [name for name in store.manifest.streams if store.manifest.holds_words(name)]
    if not there or stream not in (None, *there):
        what = "stream of words" if stream is None else f"'{stream}'"
        has = (
            f"it has {', '.join(there)}"
            if there
            else "make one: mee precompute VIDEOS STORE --streams speech text"
        )
        raise InputError(f"{store.name} has no {what}; {has}")
    clips = store.clips if video is None else store.clips[store.clips["video"] == video]
    if video is not None and clips.empty:
        raise InputError(f"{store.name} has no usable video '{video}'; see mee store list --clips")
    rows = [
        (name, start, end, each, text)
        for each in (there if stream is None else [stream])
        for name, said in zip(clips["video"], store.words(each, list(clips.index)))
        for start, end, text in said or ()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates().sort_values(ORDER)


def as_csv(table: pd.DataFrame) -> str:
    """The text of a CSV file."""
    plain = {
        name: table[name].map(lambda cell: "'" * cell.startswith(FORMULA) + cell) for name in ("video", "words")
    }
    return table.assign(**plain).to_csv(index=False, float_format="%.3f")


def as_vtt(table: pd.DataFrame) -> dict[str, str]:
    """The text of a WebVTT file for each video."""
    return {
        str(video): "WEBVTT\n" + "".join(map(_cue, rows["start_s"], rows["end_s"], rows["words"]))
        for video, rows in table.groupby("video")
    }


def vtt_path(folder: Path, video: str) -> Path:
    """Where the file of a video belongs, below a folder; raises InputError where its name leads elsewhere."""
    parts = PurePosixPath(video).parts
    if not all(map(is_bare, parts)):
        raise InputError(f"the video {video!r:.80} cannot be the name of a file; write CSV")
    return folder.joinpath(*parts[:-1], f"{parts[-1]}.vtt")


def _cue(start: float, end: float, text: str) -> str:
    end = max(end, start + SHORTEST_CUE_S)
    return f"\n{_clock(start)} --> {_clock(end)}\n{escape(text, quote=False)}\n"


def _clock(seconds: float) -> str:
    """hh:mm:ss.mmm."""
    ms = round(max(seconds, 0.0) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
