"""List test videos that training has seen, or nearly: the same file, a re-encoded copy, a part of a video.

example:
  mee overlap videos/ captions.csv
  mee overlap videos/ --train train.txt --test test.txt --out pairs.csv
  mee overlap videos/ annotations/ --protocol msrvtt-1ka --train-list 9k
  mee overlap store/ captions.csv --by appearance --threshold 0.9

By frames, VIDEOS is a folder of video files: their pictures are compared, which takes no model. By a stream, STORE
is a feature store: its clips are compared by what the stream's extractor sees, so that the same scene filmed twice
is found too. Sides: the column split of a caption table, a named protocol, or two lists. Exit code 3: some files
could not be read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from scripts.console import DONE, FAILURES_LISTED, complain, counting_bar, errors_as_sentences, parse, say

if TYPE_CHECKING:
    from features.frame_hashes import HashedVideo
    from mee.near_duplicates.near_frames import FrameHashes
    from mee.near_duplicates.overlap import Overlap
    from mee.near_duplicates.overlap_sides import FoundVideos, SideIds

FRAMES = "frames"
FAILED_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class OverlapArgs:
    """Arguments of mee overlap."""

    place: Annotated[Positional[Path], arg(metavar="VIDEOS|STORE")]  # by frames a folder, by a stream a store
    # table of video_id, caption, split; with --protocol the directory of its files
    annotations: Annotated[Positional[Path | None], arg(metavar="[ANNOTATIONS]")] = None
    by: str = FRAMES  # frames, or the name of one of the store's streams
    protocol: str = "folder"  # of the annotations
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
    overwrite: bool = False  # put it in the place of what is there
    json: bool = False  # print one JSON object a pair
    partial: bool = False  # go on without videos that are not there
    workers: int | None = None  # by frames: processes that decode; default: one a core

    def __post_init__(self) -> None:
        lists = (self.train is not None) + (self.test is not None)
        if lists == 1 or (lists == 2) == (self.annotations is not None):
            raise ValueError("name ANNOTATIONS, or both --train and --test")
        if lists and (self.protocol != "folder" or self.train_list is not None):
            raise ValueError("--protocol and --train-list go with ANNOTATIONS, not with --train and --test")
        if self.train_list is not None and self.protocol == "folder":
            raise ValueError(
                "--train-list goes with --protocol NAME; a table of one's own says it in column split"
            )
        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, got {self.fps}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")
        if self.nearest < 1:
            raise ValueError(f"nearest must be at least 1, got {self.nearest}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.by == FRAMES and self.threshold is not None and not self.threshold.is_integer():
            raise ValueError(f"by frames, threshold counts whole bits, got {self.threshold}")


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(OverlapArgs, "overlap", argv, __doc__ or "")

    from scripts.overlap_tables import check_out, print_overlap, write_overlap

    if args.out is not None:
        check_out(args.out, overwrite=args.overwrite)
    ids = _sides(args)
    overlap, failed = _by_frames(args, ids) if args.by == FRAMES else (_by_stream(args, ids), [])
    for note in ids.shortfalls:
        say(f"partial: {note}")
    print_overlap(overlap, args.by, as_json=args.json)
    if args.out is not None:
        write_overlap(overlap, args.out)
    if len(overlap.pairs) < overlap.found:
        say(f"{overlap.found - len(overlap.pairs):,} further pairs are not listed: see --nearest")
    for each in failed[:FAILED_SHOWN]:
        complain(f"not compared: {each.video}: {each.failure}")
    if len(failed) > FAILED_SHOWN:
        complain(f"and {len(failed) - FAILED_SHOWN:,} more files could not be read")
    return FAILURES_LISTED if failed else DONE


def _sides(args: OverlapArgs) -> SideIds:
    from mee.near_duplicates.overlap_sides import sides_of_annotations, sides_of_lists

    if args.train is not None and args.test is not None:
        return sides_of_lists(args.train, args.test)
    assert args.annotations is not None
    return sides_of_annotations(args.annotations, args.protocol, args.train_list, partial=args.partial)


def _by_frames(args: OverlapArgs, ids: SideIds) -> tuple[Overlap, list[HashedVideo]]:
    """What is found, and the files that could not be read."""
    from features.errors import InputError
    from features.media_library import find_media
    from features.picture_hash import BITS
    from mee.near_duplicates.near_frames import THRESHOLD, check_threshold, near_frames
    from mee.near_duplicates.overlap_sides import VideoNames, find_sides

    if (args.place / "store.json").is_file():
        raise InputError(
            f"'{args.place}' is a feature store, which holds no frames; name the folder of videos, or compare one "
            "of its streams with --by STREAM"
        )
    threshold = THRESHOLD if args.threshold is None else int(args.threshold)
    check_threshold(threshold, BITS)  # before the work
    library = find_media(args.place)
    train, test = find_sides(
        ids,
        VideoNames(f"'{args.place}'", library.videos),
        partial=args.partial,
        remedy="Name the folder that holds them",
    )
    _say_left_out(train, test)
    videos = list(dict.fromkeys([*train.clip_ids, *test.clip_ids]))
    hashed = _hashed(args, library.root, videos)
    with counting_bar("compare", "frame pairs") as on_done:
        overlap = near_frames(
            _frames(train, hashed),
            _frames(test, hashed),
            threshold=threshold,
            share=args.share,
            keep=args.nearest,
            on_done=on_done,
        )
    return overlap, [hashed[video] for video in videos if hashed[video].failure]


def _hashed(args: OverlapArgs, root: Path, videos: Sequence[str]) -> dict[str, HashedVideo]:
    from features.frame_hashes import hash_videos

    hashed = {}
    with counting_bar("read", "videos") as on_done:
        for each in hash_videos(root, videos, args.fps, args.workers or len(os.sched_getaffinity(0))):
            hashed[each.video] = each
            on_done(len(hashed), len(videos))
    return hashed


def _frames(found: FoundVideos, hashed: dict[str, HashedVideo]) -> FrameHashes:
    from mee.near_duplicates.near_frames import FrameHashes

    some = [hashed[video] for video in found.clip_ids]
    return FrameHashes.of(
        tuple(found.clip_ids),
        tuple(each.sha256 for each in some),
        [each.hashes for each in some],
        [each.times for each in some],
    )


def _by_stream(args: OverlapArgs, ids: SideIds) -> Overlap:
    from features.store import FeatureStore
    from mee.near_duplicates.near_streams import FEW, THRESHOLD, ClipsOfVideos, near_streams
    from mee.near_duplicates.overlap import Side
    from mee.near_duplicates.overlap_sides import find_sides

    store = FeatureStore(args.place)
    found = find_sides(
        ids,
        store,
        partial=args.partial,
        remedy=f"See mee store list {args.place} --failed, or extract them with mee precompute",
    )
    _say_left_out(*found)
    known = store.clips["file_sha256"].fillna("").groupby(store.clips["video"]).first()
    train, test = (
        ClipsOfVideos(
            Side(tuple(side.clip_ids), tuple(known.reindex(list(side.clip_ids)))), tuple(side.clip_ids.values())
        )
        for side in found
    )
    clips = sum(len(clip_ids) for side in (train, test) for clip_ids in side.clip_ids)
    if clips < FEW:
        say(f"only {clips} clips are compared: what they all share is not well known, so similarities are rough")
    if not all((*train.side.digests, *test.side.digests)):
        say(f"{args.place} does not know the content of every file, so a same file may count as alike only")
    threshold = THRESHOLD if args.threshold is None else args.threshold
    with counting_bar("compare", "clips") as on_done:
        return near_streams(store, args.by, train, test, threshold=threshold, keep=args.nearest, on_done=on_done)


def _say_left_out(train: FoundVideos, test: FoundVideos) -> None:
    for found, name in ((train, "training"), (test, "test")):
        if found.left_out:
            say(f"partial: left out {len(found.left_out):,} {name} videos that are not there")


if __name__ == "__main__":
    sys.exit(main())
