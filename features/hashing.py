"""Perceptual hashes of the frames of many videos, made in worker processes; a failed file does not end the others.

    HashTask  ->  SHA-256, HashedVideo           in the worker
    hash_videos  ->  HashedVideo, HashedVideo    one a file, in the order in which they are done

Frames are taken by time, `fps` a second, and hashed piece by piece, so that memory does not grow with the length
of a video. The digest goes out first: a file that nobody can decode can still be the same file. A hash has 128
bits, few of which change when a picture is re-encoded, scaled or slightly cropped:

    S = the picture's luma without black bars, shrunk to 32 x 32        (area means, whatever its shape was)
    C = DCT-II of S
    bit b = 1 where C[u_b, v_b] > 0,   (u_b, v_b): the 128 lowest frequencies by u^2 + v^2, without (0, 0)

Two pictures are as far apart as bits differ (Hamming distance): copies 0 to about 30, unrelated pictures 64 +- 6
(benchmarks/near_duplicates.py measures both). The idea is that of pHash's DCT hash (Zauner, Implementation and
Benchmarking of Perceptual Image Hash Functions, 2010); signs take the place of its comparison with the median, and
128 bits that of 64, which separated small crops from other pictures less well. OpenCV's img_hash is in its contrib
build only. What a hash does not see: a copy that is mirrored, cropped by a tenth at one side, or covered by a
large logo; and pages of text in one layout are as near as copies. A picture of hardly any contrast is not
`telling`.

Black bars, letterbox and pillarbox, are found in all frames of a clip together:

    dark line   a row (or column) whose pixels stay at most DARK in every frame, but for SPECKS of them
    bars        as many dark lines as are at both opposite edges: min(top, bottom), min(left, right)

A dark corner of a scene is hardly ever on both sides alike, so a part of a clip is cut as the whole of it is.
Bars that hold subtitles or a logo are not found, nor are coloured or blurred ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from features.errors import MediaError
from features.files import open_file
from features.job import Failed, run_isolated
from features.media import FrameNeed, read_clips

DARK = 24  # of 255: black after lossy coding, with its ringing at the picture's edge
SPECKS = 0.02
WIDEST = 0.3  # of the picture, at each side; what is darker than that is a dark scene


def without_bars(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(T, H, W) luma of a clip, T at least 1 -> a view of it, (T, H', W'), without black bars."""
    brightest = luma.max(axis=0)
    rows, columns = (_bar(np.quantile(brightest, 1 - SPECKS, axis=axis)) for axis in (1, 0))
    height, width = brightest.shape
    return luma[:, rows : height - rows, columns : width - columns]


def _bar(lines: NDArray[np.float64]) -> int:
    """How many of these lines are a bar at each end; 0 where hardly anything else is there."""
    lit = np.flatnonzero(lines > DARK)
    if not len(lit):
        return 0
    bar = min(int(lit[0]), len(lines) - 1 - int(lit[-1]))
    return bar if bar <= WIDEST * len(lines) else 0


BITS = 128
WORDS = BITS // 64
SIDE = 32  # of the shrunken picture
LEAST_CONTRAST = 8.0  # standard deviation of the shrunken picture's luma, of 255

Hashes = NDArray[np.uint64]  # (T, WORDS)


_U, _V = np.indices((SIDE, SIDE)).reshape(2, -1)
_U, _V = np.stack([_U, _V])[:, np.lexsort((_V, _U, _U**2 + _V**2))[1 : BITS + 1]]  # of the frequencies that count


def picture_hashes(frames: NDArray[np.uint8]) -> tuple[Hashes, NDArray[np.bool_]]:
    """Hash the (T, H, W, 3) RGB frames of one clip, upright; its black bars are found in all of them together.

    (T, WORDS) uint64 hashes, and (T,) whether each frame has contrast enough for its hash to tell anything.
    """
    luma = without_bars(np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]))
    shrunk = (cv2.resize(np.ascontiguousarray(each), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for each in luma)
    small = np.stack(list(shrunk)).astype(np.float32)
    signs = np.stack([cv2.dct(picture)[_U, _V] > 0 for picture in small])
    telling = small.std(axis=(1, 2)) >= LEAST_CONTRAST
    return np.packbits(signs, axis=1).view(np.uint64), telling


PIECE_S = 30.0  # of a video that is decoded at a time; its black bars are found in this much
SHORT_SIDE = 128  # pixels, of the frames that are hashed
TIMEOUT_S = 1800.0  # that a worker may work on one file


class HashTask(NamedTuple):
    """One file."""

    root: Path  # the library's folder
    video: str  # path below it, with forward slashes
    fps: float


@dataclass(frozen=True, eq=False)
class HashedVideo:
    """The telling frames of one file: F of them, none where it shows nothing or cannot be read."""

    video: str
    sha256: str = ""  # of its content, hexadecimal; empty where it cannot be read at all
    times: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # (F,) seconds, ascending
    hashes: Hashes = field(default_factory=lambda: np.zeros((0, WORDS), np.uint64))  # (F, WORDS)
    failure: str = ""  # why it cannot be read; empty where it can


def hash_videos(root: Path, videos: Sequence[str], fps: float, workers: int) -> Iterator[HashedVideo]:
    """Hash files of a library; one that cannot be read is reported with the reason, and does not end the others.

    ``videos`` are paths below ``root`` with forward slashes, each once. ``fps`` frames a second are hashed; the
    first of each PIECE_S seconds always is.
    """
    digests: dict[str, str] = {}
    tasks = (HashTask(root, video, fps) for video in videos)
    for task, message in run_isolated(hash_task, tasks, workers=workers, timeout=TIMEOUT_S):
        if isinstance(message, str):
            digests[task.video] = message
        else:
            hashed = HashedVideo(task.video, failure=message.reason) if isinstance(message, Failed) else message
            yield replace(hashed, sha256=digests.pop(task.video, ""))


def hash_task(task: HashTask) -> Iterator[str | HashedVideo]:
    """The messages about one file: the SHA-256 of its content, hexadecimal, then its hashes."""
    path = task.root / task.video
    with open_file(path, follow=True) as file:
        yield hashlib.file_digest(file, "sha256").hexdigest()
    yield hash_video(path, task.video, task.fps)


def hash_video(path: Path, video: str, fps: float) -> HashedVideo:
    """Decode one file once, and hash its telling frames."""
    need = FrameNeed(fps=fps, size=SHORT_SIDE)
    times, hashes, pictures = [np.zeros(0, np.float32)], [np.zeros((0, WORDS), np.uint64)], False
    for clip in read_clips(path, video, (need,), clip_seconds=PIECE_S):
        if need in clip.frames:
            pictures = True
            some, telling = picture_hashes(clip.frames[need].pixels)
            times.append(clip.frames[need].times[telling].astype(np.float32))
            hashes.append(some[telling])
    if not pictures:
        raise MediaError("it has no pictures that can be decoded")
    return HashedVideo(video, times=np.concatenate(times), hashes=np.concatenate(hashes))
