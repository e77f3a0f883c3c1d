"""The videos of the training side and of the test side, and their clips in a store or files in a folder.

caption table     its column split: train and test
named protocol    its training list, and its test gallery
two lists         one video a line, or a table with a column video_id  (mee.data.tables.read_videos)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from mee.data import find_videos
from mee.errors import InputError
from mee.protocols import FOLDER, read_annotations

if TYPE_CHECKING:
    import pandas as pd

    from mee.data import ClipNames

Sides = tuple[tuple[str, ...], tuple[str, ...]]  # ids of training and of test videos
ClipsOfVideos = Mapping[str, tuple[str, ...]]  # a source's name of a video -> its clips that are compared


@final
@dataclass(frozen=True)
class FolderNames:
    """The videos of a folder by their paths in it, without streams; it fits `ClipNames`."""

    name: str
    videos: Sequence[str]
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def clips(self) -> pd.DataFrame:
        """Each video is one clip."""
        import pandas as pd

        return pd.DataFrame({"video": self.videos}, index=pd.Index(self.videos, name="clip_id"))


def sides_of_annotations(
    path: Path, protocol: str, train_list: str | None, *, partial: bool, columns: Mapping[str, str] | None = None
) -> tuple[Sides, tuple[str, ...]]:
    """The ids of training and of test videos that annotations name, and how they fall short of the protocol.

    The arguments are those of `read_annotations`.

    Raises:
        InputError: the files cannot be used, or name no training or no test videos.
    """
    annotations = read_annotations(
        path, protocol=protocol, train_list=train_list, partial=partial, columns=columns
    )
    table = annotations.table
    if "split" not in table:
        lacking = "no column 'split', which says which videos are for training"
        raise InputError(f"{path} has {lacking}; add it, or name two lists with --train and --test")
    train, test = (tuple(table["video_id"][table["split"] == split].unique()) for split in ("train", "test"))
    test = test if protocol == FOLDER else annotations.gallery
    for videos, side in ((train, "training"), (test, "test")):
        if not videos:
            raise InputError(f"{path} names no {side} videos; name two lists with --train and --test instead")
    return (train, test), annotations.shortfalls


def find_side(
    ids: Sequence[str], side: str, source: ClipNames, *, partial: bool, remedy: str
) -> tuple[ClipsOfVideos, list[str]]:
    """The source's name of each video of a side, and its clips; and the ids that were left out.

    As `find_videos`; `side`: training or test.
    """
    words = {"what": f"{side} videos", "remedy": remedy, "place": "it"}
    found, left_out = find_videos(ids, source, partial=partial, **words)
    clips: dict[str, dict[str, None]] = {}
    for video, clip_ids in (found[name] for name in ids if name in found):
        clips.setdefault(video, {}).update(dict.fromkeys(clip_ids))
    return {video: tuple(some) for video, some in clips.items()}, left_out
