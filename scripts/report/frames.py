"""Frames of clips: (file, share of the clip) -> a small WebP as a data URI, or the reason for a blank.

    time = start + share (end - start)

Each file is opened once and read forward, by the readers that extraction uses, in worker processes with limits.
Only media below the folder that the user named are read, whatever paths a result file contains.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.console import say

if TYPE_CHECKING:
    from mee.evaluation import Answer

FILES_A_WORKER = 20  # for fewer the start of another one does not pay
FAILED_SHOWN = 10
SHORT_SIDE, QUALITY = 132, 55
FRAGMENT = re.compile(r"#t=(?P<start>\d+(\.\d+)?),(?P<end>\d+(\.\d+)?)$")


@dataclass(frozen=True)
class Moment:
    """A wanted frame."""

    clip_id: str
    video: str | None
    start_s: float | None
    end_s: float | None
    share: float

    @staticmethod
    def of(answer: Answer, share: float) -> Moment:
        """That of an answer's clip."""
        return Moment(answer.clip_id, answer.video, answer.start_s, answer.end_s, share)


@dataclass(frozen=True)
class Shot:
    """A frame, or why there is none."""

    uri: str | None = None
    at_s: float | None = None
    reason: str = ""


def read_frames(folder: Path, moments: Iterable[Moment]) -> dict[Moment, Shot]:
    """Read frames from the videos of a folder, with progress on stderr.

    Raises:
        InputError: there is no such folder, or no media file in it.
    """
    from features.job import Failed, run_isolated
    from features.media import Selection, find_media
    from mee.data import Names

    library = find_media(folder, Selection(audio_files=False))
    names = Names({video: video for video in library.videos}, "the folder of videos")
    shots: dict[Moment, Shot] = {}
    by_file: dict[str, list[Moment]] = {}
    for moment in dict.fromkeys(moments):
        if found := names.find(moment.video or FRAGMENT.sub("", moment.clip_id)):
            by_file.setdefault(found, []).append(moment)
        else:
            shots[moment] = Shot(reason="not in the folder of videos")
    files = [(library.root / video, tuple(wanted)) for video, wanted in by_file.items()]
    workers = min(len(os.sched_getaffinity(0)), 1 + len(files) // FILES_A_WORKER)
    begun: set[Path] = set()
    failed = 0
    for (file, asked), found in run_isolated(read_shots, files, workers=workers):
        if file not in begun and len(begun) % FILES_A_WORKER == 0:
            say(f"frames: {len(begun)} of {len(files)} files")
        begun.add(file)
        if not isinstance(found, Failed):
            shots.update([found])
            continue
        failed += 1
        if failed <= FAILED_SHOWN:
            say(f"no frame of '{file}': {found.reason}")
        for moment in asked:
            shots.setdefault(moment, Shot(reason="file cannot be read"))
    if failed > FAILED_SHOWN:
        say(f"and {failed - FAILED_SHOWN:,} more files could not be read")
    return shots


def read_shots(file: tuple[Path, tuple[Moment, ...]]) -> Iterator[tuple[Moment, Shot]]:
    """The wanted frames of one file; called in a worker."""
    from features.media import IMAGE_SUFFIXES, FrameNeed, PyavPictures, Span, probe_file, read_image

    path, wanted = file
    need = FrameNeed(fps=1.0, size=SHORT_SIDE)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        shot = Shot(data_uri(read_image(path, path.name, [need]).frames[need].pixels[0]))
        yield from ((moment, shot) for moment in wanted)
        return
    facts = probe_file(path)
    if facts.picture is None:
        yield from ((moment, Shot(reason="no picture track")) for moment in wanted)
        return
    pictures = PyavPictures(path, facts, facts.picture, [need])
    times: dict[float, list[Moment]] = {}
    for moment in wanted:
        times.setdefault(_time(moment, facts.picture.end_s, facts.picture.step), []).append(moment)
    for at_s in sorted(times):
        frames = pictures.read(Span(clip_id=path.name, video=path.name, start_s=at_s, end_s=at_s + 1e-3)).get(need)
        shot = Shot(at_s=at_s, reason=f"no picture at {at_s:.1f} s")
        if frames is not None and len(frames.pixels):
            shot = Shot(data_uri(frames.pixels[0]), at_s)
        yield from ((moment, shot) for moment in times[at_s])


def _time(moment: Moment, file_end_s: float, step: float) -> float:
    """Seconds into the file; a clip that ends with its file has its last frame just before."""
    start, end = moment.start_s, moment.end_s
    if start is None and end is None and (recorded := FRAGMENT.search(moment.clip_id)):
        start, end = (float(recorded[name]) for name in ("start", "end"))
    start = max(start or 0.0, 0.0)
    end = file_end_s if end is None else end
    at = start + moment.share * max(min(end, file_end_s) - start, 0.0)
    return at if at >= file_end_s + step else max(0.0, min(at, file_end_s - step))


def data_uri(pixels: object) -> str:
    """(H, W, 3) RGB uint8 -> data:image/webp;base64,…"""
    import cv2
    import numpy as np

    image = cv2.cvtColor(np.asarray(pixels, np.uint8), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not done:
        raise ValueError("the picture cannot be written as WebP")
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode("ascii")
