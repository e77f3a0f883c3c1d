"""Requests -> queries: what is asked for, as vectors and mixture logits.

A sentence is read by the model. A clip that others should be like is its own query: its vectors as they are, each
of its experts counting the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from index.queries import Queries
from index.request.request import Request
from index.request.selection import no_clip
from mee.encode import encode_captions
from mee.errors import InputError, did_you_mean
from mee.layout import Layout

if TYPE_CHECKING:
    from index.video_index import VideoIndex
    from mee.model import MEE


def queries_of(requests: Sequence[Request], video_index: VideoIndex, model: MEE) -> list[Queries]:
    """One query a request.

    Args:
        requests: any.
        video_index: where clips are looked up that others should be like.
        model: reads the sentences, each once.
    """
    sentences = list(dict.fromkeys(sentence for request in requests for sentence in request.sentences))
    text = Queries.of(encode_captions(model, sentences)) if sentences else None
    row_of = {sentence: row for row, sentence in enumerate(sentences)}
    found = []
    for request in requests:
        check_experts(request, video_index.layout)
        shares = [1.0] * (request.sentence is not None) + [weight for weight, _ in request.also]
        rows = [row_of[sentence] for sentence in request.sentences]
        terms = [(share, text.part(slice(row, row + 1))) for share, row in zip(shares, rows)] if text else []
        if request.like is not None:
            terms.append((1.0, clip_query(request.like, video_index)))
        found.append(_heard(Queries.mixture(terms), request, video_index.layout))
    return found


def clip_query(clip_id: str, video_index: VideoIndex) -> Queries:
    """A clip as a query."""
    if video_index.snapshot.find(clip_id) is None:
        raise no_clip(clip_id)
    try:
        packed, available = video_index.embedding(clip_id)
    except KeyError:
        raise InputError(f"clip {clip_id!r} has no stream, so nothing can be like it") from None
    logits = np.where(available, 0.0, -np.inf)
    return Queries(packed[None, None], logits[None, None], np.ones((1, 1)))


def stacked(queries: Sequence[Queries]) -> Queries:
    """Several queries as one; where one has fewer terms than another, the rest count 0."""
    terms = max(query.share.shape[1] for query in queries)

    def joined(name: str) -> NDArray[Any]:
        arrays = [getattr(query, name) for query in queries]
        missing = [[(0, 0), (0, terms - array.shape[1]), (0, 0)][: array.ndim] for array in arrays]
        return np.concatenate([np.pad(array, lacks) for array, lacks in zip(arrays, missing)])

    return Queries(joined("packed"), joined("logits"), joined("share"))


def check_experts(request: Request, layout: Layout) -> None:
    """See that the experts of a request are there."""
    for name in (*request.only, *request.weights):
        if name not in layout.names:
            there = ", ".join(layout.names)
            raise InputError(f"there is no expert {name!r}{did_you_mean(name, layout.names)}; there are {there}")


def _heard(query: Queries, request: Request, layout: Layout) -> Queries:
    """The same query with the experts that the request wants to hear."""
    if request.weights:
        query = query.weighted(request.weights, layout)
    if request.only:
        query = query.only([name in request.only for name in layout.names])
    if not np.isfinite(query.logits).any(-1).all():  # a clip's term; a sentence speaks to all experts
        raise InputError(
            f"clip {request.like!r} has none of the experts that are listened to, so nothing can be like it"
        )
    return query
