"""Service: one index, searched for many at a time; what is asked while a search runs is searched together.

    search, run -> queue -> a turn: read a changed index again, search a batch, do other work -> answers

Turns run one after another in a single thread, which alone searches; all else lives in the event loop. An answer
is ranked once. Its hits are kept, and handed out page by page by token, whatever becomes of the index. An index
that was made again with another model is opened beside the searches, in a thread of its own, and then takes the
place of the one before. Where there is no index yet, each turn looks for one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, final

from index import Hit, Request, Searcher, VideoHits
from mee.errors import InputError, Unavailable, missing_shards
from scripts.search import why_none
from scripts.serve.asked import check_size
from scripts.serve.metrics import Metrics

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Found = Sequence[Hit] | Sequence[VideoHits]
BATCH = 64  # sentences that are searched together
QUEUE = 256  # searches and other work that wait
KEPT, KEPT_BYTES = 256, 64 << 20  # answers
HIT_BYTES = 2000  # of a hit without its names and words
PAUSES = 8  # parts of a turn; the next one may wait for half of them
AGAIN_S = 2.0  # between attempts to read an index that could not be read
STOPS = "the server stops"
NOT_YET = "nothing can be searched for yet; the first moments come within a minute"
TOKEN = re.compile(r"([A-Za-z0-9_-]{16})\.([0-9]{1,4})")


class Busy(Exception):
    """Too much is asked at once; ask again after `retry_s` seconds."""

    def __init__(self, retry_s: float, why: str = "too many searches wait") -> None:
        super().__init__(why)
        self.retry_s = retry_s


class NotYet(Busy):
    """There is no index yet."""

    def __init__(self) -> None:
        super().__init__(AGAIN_S, NOT_YET)


class Gone(InputError):
    """A token is unknown, or its answer is not kept any more."""


KINDS = {Busy: "busy", InputError: "input", asyncio.CancelledError: "cancelled"}  # of errors


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of an answer."""

    request: Request
    found: Found  # of this page
    first: int = 1  # the rank of the first of them
    count: int  # ranked in all, `request.top` at most
    next: str | None = None  # token of the following page
    before: str | None = None  # token of the page before
    weights: Mapping[str, float] = field(default_factory=dict)  # of the experts; {} of a list
    weights_before: Mapping[str, float] = field(default_factory=dict)  # those marks; {}: there are none
    missing: Sequence[str] = ()  # shards without whose part it is, as they did not answer
    notes: Sequence[str] = ()  # sentences for the user, such as of words that the model never read


