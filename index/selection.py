"""Selection: the clips that a request may find, and which words of theirs it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from index.request import STREAMS, Request
from index.video_index import Mask, Masks, VideoIndex
from mee.errors import InputError

Matching = Mapping[int, Mask]  # of experts of words, by number: which rows of a segment's words were asked for


def selection_of(request: Request, video_index: VideoIndex) -> tuple[Masks | None, Sequence[Matching]]:
    """The clips that a request may find, None: all; and of each segment the words that it asks for, if it does.

    Raises:
        InputError: its filter or its words do not fit the index, or its video or clip is not in it.
    """
    if request.where is not None or request.video is not None or request.words:  # else `rank` reads maps first
        video_index.snapshot.check()
    segments = video_index.snapshot.segments
    selection: Masks | None = None
    if request.where is not None:
        from index.filter import Filter

        selection = Filter.parse(request.where).masks([segment.table.arrow for segment in segments])
    if request.video is not None:
        selection = both(selection, video_index.of_videos([video_index.meant_video(request.video)]))
    if request.like is not None:  # but not the clip itself
        number, row = video_index.find(request.like)
        others = np.ones(len(segments[number].table), dtype=bool)
        others[row] = False
        selection = both(selection, [others if n == number else None for n in range(len(segments))])
    matching: list[dict[int, Mask]] = [{} for _ in segments]
    for name, words in request.words.items():
        if STREAMS[name] not in video_index.layout.words:
            raise InputError(
                f"the index has no words of a stream '{STREAMS[name]}', so --{name} cannot find any: extract it "
                f"(mee precompute VIDEOS STORE --streams {STREAMS[name]}), and make model and index again"
            )
        m = video_index.layout.names.index(STREAMS[name])
        masks = [np.zeros(len(segment.table), dtype=bool) for segment in segments]
        for segment, mask, found in zip(segments, masks, matching):
            if m in segment.words:
                found[m] = segment.words[m].containing(words)
                mask[segment.words[m].clip[found[m]]] = True
        selection = both(selection, masks)
    return selection, matching if request.words else []


def both(one: Masks | None, other: Masks) -> Masks:
    """The clips of both; None has all."""
    if one is None:
        return other
    return [b if a is None else a if b is None else a & b for a, b in zip(one, other)]
