"""Perceptual hashes of the frames of many videos, made in worker processes that may fail without ending it all.

    HashTask  ->  FileDigest, HashedVideo        in the worker
    hash_videos  ->  HashedVideo, HashedVideo    one a file, in the order in which they are done

Frames are taken by time, `fps` a second (features/frame_picker.py), and hashed piece by piece, so that memory does
not grow with the length of a video. The digest goes out first: a file that nobody can decode can still be the same
file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from features.clip import Clip, FrameNeed
from features.cutting import Cutting
from features.errors import MediaError
from features.file_digest import sha256_of
from features.memory_limit import came_near, is_memory_error, limit_memory
from features.one_thread import use_one_thread
from features.picture_hash import WORDS, Hashes, picture_hashes
from features.reader import open_reader
from features.worker_pool import Lost, Told, WorkerPool
from features.worker_process import WornOut, in_a_line

PIECE_S = 30.0  # of a video that is decoded at a time; its black bars are found in this much
SHORT_SIDE = 128  # pixels, of the frames that are hashed
TIMEOUT_S = 1800.0  # that a worker may work on one file
MEMORY_GB = 3.0  # of address space that a worker may take


@final
@dataclass(frozen=True)
class HashTask:
    """One file."""

    root: Path  # the library's folder
    video: str  # path below it, with forward slashes
    fps: float


@final
@dataclass(frozen=True)
class FileDigest:
    """What a file's content is."""

    sha256: str


@final
@dataclass(frozen=True, eq=False)
class HashedVideo:
    """The telling frames of one file: F of them, none where it shows nothing or cannot be read."""

    video: str
    sha256: str = ""  # of its content, hexadecimal; empty where it cannot be read at all
    times: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # (F,) seconds, ascending
    hashes: Hashes = field(default_factory=lambda: np.zeros((0, WORDS), np.uint64))  # (F, WORDS)
    failure: str = ""  # why it cannot be read; empty where it can


def hash_videos(root: Path, videos: Sequence[str], fps: float, workers: int) -> Iterator[HashedVideo]:
    """Hash files of a library; one that cannot be read is told of with the reason, and ends nothing.

    Args:
        root: the library's folder.
        videos: paths below it, with forward slashes; each once.
        fps: frames a second that are hashed; the first of each PIECE_S seconds always is.
        workers: processes.

    Raises:
        InputError: worker processes cannot be started.
    """
    digests: dict[str, str] = {}
    with WorkerPool(HashSetup(), workers, TIMEOUT_S) as pool:
        for video in videos:
            pool.submit(HashTask(root, video, fps))
        for event in pool.events():
            if isinstance(event, Told) and isinstance(event.message, FileDigest):
                digests[event.task.video] = event.message.sha256
            elif isinstance(event, Told):
                yield replace(event.message, sha256=digests.pop(event.task.video, ""))
            elif isinstance(event, Lost):
                video = event.task.video
                how = {"crashed": "the decoder crashed", "timed out": f"not done after {TIMEOUT_S:g} s"}
                reason = how.get(event.how, f"it needs more than {MEMORY_GB:g} GB of memory")
                yield HashedVideo(video, digests.pop(video, ""), failure=reason)


@final
@dataclass(frozen=True)
class HashSetup:
    """Called in a worker process: sets it up, and gives what is done with each file."""

    def __call__(self) -> Any:
        """Everything loaded, one thread, and then the limit of memory."""
        use_one_thread()
        for path in (Path("a.mp4"), Path("a.png")):
            open_reader("pyav", path)
        limit_memory(MEMORY_GB)
        return hash_task


def hash_task(task: HashTask) -> Iterator[FileDigest | HashedVideo]:
    """The messages about one file; what goes wrong is the last of them.

    Raises:
        MemoryError: the file needs more memory than this process may have.
        WornOut: the file is done, and another could not be told from one that needs more memory.
    """
    path = task.root / task.video
    try:
        yield FileDigest(sha256_of(path))
        yield hash_video(path, task.video, task.fps)
    except Exception as error:
        if is_memory_error(error) or came_near():
            raise MemoryError from error
        if isinstance(error, OSError):
            yield HashedVideo(task.video, failure=f"it cannot be read: {error.strerror or error}")
        else:
            yield HashedVideo(
                task.video, failure=str(error) if isinstance(error, MediaError) else in_a_line(error)
            )
    if came_near():
        raise WornOut


def hash_video(path: Path, video: str, fps: float) -> HashedVideo:
    """Decode one file once, and hash its telling frames.

    Raises:
        MediaError: the file cannot be read, or has no pictures.
    """
    need = FrameNeed(fps=fps, size=SHORT_SIDE)
    times, hashes, pictures = [np.zeros(0, np.float32)], [np.zeros((0, WORDS), np.uint64)], False
    for clip in open_reader("pyav", path).read(path, video, (need,), Cutting(clip_seconds=PIECE_S)):
        if need in clip.frames:
            pictures = True
            some, telling = _hashed(clip, need)
            times.append(clip.frames[need].times[telling].astype(np.float32))
            hashes.append(some[telling])
    if not pictures:
        raise MediaError("it has no pictures that can be decoded")
    return HashedVideo(video, times=np.concatenate(times), hashes=np.concatenate(hashes))


def _hashed(clip: Clip, need: FrameNeed) -> tuple[Hashes, NDArray[np.bool_]]:
    return picture_hashes(clip.frames[need].pixels)
