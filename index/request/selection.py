"""Which clips of an index a search may find: for each segment a mask over the rows of its table, or None: all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError

if TYPE_CHECKING:
    from index.video_index import VideoIndex

Mask = NDArray[np.bool_]
Selection = Sequence[Mask | None]


def both(one: Selection | None, other: Selection | None) -> Selection | None:
    """What both let through; None lets everything through."""
    if one is None or other is None:
        return other if one is None else one
    return [b if a is None else a if b is None else a & b for a, b in zip(one, other)]


def of_videos(video_index: VideoIndex, videos: Collection[str], *, outside: bool = False) -> list[Mask]:
    """The clips of some videos, or of all others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array(sorted(videos), pa.string())
    masks = [pc.is_in(segment.table.arrow.column("video"), value_set=names) for segment in video_index.segments]
    return [np.asarray(mask.to_numpy(), dtype=bool) != outside for mask in masks]


def of_video(video_index: VideoIndex, video: str) -> Selection:
    """The clips of one video."""
    masks = of_videos(video_index, [video])
    live = (segment.live for segment in video_index.segments)
    if not any((mask if alive is None else mask & alive).any() for mask, alive in zip(masks, live)):
        raise InputError(f"there is no video {video!r} in the index")
    return masks


def without_clip(video_index: VideoIndex, clip_id: str) -> Selection:
    """All clips but one."""
    masks: list[Mask | None] = [None for _ in video_index.segments]
    for number, segment in enumerate(video_index.segments):
        row = segment.table.find(clip_id)
        if row is not None and (segment.live is None or segment.live[row]):
            mask = np.ones(len(segment.table.arrow), dtype=bool)
            mask[row] = False
            masks[number] = mask
            return masks
    raise no_clip(clip_id)


def no_clip(clip_id: str) -> InputError:
    """What to say where there is no such clip."""
    return InputError(f"there is no clip {clip_id!r} in the index; mee gallery list INDEX --clips lists its clips")
