"""Which videos are the training side and which the test side, and where they are.

caption table       its column split: train and test
named protocol      its training list, and its test gallery
two lists           one video a line, or a table (.csv, .parquet) with a column video_id
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from mee.annotations import FOLDER
from mee.captions import read_captions
from mee.errors import InputError
from mee.video_list import read_videos

if TYPE_CHECKING:
    import pandas as pd

    from mee.batch import Rows
    from mee.data import FeatureSource

SHOWN = 3  # names in a sentence


@final
@dataclass(frozen=True)
class SideIds:
    """The videos of both sides by the names that annotations call them, each once a side."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    shortfalls: tuple[str, ...] = ()  # how the annotations fall short of their protocol, a sentence each


@final
@dataclass(frozen=True)
class FoundVideos:
    """Videos of one side that are there: the place's own name -> the clips of it that are meant."""

    clip_ids: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]  # ids that lead to none


def sides_of_annotations(path: Path, protocol: str, train_list: str | None, *, partial: bool) -> SideIds:
    """The sides that annotations name.

    Args:
        path: a caption table; of a named protocol, the directory with its files.
        protocol: its name.
        train_list: one of the protocol's training lists; None takes its usual one.
        partial: go on where the files fall short of the protocol.

    Raises:
        InputError: the files cannot be used, or name no training or no test videos.
    """
    if protocol == FOLDER:
        table = read_captions(path)
        if "split" not in table:
            raise InputError(
                f"{path} has no column 'split', so nobody can say which videos are for training; add it, or name "
                "two lists with --train and --test"
            )
        train, test = (_once(table["video_id"][table["split"] == split]) for split in ("train", "test"))
        return _both(train, test, lambda side: f"{path} names no {side} videos")
    from mee.protocols.load import load_benchmark

    benchmark = load_benchmark(protocol, path, train_list=train_list, partial=partial)
    train = _once(benchmark.table["video_id"][benchmark.table["split"] == "train"])
    return _both(
        train,
        _once(benchmark.gallery),
        lambda side: f"{path} holds no captions of {protocol}'s {side} videos, which would say what they are",
        benchmark.shortfalls,
    )


def sides_of_lists(train: Path, test: Path) -> SideIds:
    """The sides that two lists name.

    Raises:
        InputError: a list cannot be read, or is empty.
    """
    return SideIds(read_videos(train), read_videos(test))


def find_sides(
    ids: SideIds, source: FeatureSource, *, partial: bool, remedy: str
) -> tuple[FoundVideos, FoundVideos]:
    """Find the videos of both sides in a store, or among the names of a folder (`VideoNames`).

    Args:
        ids: of both sides.
        source: where they should be.
        partial: leave out those that are not there, instead of refusing.
        remedy: what to do about those that are not there, for the message: "Name the folder that holds them".

    Returns:
        Those of training and those of test.

    Raises:
        InputError: a video is not there, or nothing of a side is left.
    """
    train, test = (_find(side, source) for side in (ids.train, ids.test))
    for found, side, name in ((train, ids.train, "training"), (test, ids.test, "test")):
        if found.left_out and not (partial and found.clip_ids):
            shown = ", ".join(f"'{video}'" for video in found.left_out[:SHOWN])
            more = f" and {len(found.left_out) - SHOWN:,} more" if len(found.left_out) > SHOWN else ""
            way = f"{remedy}, or go on without them with --partial" if found.clip_ids else remedy
            raise InputError(
                f"{len(found.left_out):,} of {len(side):,} {name} videos are not usable in {source.name}: "
                f"{shown}{more}. {way}"
            )
    return train, test


@final
class VideoNames:
    """The videos of a folder as a `FeatureSource` without streams: names alone, each video one clip."""

    dims: Mapping[str, int]
    fingerprints: Mapping[str, str]
    failed: Mapping[str, str]

    def __init__(self, name: str, videos: Sequence[str]) -> None:
        """``name``: what to call it in messages; ``videos``: paths below the folder."""
        self.name, self._videos = name, list(videos)
        self.dims, self.fingerprints, self.failed = {}, {}, {}

    @property
    def clips(self) -> pd.DataFrame:
        """Index clip_id; column video: the same."""
        import pandas as pd

        return pd.DataFrame({"video": self._videos}, index=pd.Index(self._videos, name="clip_id"))

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Rows | None]:
        """Raises KeyError: there are no streams."""
        raise KeyError(f"{self.name} has no stream '{modality}'")


def _find(ids: tuple[str, ...], source: FeatureSource) -> FoundVideos:
    from mee.pairs import find_videos

    try:
        found, left_out = find_videos(ids, source, partial=True)
    except InputError:  # none is there: said by the caller, who knows which side this is
        return FoundVideos({}, ids)
    clips: dict[str, dict[str, None]] = {}
    for video, clip_ids in (found[name] for name in ids if name in found):
        clips.setdefault(video, {}).update(dict.fromkeys(clip_ids))
    return FoundVideos({video: tuple(some) for video, some in clips.items()}, tuple(left_out))


def _both(
    train: tuple[str, ...], test: tuple[str, ...], wrong: Callable[[str], str], shortfalls: tuple[str, ...] = ()
) -> SideIds:
    """Both sides, neither of them empty; ``wrong``: what to say of an empty one."""
    for videos, side in ((train, "training"), (test, "test")):
        if not videos:
            raise InputError(f"{wrong(side)}; name two lists with --train and --test instead")
    return SideIds(train, test, shortfalls)


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
