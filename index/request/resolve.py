"""What a request means in an index: its query vectors, and the clips that it may find.

A sentence is encoded by the model. A clip that others should be like is its own query: its vectors as they are,
with equal weights for its experts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.queries import Queries
from index.request.request import Request
from mee.encode import encode_captions
from mee.errors import InputError, did_you_mean
from mee.layout import Layout

if TYPE_CHECKING:
    from index.video_index import VideoIndex
    from mee.model import MEE

Mask = NDArray[np.bool_]
Selection = Sequence[Mask | None]  # for each segment which rows of its table may be found; None: all


def queries_of(requests: Sequence[Request], video_index: VideoIndex, model: MEE) -> list[Queries]:
    """A single query for each request.

    Args:
        requests: any.
        video_index: has the clips that others should be like.
        model: encodes the sentences, each once.
    """
    sentences = list(dict.fromkeys(sentence for request in requests for sentence in request.sentences))
    text = Queries.of(encode_captions(model, sentences)) if sentences else None
    row_of = {sentence: row for row, sentence in enumerate(sentences)}
    queries = []
    for request in requests:
        check_experts(request, video_index.layout)
        weights = [1.0] * (request.sentence is not None) + [weight for weight, _ in request.also]
        rows = [row_of[sentence] for sentence in request.sentences]
        terms = [(weight, text.part(slice(row, row + 1))) for weight, row in zip(weights, rows)] if text else []
        if request.like is not None:
            terms.append((1.0, clip_query(request.like, video_index)))
        queries.append(_with_experts(Queries.mixture(terms), request, video_index.layout))
    return queries


def clip_query(clip_id: str, video_index: VideoIndex) -> Queries:
    """A clip as a query."""
    if video_index.snapshot.find(clip_id) is None:
        raise _no_clip(clip_id)
    try:
        packed, available = video_index.embedding(clip_id)
    except KeyError:
        raise InputError(f"clip {clip_id!r} has no stream, so nothing can be like it") from None
    logits = np.where(available, 0.0, -np.inf)
    return Queries(packed[None, None], logits[None, None], np.ones((1, 1)))


def check_experts(request: Request, layout: Layout) -> None:
    """Refuse experts that the model does not have."""
    for name in (*request.only, *request.weights):
        if name not in layout.names:
            known = ", ".join(layout.names)
            raise InputError(f"there is no expert {name!r}{did_you_mean(name, layout.names)}; there are {known}")


def _with_experts(query: Queries, request: Request, layout: Layout) -> Queries:
    """The same query with the experts and weights of the request."""
    if request.weights:
        query = query.weighted(request.weights, layout)
    if request.only:
        query = query.only([name in request.only for name in layout.names])
    if not np.isfinite(query.logits).any(-1).all():  # of a clip's term; sentences have weights for all experts
        raise InputError(
            f"clip {request.like!r} has none of the experts that the search uses, so nothing can be like it"
        )
    return query


def selection_of(request: Request, video_index: VideoIndex) -> Selection | None:
    """The clips that a request may find; None: all.

    Raises:
        InputError: its filter does not fit the index, or its video or clip is not in it.
    """
    selection: Selection | None = None
    if request.where is not None:
        from index.request.filter import Filter

        selection = Filter.parse(request.where).masks([segment.table.arrow for segment in video_index.segments])
    if request.video is not None:
        masks = select_videos(video_index, [request.video])
        live = [segment.live for segment in video_index.segments]
        if all(mask is None or not mask.any() for mask in _both(live, masks)):
            raise InputError(f"there is no video {request.video!r} in the index")
        selection = _both(selection, masks)
    if request.like is not None:
        selection = _both(selection, _without_clip(video_index, request.like))
    return selection


def select_videos(
    video_index: VideoIndex,
    videos: Collection[str],
    *,
    others: bool = False,
    within: Selection | None = None,
) -> Selection:
    """The clips of some videos, or of all others, within a selection."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array(sorted(videos), pa.string())
    masks = [pc.is_in(segment.table.arrow.column("video"), value_set=names) for segment in video_index.segments]
    return _both(within, [np.asarray(mask.to_numpy(), dtype=bool) != others for mask in masks])


def _without_clip(video_index: VideoIndex, clip_id: str) -> Selection:
    """All clips but one."""
    found = video_index.snapshot.find(clip_id)
    if found is None:
        raise _no_clip(clip_id)
    number, row = found
    mask = np.ones(len(video_index.segments[number].table), dtype=bool)
    mask[row] = False
    return [mask if n == number else None for n in range(len(video_index.segments))]


def _both(one: Selection | None, other: Selection) -> Selection:
    """The clips of both; None has all."""
    if one is None:
        return other
    return [b if a is None else a if b is None else a & b for a, b in zip(one, other)]


def _no_clip(clip_id: str) -> InputError:
    return InputError(f"there is no clip {clip_id!r} in the index; mee gallery list INDEX --clips lists its clips")
