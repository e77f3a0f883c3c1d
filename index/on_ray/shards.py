"""Shards: the actors that score the clips of an index for a server, which merges what they find.

The server has the whole index mapped, and reads names, filters and the vectors of hits. Its shards are scored by
actors, one each, which Ray places and starts again. A clip's score does not depend on others, and the best of all
are among the best of each shard, so the merged answer is that of one index, to the bit.

All shards are asked at once, and waited for until one deadline. One that fails or is late is missing, and so named
in `VideoIndex.missing`; it is not asked again before it has told that it is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from index.exact import Ranked, Scored
from index.on_ray.actor import Shard, version_of
from index.storage import Snapshot
from mee.errors import InputError, Unavailable, missing_shards, name_ids

if TYPE_CHECKING:
    from index.queries import Queries
    from index.request import Chain, Request
    from index.video_index import Masks, VideoIndex

log = logging.getLogger(__name__)
START_S = 120.0  # in which all actors have to be there
TURN_S = 1.0  # of a search that goes to actors that open what was written; else it is of the index as before


@final
class Shards:
    """Within a connection to Ray (features/cluster); one thread searches."""

    def __init__(self, seconds: float = 5.0) -> None:
        """seconds: in which a shard has to answer."""
        self.seconds = seconds
        self._actors: dict[Path, Any] = {}  # by the folders of their shards
        self._held: dict[Path, str] = {}  # the versions that they have opened last
        self._away: dict[Path, Any] = {}  # of those that do not answer, what they will answer
        self._opening: tuple[Path, str, Any] | None = None  # who opens which version, and the answer

    def hold(self, index: VideoIndex) -> None:
        """Have the clips of an index scored by actors from now on.

        Raises:
            InputError: an actor cannot open its shard, or the cluster has no place for it.
        """
        end = time.monotonic() + START_S
        away = {_folder(shard): self._open(shard) for shard in _parts(index.snapshot)}
        while True:
            errors = {_folder(shard): self._why_not(shard, away) for shard in _parts(index.snapshot)}
            late = {folder: error for folder, error in errors.items() if error}
            if not late:
                break
            for folder, error in late.items():
                if not isinstance(error, Unavailable):
                    raise InputError(f"Ray cannot hold '{folder}': {error}")
            if time.monotonic() > end:
                raise InputError(
                    f"the Ray cluster has not started {name_ids(sorted(folder.name for folder in late))} within "
                    f"{START_S:g} s; see `ray status`, and add nodes, or take other work away"
                )
            time.sleep(0.1)
            index.refresh()  # else a shard that was written meanwhile is not there in this version
        index.remote = self

    def close(self) -> None:
        """End the actors."""
        import ray

        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()

    @property
    def missing(self) -> list[str]:
        """The shards that do not answer."""
        return [folder.name for folder in self._away]

    def prepare(self, snapshot: Snapshot) -> bool:
        """Whether the actors hold what was written; if not, they open it one after another while searches go on.

        Raises:
            InputError: one cannot open it.
        """
        import ray

        end = time.monotonic() + TURN_S
        for shard in _parts(snapshot):
            folder, version = _folder(shard), version_of(shard)
            if self._held.get(folder) == version or folder in self._away:
                continue
            if self._opening is None or self._opening[:2] != (folder, version):
                self._opening = folder, version, self._open(shard)
            if not ray.wait([self._opening[2]], timeout=max(0.0, end - time.monotonic()))[0]:
                return False
            (_, error), self._opening = _outcome(self._opening[2]), None
            if isinstance(error, Unavailable):  # it is back soon, or was written again
                return False
            if error is not None:
                raise error
            self._held[folder] = version
        return True

    def rank(self, index: VideoIndex, queries: Queries, k: int, where: Masks | None, **options: Any) -> Ranked:
        """As `VideoIndex.rank`, but for the shards that are then in `index.missing`.

        Raises:
            Unavailable: of the shards that may have a part in it, none answers.
        """
        shards = _parts(index.snapshot)
        first = [*accumulate((len(shard.partitions) for shard in shards), initial=0)]
        found = []
        for n, (scores, number, row) in self._asked("rank", index, where, queries, k, options):
            query, place = (number >= 0).nonzero()
            found.append((query, scores[query, place], number[query, place] + first[n], row[query, place]))
        if not found:
            return Ranked.empty(len(queries))
        scored = Scored(*map(np.concatenate, zip(*found)))
        return Ranked.of(index.snapshot.partitions, scored, queries=len(queries), k=k)

    def sequences(self, index: VideoIndex, queries: Queries, request: Request, where: Masks | None) -> list[Chain]:
        """As `sequences_of`; missing shards and errors as of `rank`."""
        shards, found = _parts(index.snapshot), []
        first = [*accumulate((len(shard.segments) for shard in shards), initial=0)]
        for n, chains in self._asked("sequences", index, where, queries, request):
            for score, video, places, moments in chains:
                found.append((score, video, [(segment + first[n], row) for segment, row in places], moments))
        return sorted(found)[: request.top]

    def _asked(
        self, method: str, index: VideoIndex, where: Masks | None, queries: Queries, *options: Any
    ) -> Iterator[tuple[int, Any]]:
        """What shards answer that may have a part in it, with their numbers."""
        import ray

        end, segment, pending, missing = time.monotonic() + self.seconds, 0, {}, []
        queries = queries.part(slice(None))  # without what is kept for other searches
        for n, shard in enumerate(_parts(index.snapshot)):
            masks = None if where is None else where[segment : segment + len(shard.segments)]
            segment += len(shard.segments)
            if not shard.partitions or (
                masks is not None and all(its is not None and not its.any() for its in masks)
            ):
                continue
            if _folder(shard).name in index.missing or self._why_not(shard, self._away):
                missing.append(_folder(shard).name)
                continue
            bits = None if masks is None else [None if its is None else np.packbits(its) for its in masks]
            asked = getattr(self._actors[_folder(shard)], method)
            pending[asked.remote(version_of(shard), bits, queries, *options)] = n, shard
        found = []
        ready = ray.wait([*pending], num_returns=len(pending), timeout=self.seconds)[0] if pending else []
        for ref, (n, shard) in pending.items():
            error: Exception | None = Unavailable(f"it has not answered within {self.seconds:g} s")
            if ref in ready:
                answer, error = _outcome(ref, max(1.0, end - time.monotonic()))
            if error is None:
                found.append((n, answer))
                continue
            missing.append(_folder(shard).name)
            log.warning("a search is without '%s': %s", _folder(shard), error)
            self._away[_folder(shard)] = self._open(shard)
        if missing and not found:
            raise Unavailable(f"{missing_shards(missing)}, and nothing else has what is looked for")
        index.missing.update(missing)
        yield from found

    def _why_not(self, shard: Snapshot, away: dict[Path, Any]) -> Exception | None:
        """Why a shard cannot be asked; None: it is not among those away, or has told since that it is back."""
        import ray

        folder = _folder(shard)
        if folder not in away:
            return None
        if not ray.wait([away[folder]], timeout=0)[0]:
            return Unavailable("it has not answered yet")
        error = _outcome(away[folder])[1]
        if error is None:
            self._held[folder] = version_of(shard)
            del away[folder]
            return None
        if isinstance(error.__cause__, ray.exceptions.ActorDiedError):  # for good; Ray starts others again
            del self._actors[folder]
        away[folder] = self._open(shard)
        return error

    def _open(self, shard: Snapshot) -> Any:
        """Have an actor open a shard, whenever it is there; the answer comes later."""
        import ray

        folder = _folder(shard)
        if folder not in self._actors:
            size = sum(partition.scanner.size for partition in shard.partitions)
            how = {"num_cpus": 0, "memory": size, "max_restarts": -1, "scheduling_strategy": "SPREAD"}
            self._actors[folder] = ray.remote(Shard).options(**how).remote(str(folder))
        return self._actors[folder].open.options(max_task_retries=-1).remote(version_of(shard))


def _parts(snapshot: Snapshot) -> tuple[Snapshot, ...]:
    """The shards; an index that is not in shards is one."""
    return snapshot.shards or (snapshot,)


def _folder(shard: Snapshot) -> Path:
    assert shard.source is not None
    return shard.source[0].absolute()


def _outcome(ref: Any, timeout: float | None = None) -> tuple[Any, Exception | None]:
    """What an actor has answered, or why it has not."""
    import ray

    try:
        return ray.get(ref, timeout=timeout), None
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return None, cause if isinstance(cause, InputError) else InputError(f"{type(cause).__name__}: {cause}")
    except ray.exceptions.RayError as error:
        gone = Unavailable("its process or its node is gone")
        gone.__cause__ = error
        return None, gone
