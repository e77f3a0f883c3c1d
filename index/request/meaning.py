"""Meaning: what requests mean in an index: their query vectors.

A sentence is encoded by the text side. A clip that others should be like is its own query: its vectors as they
are, with equal weights for its experts; so is an example, whose vectors were made of a file from outside. Marks of
clips change the query (feedback.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING, final

import numpy as np

from index.queries import Queries
from index.request.request import Request
from mee.errors import InputError, did_you_mean
from mee.layout import Layout

if TYPE_CHECKING:
    from index.request.feedback import Bank
    from index.storage import Snapshot
    from index.text_side import Text
    from index.video_index import VideoIndex

HELD = 256  # sentences whose queries are kept


@final
class Meaning:
    """Makes the queries of requests for an index."""

    def __init__(self, video_index: VideoIndex, text: Text) -> None:
        self.video_index, self.text = video_index, text
        self.examples: dict[str, Queries] = {}  # of files from outside, by the names that requests give them
        self._bank: tuple[Snapshot, Bank] | None = None
        self._held: tuple[Snapshot, dict[str, tuple[Queries, Queries]]] = video_index.snapshot, {}

    def of(self, requests: Sequence[Request], *, again: bool = False) -> list[Queries]:
        """A single query for each request that is scored; each sentence is encoded once.

        again: the sentences of the last searches mean what they meant then, and are not encoded again.

        Raises:
            InputError: an expert, a clip or an example is not there, or nothing is left to compare by.
        """
        layout = self.video_index.layout
        sentences = list(dict.fromkeys(sentence for request in requests for sentence in request.sentences))
        plain, text = self._encoded(sentences, again) if sentences else (None, None)
        reached = layout.names if plain is None else [*compress(layout.names, np.isfinite(plain.logits[0, 0]))]
        for request in requests:
            check_experts(request, layout)
            used = [
                name
                for name in request.only or layout.names
                if not request.weights or request.weights.get(name, 0) > 0
            ]
            if request.sentences and not set(used) & set(reached):
                others = f"give a clip alone (--like), or search by {' or '.join(reached)}, too"
                raise InputError(f"no sentence reaches {', '.join(used)}: {others}")
        row_of = {sentence: row for row, sentence in enumerate(sentences)}
        queries = []
        for request in requests:
            weights = [1.0] * (request.sentence is not None) + [weight for weight, _ in request.also]
            rows = [row_of[sentence] for sentence in request.sentences]
            terms = [(weight, text.part(slice(row, row + 1))) for weight, row in zip(weights, rows) if text]
            if request.like is not None:
                terms.append((1.0, self.video_index.clip_query(request.like)))
            if request.example is not None:
                if request.example not in self.examples:
                    raise InputError("the example is not kept any more; give the file again")
                terms.append((1.0, self.examples[request.example]))
            query = Queries.mixture(terms) if terms else None
            if query is not None and request.weights:
                query = query.weighted(request.weights, layout)
            if query is not None and request.only:
                query = query.only([name in request.only for name in layout.names])
            compared = np.isfinite(query.logits[0]).any(-1) if query is not None else []  # by each term
            if request.like is not None and not compared[len(weights)]:
                words = "has none of the experts that the search uses, so nothing can be like it"
                raise InputError(f"clip {request.like!r} {words}")
            if request.example is not None and not compared[len(weights) + (request.like is not None)]:
                raise InputError("the example has none of the experts that the search uses; give another file")
            if query is None or request.good or request.bad or request.closer:
                query = self._marked(query, request)
            queries.append(query)
        return queries

    def _marked(self, query: Queries | None, request: Request) -> Queries:
        """A query with the marks of its request; the bank is that of the index as it is."""
        from index.request.feedback import Bank, with_marks  # here: most searches have no marks

        if self._bank is None or self._bank[0] is not self.video_index.snapshot:
            self._bank = self.video_index.snapshot, Bank(self.video_index)
        return with_marks(query, request, self.video_index, self._bank[1])

    def _encoded(self, sentences: Sequence[str], again: bool) -> tuple[Queries, Queries]:
        """Sentences as `Text.encode` has them and as `encode`; again: those of the last searches as they were."""
        if self._held[0] is not self.video_index.snapshot:
            self._held = self.video_index.snapshot, {}
        held = self._held[1]
        if again and all(sentence in held for sentence in sentences):
            plain, text = zip(*(held[sentence] for sentence in sentences))
            return Queries.stacked(plain), Queries.stacked(text)
        whole = self.text.encode(sentences)
        scaled = self.video_index.scaled(whole)
        for row, sentence in enumerate(() if self.video_index.missing else sentences[:HELD]):
            held.pop(sentence, None)
            held[sentence] = whole.part(np.array([row])), scaled.part(np.array([row]))
        for sentence in list(held)[:-HELD]:
            del held[sentence]
        return whole, scaled


def check_experts(request: Request, layout: Layout) -> None:
    """Refuse experts that the model does not have."""
    for name in (*request.only, *request.weights):
        if name not in layout.names:
            known = ", ".join(layout.names)
            raise InputError(f"there is no expert {name!r}{did_you_mean(name, layout.names)}; there are {known}")