@dataclass(frozen=True, eq=False)
class _Job:
    """A request, or other work, and who waits for it."""

    asked: Request | Callable[[Searcher], Any]
    future: asyncio.Future[Any]

    def end(self, outcome: Any) -> None:
        """Hand over a result or an error, unless nobody waits any more."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


@final
class Service:
    """Searches for the app, within `async with` and one event loop."""

    def __init__(self, searcher: Searcher | None, *, reload: Callable[[], Searcher] | None = None) -> None:
        """searcher: None: there is no index yet; reload: opens it, also where its model is another now."""
        self.searcher, self.metrics = searcher, Metrics()
        self._reload = reload
        self._stale, self._tried = "", -AGAIN_S  # why the index could not be read again, and when that was
        self._opening: Future[Searcher] | None = None  # the index as it was made again
        self._queue: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._taken, self._pace = 0, 0.01  # jobs of the current turn; seconds of a job, of late
        self._kept: OrderedDict[str, tuple[Page, int, int]] = OrderedDict()  # whole; hits of a page; bytes
        self._thread: ThreadPoolExecutor | None = None
        self._opener: ThreadPoolExecutor | None = None
        self._turns: asyncio.Task[None] | None = None  # None: it does not run
        self.metrics.gauge("mee_queue_depth", lambda: len(self._queue))
        self.metrics.gauge("mee_answers_kept", lambda: len(self._kept))
        self.metrics.gauge("mee_index_generation", lambda: self._size[0])
        self.metrics.gauge("mee_index_clips", lambda: self._size[1])
        self.metrics.gauge("mee_index_stale", lambda: int(bool(self._stale)))
        self.metrics.gauge("mee_shards_missing", lambda: len(getattr(self._remote, "missing", ())))

    async def __aenter__(self) -> Service:
        """Start the thread that searches, and the one that opens an index meanwhile."""
        self._thread, self._opener = ThreadPoolExecutor(1, "search"), ThreadPoolExecutor(1, "open")
        self._turns = asyncio.create_task(self._take_turns())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer what waits with Busy, and end the thread, when its turn is over."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.cancel()
            await asyncio.wait([turns])
            for thread in filter(None, (self._thread, self._opener)):
                await asyncio.to_thread(thread.shutdown)

    async def search(self, request: Request, *, size: int) -> Page:
        """Rank the best `request.top` (at most TOP), and return the first `size` of them.

        Raises:
            InputError: as `Searcher.search`, or the request is larger than what is answered here.
            Busy: the queue is full, or the server stops.
        """
        begun = time.perf_counter()
        try:
            check_size(request, size)
            whole: Page = await self._outcome(request)
        except BaseException as error:
            kind = next((name for each, name in KINDS.items() if isinstance(error, each)), "failed")
            self.metrics.count("mee_errors_total", kind=kind)
            raise
        self.metrics.count("mee_searches_total")
        if whole.missing:
            self.metrics.count("mee_partial_answers_total")
        self.metrics.observe("mee_search_seconds", time.perf_counter() - begun)
        key = secrets.token_urlsafe(12)
        self._kept[key] = whole, size, _size_of(whole)
        while len(self._kept) > 1 and (len(self._kept) > KEPT or self._bytes > KEPT_BYTES):
            self._kept.popitem(last=False)
        return self._page(key, 0)

    async def page(self, token: str) -> Page:
        """A page of an answer that was ranked before.

        Raises:
            Gone: the token is not one that is known.
        """
        parts = TOKEN.fullmatch(token)
        whole, size, _ = self._kept.get(parts[1], (None, 0, 0)) if parts else (None, 0, 0)
        if not parts or whole is None or (number := int(parts[2])) * size >= max(1, whole.count):
            raise Gone("this list of hits is not kept any more; search again")
        self._kept.move_to_end(parts[1])
        return self._page(parts[1], number)

    async def run(self, work: Callable[[Searcher], Result]) -> Result:
        """Do something with the searcher in its thread, after a batch: facets, the facts of a clip.

        Raises:
            Busy: the queue is full, or the server stops.
        """
        result: Result = await self._outcome(work)
        return result

    def health(self) -> dict[str, Any]:
        """Whether searches are answered: ok, generation, clips, and why not, or not of the index as it is."""
        ok = self._turns is not None and not self._turns.done()
        why = STOPS if not ok else NOT_YET if self.searcher is None else self._stale
        return {"ok": ok, "generation": self._size[0], "clips": self._size[1], "why": why}

    def need(self) -> Searcher:
        """The searcher of now; NotYet where there is none."""
        if self.searcher is None:
            raise NotYet
        return self.searcher

    @property
    def _remote(self) -> Any:
        return self.searcher and self.searcher.video_index.remote

    @property
    def _size(self) -> tuple[int, int]:
        """Generation and clips of the index."""
        index = self.searcher and self.searcher.video_index
        return (0, 0) if index is None else (index.snapshot.generation, len(index))

    def _page(self, key: str, number: int) -> Page:
        whole, size, _ = self._kept[key]
        stop = (number + 1) * size
        after = f"{key}.{number + 1}" if stop < whole.count else None
        before = f"{key}.{number - 1}" if number else None
        first = number * size
        return replace(whole, found=whole.found[first:stop], first=first + 1, next=after, before=before)

    @property
    def _bytes(self) -> int:
        return sum(size for _, _, size in self._kept.values())

    # ---- the queue

    async def _outcome(self, asked: Request | Callable[[Searcher], Any]) -> Any:
        """Of a job; who is cancelled leaves the queue."""
        if self._turns is None:
            raise Busy(self._wait_s, STOPS)
        if len(self._queue) >= QUEUE:
            raise Busy(self._wait_s)
        job = _Job(asked, asyncio.get_running_loop().create_future())
        self._queue.append(job)
        self._arrived.set()
        try:
            return await job.future
        except asyncio.CancelledError:
            with suppress(ValueError):  # its turn has begun
                self._queue.remove(job)
            raise

    @property
    def _wait_s(self) -> float:
        """Until all that waits now is answered, by the pace of late."""
        return (len(self._queue) + self._taken) * self._pace

    async def _gathered(self, before: int, seconds: float) -> None:
        """Wait while those who were answered together ask again, at most half as long as that turn took.

        Requests are read one by one: else the first is searched alone, and the others compete with its search.
        """
        await self._arrived.wait()
        there = 0
        for _ in range(PAUSES // 2 if before > 1 else 0):
            if there < len(self._queue) < BATCH:
                there = len(self._queue)
                await asyncio.sleep(seconds / PAUSES)

    async def _take_turns(self) -> None:
        jobs: list[_Job] = []
        took = 0.0
        try:
            while True:
                await self._gathered(len(jobs), took)
                jobs, size = [], 0
                while self._queue and size < BATCH:
                    jobs.append(self._queue.popleft())
                    size += len(jobs[-1].asked.sentences) if isinstance(jobs[-1].asked, Request) else 1
                if not self._queue:
                    self._arrived.clear()
                begun, self._taken = time.perf_counter(), len(jobs)
                try:
                    await self._turn(jobs)
                except Exception as error:  # a fault of ours; the next turns go on
                    log.exception("a batch failed")
                    for job in jobs:
                        job.end(error)
                self._taken, took = 0, time.perf_counter() - begun
                self._pace += 0.2 * (took / max(1, len(jobs)) - self._pace)
        finally:
            for job in [*jobs, *self._queue]:
                job.end(Busy(self._wait_s, STOPS))

    async def _turn(self, jobs: Sequence[_Job]) -> None:
        """Answer some jobs: requests together, equal ones once, then other work."""
        do = partial(asyncio.get_running_loop().run_in_executor, self._thread)
        together: dict[tuple[object, ...], list[_Job]] = {}
        requests = []
        for job in jobs:
            if isinstance(request := job.asked, Request) and not job.future.done():
                its = together.setdefault(_same(request), [])
                requests += [] if its else [request]
                its.append(job)
        outcomes = await do(self._answers_now, requests)
        for outcome, its in zip(outcomes, together.values()):
            for job in its:
                job.end(outcome)
        if requests:
            self.metrics.count("mee_batches_total")
            self.metrics.observe("mee_batch_size", sum(map(len, together.values())))
        for job in jobs:
            if not isinstance(work := job.asked, Request) and not job.future.done():
                try:
                    job.end(await do(self._whole, work))
                except Exception as error:
                    job.end(error)

    # ---- in the thread

    def _answers_now(self, requests: Sequence[Request]) -> list[Page | Exception]:
        """Of the index as it is now; where it cannot be read, as it was."""
        well = self.searcher is not None and not self._stale
        if well or self._opening is not None or time.monotonic() - self._tried >= AGAIN_S:
            try:
                self._read_again()
            except Exception as error:
                self._tried = time.monotonic()
                if self.searcher is not None:
                    log.warning("the index has changed and cannot be read again: %s", error)
                    self._stale = str(error) or type(error).__name__
        if self.searcher is None:
            return [NotYet() for _ in requests]
        return self._answers(requests) if requests else []

    def _read_again(self) -> None:
        if self._opening is not None:
            if not self._opening.done():
                return
            opening, self._opening = self._opening, None
            self.searcher = opening.result()
        if self.searcher is None:
            self.searcher = self._opened()
        try:
            self.searcher.refresh()
        except InputError:
            if self._reload is None or self._opener is None:
                raise
            self._opening = self._opener.submit(self._opened)
            return
        self._stale = ""

    def _opened(self) -> Searcher:
        """The index, opened anew; its first search, which is slow, is over."""
        if self._reload is None:
            raise InputError(NOT_YET)
        found = self._reload()
        with suppress(InputError):
            found.search([Request(sentence="a dog")])
        return found

    def _whole(self, work: Callable[[Searcher], Result]) -> Result:
        """Other work, which has no use for parts of an answer."""
        missing = self.need().video_index.missing
        missing.clear()
        result = work(self.need())
        if missing:
            raise Unavailable(f"{missing_shards(missing)}; search again in a few seconds")
        return result

    def _answers(self, requests: Sequence[Request]) -> list[Page | Exception]:
        """An answer, or its own error, for each request; halves of a batch that fails are searched apart."""
        try:
            found = self.need().search(requests)
            return list(map(self._answer, requests, found, self.need().missing))
        except Exception as error:
            if len(requests) == 1:
                return [error]
        half = len(requests) // 2
        return [*self._answers(requests[:half]), *self._answers(requests[half:])]

    def _answer(self, request: Request, found: Found, missing: Collection[str]) -> Page:
        """A whole answer, with what the user should know."""
        searcher = self.need()
        searcher.video_index.missing.clear()
        notes = searcher.text.unread_of(request.sentences).notes("sentences") if request.sentences else []
        if not found:
            notes.append(why_none(searcher, request))
        if self._stale:
            notes.append("the index has changed and cannot be read; these hits are of the index as it was before")
        notes, now, before = [note.removeprefix("note: ") for note in notes], searcher.weights(request), {}
        if request.good or request.bad or request.closer:
            with suppress(InputError):  # nothing is asked but the marks
                before = searcher.weights(replace(request, good=(), bad=(), closer=()))
        missing = sorted({*missing, *searcher.video_index.missing})
        if missing:
            notes.append(f"{missing_shards(missing)}, so its clips are not here; search again in a few seconds")
        both: dict[str, Any] = {"missing": missing, "weights": now, "weights_before": before}
        return Page(request=request, found=found, count=len(found), notes=notes, **both)


def _same(request: Request) -> tuple[object, ...]:
    """Equal for requests that have the same answer."""
    return (request.sentence, request.also, request.only, tuple(sorted(request.weights.items())), request.shared)


def _size_of(whole: Page) -> int:
    """About how much memory an answer takes."""
    hits = [hit for one in whole.found for hit in one.hits]
    words = sum(len(its.text) for hit in hits for its in hit.words.values())
    names = sum(len(hit.clip_id) + len(hit.video) for hit in hits)
    return words + names + HIT_BYTES * (1 + len(hits)) + sum(map(len, whole.request.sentences))
