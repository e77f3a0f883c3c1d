"""Cut lists: moments as a table, as JSON, or as a sequence of cuts for editing programs.

    csv      clip_id, video, start_s, end_s, streams, fps
    json     the same in a document with a title
    edl      CMX 3600 for any editing program: at most 999 cuts, timecode without dropped frames
    otio     OpenTimelineIO, Timeline.1: a track of pictures, and one of sound where a clip has any
    ffmpeg   list for its concat demuxer, of videos of one form; its first lines say the command

Names of videos come from anyone, and none leaves its field. CSV: a text that a spreadsheet would take for a
formula gets ' before it. EDL: ASCII alone, the rest as Python's escapes. In an ffmpeg list a path cannot hold a
line break, and is refused; so is, there and in otio, a path that leads out of the folder.

A still is shown for 5 s. An EDL counts frames at the rate that most of the videos have, else 25 a second, and
begins anew after 24 hours. Its sequence starts at 01:00:00:00, as is usual.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from index.video_index import Moment
from mee.errors import InputError, name_id

STILL_S, LONGEST_S = 5.0, 1e9  # of a video; what claims more is cut
FPS, MOST_FPS = 25.0, 99  # frames a second where they are unknown, and in a timecode
EVENTS, START_S, REEL = 999, 3600, 8  # of an EDL: most cuts, start of the sequence, letters of a reel
FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # what one begins with, also in full width
LINE = re.compile(r"[\n\r\0]")  # what ffmpeg ends a line at
FFMPEG = (  # the list alone would begin each cut at a key frame
    "ffmpeg -copyts -f concat -safe 0 -segment_time_metadata 1 -i THIS_FILE -vf select=concatdec_select "
    "-af aselect=concatdec_select,aresample=async=1 out.mp4",
    "It joins videos that have the same codecs, size and sound.",
)
SOUND = "audio"  # the expert that only clips with sound have


def cut_list(moments: Sequence[Moment], form: str, *, title: str, folder: Path | None = None) -> str:
    """Moments, in their order, as the text of a cut list.

    Args:
        moments: of an index: `VideoIndex.moments`, `VideoIndex.clips_of`.
        form: one of FORMS.
        title: in words, such as what was searched for.
        folder: where the videos are, for otio and ffmpeg; default: the folder of the list itself.

    Raises:
        InputError: there is no such form, there is no moment, or the form cannot hold one of them.
    """
    if form not in FORMS:
        raise InputError(f"a cut list is written as {', '.join(FORMS)}, not as {form!r:.40}")
    if not moments:
        raise InputError("there is no moment to write a cut list of; search for something else, or mark some hits")
    return FORMS[form](moments, title, folder)


def _span(moment: Moment) -> tuple[float, float]:
    """From and to, in seconds on the video."""
    start = min(max(moment.start_s, 0.0), LONGEST_S)
    end = min(moment.end_s, LONGEST_S + STILL_S)
    return start, end if end > start else start + STILL_S


def _frames(moment: Moment, rate: float) -> tuple[int, int]:
    """The first, and how many."""
    start, end = (round(second * rate) for second in _span(moment))
    return start, max(1, end - start)


def _csv(moments: Sequence[Moment], title: str, folder: Path | None) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(Moment._fields)
    for each in moments:
        cells = [*each[:4], " ".join(each.streams), each.fps]
        writer.writerow(f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell for cell in cells)
    return text.getvalue()


def _json(moments: Sequence[Moment], title: str, folder: Path | None) -> str:
    return json.dumps({"title": title, "moments": [each._asdict() for each in moments]}, indent=1) + "\n"


def _edl(moments: Sequence[Moment], title: str, folder: Path | None) -> str:
    """The lines of a CMX 3600 edit decision list."""
    if len(moments) > EVENTS:
        raise InputError(f"an EDL holds {EVENTS} cuts, and these are {len(moments):,}; take another form")
    rates = Counter(each.fps for each in moments if each.fps and round(each.fps) in range(1, MOST_FPS + 1))
    rate = rates.most_common(1)[0][0] if rates else FPS
    why = f"AS {rates[rate]} OF {len(moments)} CUTS HAVE" if rates else "AS THE RATES OF THE VIDEOS ARE UNKNOWN"
    lines = [f"TITLE: {_ascii(title)[:70]}", "FCM: NON-DROP FRAME", "", f"* {rate:g} FRAMES A SECOND, {why}"]
    reels = _reels([each.video for each in moments])
    record = START_S * round(rate)
    for number, each in enumerate(moments, start=1):
        start, length = _frames(each, rate)
        codes = (_timecode(frame, round(rate)) for frame in (start, start + length, record, record + length))
        track = "AA/V" if SOUND in each.streams else "V"
        lines.append(f"{number:03d}  {reels[each.video]:<8} {track:<5} C        {' '.join(codes)}")
        lines.append(f"* FROM CLIP NAME: {_ascii(each.video)}")
        record += length
    return "\n".join(lines) + "\n"


def _timecode(frame: int, rate: int) -> str:
    seconds, frames = divmod(frame, rate)
    return f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def _ascii(text: str) -> str:
    """On one line."""
    return text.encode("unicode_escape").decode()


def _reels(videos: Sequence[str]) -> dict[str, str]:
    """A name of at most 8 letters and digits for each video."""
    reels: dict[str, str] = {}
    taken = {"", "AX", "BL"}  # which mean other sources
    for video in dict.fromkeys(videos):
        name = re.sub("[^A-Z0-9]", "", PurePosixPath(video).stem.upper())[:REEL]
        numbered = (f"{name[: REEL - len(str(number))]}{number}" for number in count(1))
        reels[video] = next(each for each in chain([name], numbered) if each not in taken)
        taken.add(reels[video])
    return reels


def _otio(moments: Sequence[Moment], title: str, folder: Path | None) -> str:
    """What the library opentimelineio reads; what it takes for granted is left out."""
    kinds = ["Video", *(["Audio"] if any(SOUND in each.streams for each in moments) else [])]
    tracks = [
        _made("Track.1", name=kind, kind=kind, children=[_item(each, kind, folder) for each in moments])
        for kind in kinds
    ]
    stack = _made("Stack.1", name="tracks", children=tracks)
    return json.dumps(_made("Timeline.1", name=title, tracks=stack), indent=1) + "\n"


def _item(moment: Moment, kind: str, folder: Path | None) -> dict[str, Any]:
    """A moment on a track, or a gap of its length where it has no sound."""
    rate = moment.fps or FPS
    start, length = _frames(moment, rate)
    zero, first, long = (_made("RationalTime.1", value=float(n), rate=rate) for n in (0, start, length))
    if kind == "Audio" and SOUND not in moment.streams:
        return _made("Gap.1", source_range=_made("TimeRange.1", start_time=zero, duration=long))
    path = _path(moment.video, folder)
    media = _made("ExternalReference.1", target_url=Path(path).as_uri() if folder else quote(path))
    span = _made("TimeRange.1", start_time=first, duration=long)
    references = {"media_references": {"DEFAULT_MEDIA": media}, "active_media_reference_key": "DEFAULT_MEDIA"}
    return _made("Clip.2", name=moment.clip_id, source_range=span, **references)


def _made(schema: str, **fields: Any) -> dict[str, Any]:
    return {"OTIO_SCHEMA": schema, **fields}


def _ffmpeg(moments: Sequence[Moment], title: str, folder: Path | None) -> str:
    lines = ["ffconcat version 1.0", f"# {_ascii(title)}", *(f"# {line}" for line in FFMPEG)]
    for each in moments:
        path = _path(each.video, folder) if folder else f"./{_path(each.video, folder)}"  # a:b is no protocol
        if LINE.search(path):
            raise InputError(
                f"the name of video {name_id(each.video)} has a line break, which an ffmpeg list cannot hold; "
                "rename the file, or take another form"
            )
        start, end = _span(each)
        quoted = path.replace("'", r"'\''")
        still = each.end_s <= each.start_s
        span = [f"duration {STILL_S:g}"] if still else [f"inpoint {start:.6f}", f"outpoint {end:.6f}"]
        lines += [f"file '{quoted}'", *span]
    return "\n".join(lines) + "\n"


def _path(video: str, folder: Path | None) -> str:
    """Of a video, absolute if the folder of the videos is given."""
    path = PurePosixPath(video)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"video {name_id(video)} is not inside the folder of the videos, so this form cannot name it; "
            "take csv, json or edl"
        )
    return str(path if folder is None else folder.resolve() / path)


Form = Callable[[Sequence[Moment], str, Path | None], str]
FORMS: dict[str, Form] = {"csv": _csv, "json": _json, "edl": _edl, "otio": _otio, "ffmpeg": _ffmpeg}
ENDINGS = {"csv": ".csv", "json": ".json", "edl": ".edl", "otio": ".otio", "ffmpeg": ".ffconcat"}  # of files
