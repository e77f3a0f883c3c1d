"""List test videos that are also training videos, or nearly: the same file, a re-encoded copy, a part of a video.

example:
  mee overlap videos/ captions.csv
  mee overlap videos/ --train train.txt --test test.txt --out pairs.csv
  mee overlap videos/ annotations/ --protocol msrvtt-1ka --train-list 9k
  mee overlap store/ captions.csv --by appearance --threshold 0.9

By frames, VIDEOS is a folder of video files, whose pictures are compared without a model. By a stream, STORE is a
feature store, whose clips are compared by that stream, so the same scene filmed twice is found too. Training and
test videos are named by the column split of a caption table, a named protocol, or two lists. Exit code 3: some
files could not be read.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from mee.errors import InputError
from mee.files import whole_file
from scripts.console import (
    DONE,
    FAILURES_LISTED,
    Columns,
    check_output,
    clock,
    complain,
    counting_bar,
    errors_as_sentences,
    parse,
    print_line,
    print_table,
    say,
)

if TYPE_CHECKING:
    from features.hashing import HashedVideo
    from mee.data import ClipNames
    from mee.near_duplicates import ClipsOfVideos, NearPair, Overlap, Sides

FRAMES = "frames"
FAILED_SHOWN = 10
SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class OverlapArgs:
    """Arguments of mee overlap."""

    place: Annotated[Positional[Path], arg(metavar="VIDEOS|STORE")]  # by frames a folder, by a stream a store
    # table of video_id, caption, split; with --protocol the directory of its files
    annotations: Annotated[Positional[Path | None], arg(metavar="[ANNOTATIONS]")] = None
    by: str = FRAMES  # frames, or the name of one of the store's streams
    protocol: str = "folder"  # of the annotations
    columns: Columns = field(default_factory=dict)  # of your own table, where they have other names
    train_list: str | None = None  # one of the protocol's training lists; default: its usual one
    train: Path | None = None  # list of the training videos, one a line, or a csv with video_id
    test: Path | None = None  # list of the test videos
    # by frames: bits of 128 that near frames are apart, at most, by default 32; by a stream: their similarity, at
    # least, by default 0.85
    threshold: float | None = None
    share: float = 0.5  # by frames: of one video's frames that the other has too
    fps: float = 2.0  # by frames: frames a second that are compared
    nearest: int = 10  # training videos that are listed of each test video, at most
    out: Path | None = None  # also write the pairs: .csv or .parquet
    overwrite: bool = False  # replace an existing file
    json: bool = False  # print one JSON object a pair
    partial: bool = False  # skip missing videos
    workers: int | None = None  # by frames: processes that decode; default: one a core

    def __post_init__(self) -> None:
        lists = (self.train is not None) + (self.test is not None)
        if lists == 1 or (lists == 2) == (self.annotations is not None):
            raise ValueError("name ANNOTATIONS, or both --train and --test")
        if lists and (self.protocol != "folder" or self.train_list is not None):
            raise ValueError("--protocol and --train-list go with ANNOTATIONS, not with --train and --test")
        if self.train_list is not None and self.protocol == "folder":
            raise ValueError("--train-list goes with --protocol NAME; your own table has its column split")
        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, got {self.fps}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")
        for name in ("nearest", "workers"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if self.by == FRAMES and self.threshold is not None and not self.threshold.is_integer():
            raise ValueError(f"by frames, threshold counts whole bits, got {self.threshold}")


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(OverlapArgs, "overlap", argv, __doc__ or "")
    if args.out is not None:
        check_output("--out", args.out, SUFFIXES)
        if args.out.exists() and not args.overwrite:
            raise InputError(f"'{args.out}' exists already; name another file, or replace it with --overwrite")

    ids = _sides(args)
    overlap, failed = _by_frames(args, ids) if args.by == FRAMES else (_by_stream(args, ids), [])
    rows = [_row(pair, overlap) for pair in overlap.pairs]
    for row in rows if args.json else ():
        print(json.dumps(row))
    if rows and not args.json:
        value = "bits apart" if overlap.measure == "bits" else overlap.measure
        header = ["training video", "test video", "", value, "at", "at"]
        print_table("", header, [_cells(row, overlap.measure) for row in rows], words=3)
        print()
    (say if args.json else print_line)(_summary(overlap, args.by))
    if args.out is not None:
        _write(rows, overlap.measure, args.out)
    if len(rows) < overlap.found:
        say(f"{overlap.found - len(rows):,} further pairs are not listed: see --nearest")
    for each in failed[:FAILED_SHOWN]:
        complain(f"not compared: {each.video}: {each.failure}")
    if len(failed) > FAILED_SHOWN:
        complain(f"and {len(failed) - FAILED_SHOWN:,} more files could not be read")
    return FAILURES_LISTED if failed else DONE


def _sides(args: OverlapArgs) -> Sides:
    """The ids of training and of test videos."""
    from mee.data import read_videos
    from mee.near_duplicates import sides_of_annotations

    if args.train is not None and args.test is not None:
        return read_videos(args.train), read_videos(args.test)
    assert args.annotations is not None
    how: Any = {"partial": args.partial, "columns": args.columns}
    ids, shortfalls = sides_of_annotations(args.annotations, args.protocol, args.train_list, **how)
    for note in shortfalls:
        say(f"partial: {note}")
    return ids


def _by_frames(args: OverlapArgs, ids: Sides) -> tuple[Overlap, list[HashedVideo]]:
    """The overlap, and the files that could not be read."""
    from features.hashing import BITS, hash_videos
    from features.media import Selection, find_media
    from mee.near_duplicates import FRAME_THRESHOLD, FolderNames, Side, check_threshold, near_frames

    if (args.place / "store.json").is_file():
        raise InputError(
            f"'{args.place}' is a feature store, which has no frames; name the folder of videos, or compare one "
            "of its streams with --by STREAM"
        )
    threshold = FRAME_THRESHOLD if args.threshold is None else int(args.threshold)
    check_threshold(threshold, BITS)  # before the work
    library = find_media(args.place, Selection(audio_files=False))
    names = FolderNames(f"'{args.place}'", library.videos)
    train, test = _found(args, ids, names, "Name the folder they are in")
    videos = list(dict.fromkeys([*train, *test]))
    hashed = {}
    with counting_bar("read", "videos") as on_read:
        for each in hash_videos(library.root, videos, args.fps, args.workers or len(os.sched_getaffinity(0))):
            hashed[each.video] = each
            on_read(len(hashed), len(videos))
    sides = []
    for side in (train, test):
        found = [hashed[video] for video in side]
        labels, digests = [each.video for each in found], [each.sha256 for each in found]
        sides.append(Side.of(labels, digests, [each.hashes for each in found], [each.times for each in found]))
    with counting_bar("compare", "frame pairs") as on_done:
        overlap = near_frames(*sides, threshold=threshold, share=args.share, keep=args.nearest, on_done=on_done)
    return overlap, [hashed[video] for video in videos if hashed[video].failure]


def _by_stream(args: OverlapArgs, ids: Sides) -> Overlap:
    from features.store import FeatureStore
    from mee.data import video_contents
    from mee.near_duplicates import FEW, STREAM_THRESHOLD, near_streams

    store = FeatureStore(args.place)
    remedy = f"See mee store list {shlex.quote(str(args.place))} --failed, or extract them with mee precompute"
    train, test = _found(args, ids, store, remedy)
    clips = sum(len(clip_ids) for side in (train, test) for clip_ids in side.values())
    if clips < FEW:
        say(f"only {clips} clips are compared: the mean of so few is a poor estimate, so similarities are rough")
    if len(video_contents(store, [*train, *test])) < len({*train, *test}):
        say(f"{args.place} has no digest of some files, so a same file may count as alike only")
    threshold = STREAM_THRESHOLD if args.threshold is None else args.threshold
    with counting_bar("compare", "clips") as on_done:
        return near_streams(store, args.by, train, test, threshold=threshold, keep=args.nearest, on_done=on_done)


def _found(args: OverlapArgs, ids: Sides, source: ClipNames, remedy: str) -> Iterator[ClipsOfVideos]:
    """The videos of each side that were found."""
    from mee.near_duplicates import find_side

    for side, name in zip(ids, ("training", "test")):
        found, left_out = find_side(side, name, source, partial=args.partial, remedy=remedy)
        if left_out:
            say(f"partial: left out {len(left_out):,} missing {name} videos")
        yield found


def _summary(overlap: Overlap, by: str) -> str:
    """How much was found, of how much, and by which rule."""
    rule = f"'{by}' at least {overlap.threshold:g} similar"
    if overlap.measure == "bits":
        rule = f"frames at most {overlap.threshold:g} bits apart"
    same = sum(pair.why != "alike" for pair in overlap.pairs)
    of_these = f", {same:,} of those listed the same file or name" if same else ""
    have = "video has" if len(overlap.blank) == 1 else "videos have"
    blank = f" {len(overlap.blank):,} {have} nothing to compare but name and content." if overlap.blank else ""
    return (
        f"{len(overlap.leaked):,} of {overlap.test:,} test videos have a near-duplicate among {overlap.train:,} "
        f"training videos: {overlap.found:,} of {overlap.train * overlap.test:,} pairs ({rule}{of_these}).{blank}"
    )


def _row(pair: NearPair, overlap: Overlap) -> dict[str, Any]:
    value = None if pair.value is None else int(pair.value) if overlap.measure == "bits" else round(pair.value, 6)
    moments = [None if second is None else round(second, 3) for second in (pair.train_s, pair.test_s)]
    return {
        "train_video": pair.train, "test_video": pair.test, "why": pair.why, overlap.measure: value,
        "train_s": moments[0], "test_s": moments[1],
    }  # fmt: skip


def _cells(row: dict[str, Any], measure: str) -> list[str]:
    words, (value, *moments) = list(row.values())[:3], list(row.values())[3:]
    shown = "-" if value is None else f"{value:.{0 if measure == 'bits' else 3}f}"
    return [*words, shown, *("-" if second is None else clock(second) for second in moments)]


def _write(rows: Iterable[dict[str, Any]], measure: str, path: Path) -> None:
    """Write the pairs atomically."""
    import pandas as pd

    kinds: dict[str, Any] = dict.fromkeys(("train_video", "test_video", "why"), "string")
    kinds |= {measure: "Int64" if measure == "bits" else "Float64", "train_s": "Float64", "test_s": "Float64"}
    table = pd.DataFrame(list(rows), columns=list(kinds)).astype(kinds)
    write = table.to_csv if path.suffix.lower() == ".csv" else table.to_parquet
    with whole_file(path, "pairs") as aside:
        write(aside, index=False)
