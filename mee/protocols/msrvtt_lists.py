"""The training lists of MSR-VTT's protocols.

    name   of           videos   file                     follows from
    9k     msrvtt-1ka   9,000    MSRVTT_train.9k.csv      all but the 1,000 of the 1k-A test
    7k     msrvtt-1ka   7,010    MSRVTT_train.7k.csv      full train and validation
    1kb    msrvtt-1kb   6,656    train_list_miech.txt     -

Where a list follows from a rule, its file is read if it is there and not missed if it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mee.protocols.annotation_files import AnnotationFiles
from mee.protocols.annotation_text import read_csv, read_ids
from mee.protocols.check import refuse_overlap
from mee.protocols.msrvtt_captions import VIDEOS, check_ids

FULL: Mapping[str, tuple[str, ...]] = {
    "train": tuple(f"video{number}" for number in range(6_513)),
    "val": tuple(f"video{number}" for number in range(6_513, 7_010)),
    "test": tuple(f"video{number}" for number in range(7_010, VIDEOS)),
}
FOLDERS = ("msrvtt_data", "high-quality/structured-symlinks", "train_val_annotation", "test_annotation")
TEST_1KA = "MSRVTT_JSFUSION_test.csv"
FILES = {
    "9k": ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt", "train_list_9k.txt"),
    "7k": ("MSRVTT_train.7k.csv", "train_list_7k.txt"),
    "1kb": ("train_list_miech.txt",),
}


@dataclass(frozen=True)
class VideoList:
    """The videos of a list, and the file that they were read from, if it was one."""

    videos: tuple[str, ...]
    path: Path | None


def read_list(path: Path) -> VideoList:
    """A list from its file.

    Raises:
        InputError: it cannot be used, or names what is no video of MSR-VTT.
    """
    videos = read_ids(path)
    check_ids(videos, path)
    return VideoList(videos, path)


def find_list(files: AnnotationFiles, name: str, test_1ka: Sequence[str]) -> VideoList | None:
    """A training list, from its file or by its rule; None where neither is to be had.

    Args:
        files: where its file may be.
        name: a key of FILES.
        test_1ka: the videos of the 1k-A test, as far as they are known.

    Raises:
        InputError: its file cannot be used.
    """
    path = files.find(*FILES[name])
    if path is not None:
        return read_list(path)
    if name == "7k":
        return VideoList(FULL["train"] + FULL["val"], None)
    test = set(test_1ka)
    if name == "9k" and len(test) == 1_000:  # what an incomplete test leaves over must not be trained on
        return VideoList(tuple(video for part in FULL.values() for video in part if video not in test), None)
    return None


def refuse_foreign_list(files: AnnotationFiles, name: str | None, test: Sequence[str]) -> None:
    """Refuse a training list of another protocol, saying which of its videos are in this one's test.

    Raises:
        InputError: they overlap, or the list is not to be had.
    """
    if name not in FILES or name in files.protocol.train:
        return
    test_file = files.find(TEST_1KA)
    test_1ka = [row["video_id"] for row in read_csv(test_file, ("video_id",))] if test_file is not None else []
    found = find_list(files, name, test_1ka) or read_list(files.need(*FILES[name]))
    called = f"the {len(found.videos):,} videos of training list '{name}'"
    refuse_overlap(called, found.videos, f"{files.protocol.name} test", test, files.path)
