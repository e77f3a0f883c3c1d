"""What is said or written in the videos of a store -> WebVTT or CSV, for people, players and spreadsheets.

    .vtt    one file a video: a cue an utterance
    .csv    video, start_s, end_s, stream, words; a row an utterance

An utterance that two clips share is written once. In CSV a text that a spreadsheet could take for a formula begins
with an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from html import escape
from pathlib import Path, PurePosixPath

from features.errors import InputError
from features.files import is_bare, write_whole
from features.store.feature_store import FeatureStore
from features.store.shard import Utterance

COLUMNS = ("video", "start_s", "end_s", "stream", "words")
FORMULA = ("=", "+", "-", "@")
SHORTEST_CUE_S = 0.001  # WebVTT has no cue that ends when it begins


def words_of_videos(
    store: FeatureStore, stream: str | None = None, video: str | None = None
) -> Iterator[tuple[str, str, list[Utterance]]]:
    """Video, stream and utterances in order of time, of each that has some; of one stream or video, or of all."""
    there = [name for name in store.manifest.streams if store.manifest.holds_words(name)]
    if not there or stream not in (None, *there):
        what = f"'{stream}'" if stream else "stream of words, such as speech or text"
        has = (
            f"it has {', '.join(there)}"
            if there
            else "make one: mee precompute VIDEOS STORE --streams speech text"
        )
        raise InputError(f"{store.name} has no {what}; {has}")
    clips = store.clips.sort_values(["video", "start_s"], kind="stable")
    if video is not None and not (clips["video"] == video).any():
        raise InputError(f"{store.name} has no usable video '{video}'; see mee store list --clips")
    for name, rows in clips.groupby("video") if video is None else [(video, clips[clips["video"] == video])]:
        for each in there if stream is None else [stream]:
            found = [said for clip in store.words(each, list(rows.index)) for said in clip or ()]
            if found:
                yield str(name), each, sorted(dict.fromkeys(found), key=lambda said: said[:2])


def as_csv(store: FeatureStore, stream: str | None, video: str | None) -> Iterator[str]:
    """Lines of a CSV file, the header first."""
    yield _line(COLUMNS)
    for name, each, said in words_of_videos(store, stream, video):
        for start, end, text in said:
            yield _line([_plain(name), f"{start:.3f}", f"{end:.3f}", each, _plain(text)])


def as_vtt(said: list[Utterance]) -> str:
    """A WebVTT file."""
    cues = (
        f"\n{_clock(start)} --> {_clock(max(end, start + SHORTEST_CUE_S))}\n{escape(text, quote=False)}\n"
        for start, end, text in said
    )
    return "".join(["WEBVTT\n", *cues])


def write_vtt(store: FeatureStore, folder: Path, stream: str, video: str | None) -> list[Path]:
    """One file a video that has words, named after it, below a folder; each is written whole or not at all."""
    written = []
    for name, _, said in words_of_videos(store, stream, video):
        parts = PurePosixPath(name).parts
        if not all(map(is_bare, parts)):
            raise InputError(f"{store.name}: the video {name!r:.80} cannot be the name of a file; write a .csv")
        path = folder.joinpath(*parts[:-1], parts[-1] + ".vtt")
        write_whole(path, as_vtt(said).encode())
        written.append(path)
    return written


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _line(cells: object) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
    return file.getvalue()


def _clock(seconds: float) -> str:
    """hh:mm:ss.mmm."""
    ms = round(max(seconds, 0.0) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
