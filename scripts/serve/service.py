"""Service: one index, searched for many at a time; what is asked while a search runs is searched together.

    submit -> queue -> batch -> one thread with the Searcher -> answers; between batches the index is refreshed

An answer is ranked once. Its hits are kept, and handed out page by page by token.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, final

from index import Hit, Request, Searcher, VideoHits
from mee.errors import InputError

Result = TypeVar("Result")
TOP = 200  # hits, or videos, that are ranked for one request
KEPT = 256  # answers


class Busy(Exception):
    """Too much is asked at once; ask again after `retry_s` seconds."""

    def __init__(self, retry_s: float) -> None:
        super().__init__("too many searches wait")
        self.retry_s = retry_s


class Gone(InputError):
    """A token is unknown, or its answer is not kept any more."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of an answer."""

    request: Request
    found: Sequence[Hit] | Sequence[VideoHits]  # of this page
    first: int  # the rank of the first of them, from 1
    count: int  # ranked in all, `request.top` at most
    next: str | None  # token of the following page
    before: str | None  # token of the page before
    weights: Mapping[str, float] = field(default_factory=dict)  # of the experts; {} of a list
    notes: Sequence[str] = ()  # sentences for the user, such as of words that the model never read


@final
class Service:
    """Searches for the app; made and used in one event loop."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._lock = asyncio.Lock()
        self._answers: OrderedDict[str, tuple[Request, Sequence[Hit] | Sequence[VideoHits], int]] = OrderedDict()

    async def __aenter__(self) -> Service:
        """Start the thread that searches."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer what waits with an error, and end the thread."""

    async def search(self, request: Request, *, size: int) -> Page:
        """Rank the best `request.top` (at most TOP), and return the first `size` of them.

        Raises:
            InputError: as `Searcher.search`.
            Busy: the queue is full.
        """
        found = (await self.run(lambda searcher: searcher.search([request])))[0]
        key = secrets.token_urlsafe(12)
        self._answers[key] = request, found, size
        return await self.page(f"{key}.0")

    async def page(self, token: str) -> Page:
        """A page of an answer that was ranked before.

        Raises:
            Gone: the token is not one that is known.
        """
        key, _, number = token.partition(".")
        if key not in self._answers or not number.isdecimal():
            raise Gone("this list of hits is not kept any more; search again")
        request, found, size = self._answers[key]
        start = int(number) * size
        return Page(
            request=request,
            found=found[start : start + size],
            first=start + 1,
            count=len(found),
            next=f"{key}.{int(number) + 1}" if start + size < len(found) else None,
            before=f"{key}.{int(number) - 1}" if start else None,
        )

    async def run(self, work: Callable[[Searcher], Result]) -> Result:
        """Do something with the searcher in its thread, between batches: facets, the facts of a clip."""
        async with self._lock:
            return await asyncio.to_thread(work, self.searcher)
