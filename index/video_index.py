"""VideoIndex: a gallery that can be searched, exactly under missing streams.

Clips lie in partitions: one for each availability pattern of each segment (index/storage/manifest.py says what
lies on disk). Within a partition the score of mee.scoring is the inner product with one weighted query vector, so
that partitions are scanned one by one, by kinds of index that suit their size (index/scanners/), and what they
find is ranked by exact scores, ties by clip id. Few queries go through the partitions' scanners; many go through
blocked matrix products (index/exact/batch.py), which give the same answers. Kinds that prove nothing are asked for
more than k and re-ranked; `exact=True` goes past them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from index.exact import Answerer, How, Precision, Ranked
from index.hit import Hit, Share
from index.queries import Queries
from index.scanners import PROVEN, RERANK, Allowed, Floats, Partition
from index.storage import Entries, Origin, Segment, Snapshot, read_snapshot, refreshed
from mee.layout import Layout
from mee.model import TextEmbedding

Masks = Sequence[NDArray[np.bool_] | None]


@final
class VideoIndex:
    """An index as it was when it was opened or last refreshed; others may write it meanwhile."""

    def __init__(self, snapshot: Snapshot, *, device: torch.device | None = None) -> None:
        """Search a snapshot.

        Args:
            snapshot: what to search.
            device: where batches are multiplied; on a GPU single queries are, too. Default: the CPU.
        """
        self.snapshot = snapshot
        self.device = device or torch.device("cpu")
        self.answerer = Answerer(self.device)

    @classmethod
    def open(cls, directory: Path, *, device: torch.device | None = None) -> VideoIndex:
        """Open an index, memory-mapped.

        Raises:
            InputError: there is no index, or it is damaged or of another version.
        """
        return cls(read_snapshot(directory), device=device)

    @classmethod
    def of(
        cls,
        entries: Entries,
        layout: Layout,
        origin: Origin | None = None,
        *,
        offsets: Mapping[str, Any] | None = None,
    ) -> VideoIndex:
        """An index in memory alone, see `Snapshot.of`."""
        return cls(Snapshot.of(entries, layout, origin or Origin("", "", ""), offsets=offsets))

    def __len__(self) -> int:
        """How many clips can be found."""
        return len(self.snapshot)

    @property
    def layout(self) -> Layout:
        """Of packed vectors."""
        return self.snapshot.layout

    @property
    def origin(self) -> Origin:
        """What it was made from."""
        return self.snapshot.origin

    @property
    def segments(self) -> Sequence[Segment]:
        """On disk, then what was written since."""
        return self.snapshot.segments

    @property
    def offsets(self) -> Mapping[str, Any] | None:
        """What is known of the clips' offsets; None: they have none."""
        return self.snapshot.offsets

    @property
    def rerank(self) -> int:
        """Candidates of kinds that prove nothing, for the best 10."""
        return RERANK if self.snapshot.recall is None else self.snapshot.recall.rerank

    @property
    def proven(self) -> bool:
        """Whether every answer is exact."""
        return all(partition.scanner.kind in PROVEN for partition in self.snapshot.partitions)

    def without_stream(self) -> list[str]:
        """Clips that have no stream at all: nothing can find them."""
        return self.snapshot.without_stream()

    def refresh(self) -> bool:
        """Take in what was written since; whether there was anything. Not while another thread searches."""
        now = refreshed(self.snapshot)
        changed = now is not self.snapshot
        if changed:
            self.snapshot = now
            self.answerer.blocks.forget({id(partition.vectors) for partition in now.partitions})
        return changed

    def embedding(self, clip_id: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(E,) packed vector of a clip, zeros where a stream is missing, and (M,) which experts it has.

        Raises:
            KeyError: there is no such clip that can be found.
        """
        found = self.snapshot.find(clip_id)
        place = self.segments[found[0]].place(found[1]) if found else None
        if place is None:
            raise KeyError(clip_id)
        partition, row = place
        available = np.array(partition.pattern)
        columns = np.repeat(available, self.layout.sizes)
        packed = np.zeros(self.layout.total, dtype=np.float32)
        packed[columns] = partition.vectors[row, : int(columns.sum())]
        return packed, available

    def search(
        self,
        queries: Queries | TextEmbedding,
        k: int,
        *,
        where: Masks | None = None,
        plain: bool = False,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The best clips for each query.

        Args:
            queries: Q, made by the index's model.
            k: how many hits a query, at least 1; fewer come back where fewer can be found.
            where: of each segment which rows of its table may be found; None: all.
            plain: do not take off the clips' offsets, where the index has them.
            exact: go past kinds of index that prove nothing.

        Returns:
            For each query its hits, the best first, equal ones by clip id.

        Raises:
            ValueError: k is less than 1.
            InputError: a file turns out to be damaged.
        """
        queries = queries if isinstance(queries, Queries) else Queries.of(queries)
        partitions = self._partitions(where)
        ranked = self._rank(partitions, queries, k, How(plain=plain, exact=exact, rerank=self.rerank))
        taken_off = self.offsets is not None and not plain
        return [self._hits(partitions, queries, query, ranked, taken_off) for query in range(len(queries))]

    def rank(
        self,
        queries: Queries | TextEmbedding,
        k: int,
        *,
        where: Masks | None = None,
        plain: bool = False,
        exact: bool = False,
        rerank: int | None = None,
        precision: Precision = "auto",
    ) -> tuple[Floats, list[list[str]]]:
        """The same without reasons.

        Args:
            queries, k, where, plain, exact: as above.
            rerank: candidates of kinds that prove nothing; default: as many as recall was measured with.
            precision: of batches; changes no answer.

        Returns:
            (Q, K) scores, -inf where a query has fewer than K answers, and clip ids.
        """
        queries = queries if isinstance(queries, Queries) else Queries.of(queries)
        partitions = self._partitions(where)
        ranked = self._rank(partitions, queries, k, How(plain, exact, rerank or self.rerank, precision))
        return ranked.score, ranked.ids(partitions)

    def _partitions(self, where: Masks | None) -> list[Partition]:
        """Those in which something may be found."""
        partitions = list(self.snapshot.partitions)
        if where is not None:
            masks = [where[partition.segment] for partition in partitions]
            allowed = [
                None if mask is None else Allowed(mask[partition.rows])
                for partition, mask in zip(partitions, masks)
            ]
            partitions = [partition.restricted(its) for partition, its in zip(partitions, allowed)]
        return [partition for partition in partitions if partition.count]

    def _rank(self, partitions: Sequence[Partition], queries: Queries, k: int, how: How) -> Ranked:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        return self.answerer.rank(self.layout, partitions, queries, k, how)

    def _hits(
        self, partitions: Sequence[Partition], queries: Queries, query: int, ranked: Ranked, taken_off: bool
    ) -> list[Hit]:
        """Take each clip's vector apart again, to say what each expert gave."""
        hits = []
        for place, (score, number, row) in enumerate(
            zip(ranked.score[query].tolist(), ranked.number[query].tolist(), ranked.row[query].tolist()), start=1
        ):
            if number < 0:
                break
            partition = partitions[number]
            clip = _clip(self.segments[partition.segment], int(partition.rows[row]))
            vector = np.asarray(partition.vectors[row], dtype=np.float64)
            shares = queries.shares(partition.pattern, self.layout, query, vector)
            offset = float(vector[-1]) if taken_off else 0.0
            experts = {name: Share(*share) for name, share in shares.items()}
            hits.append(Hit(place, *clip, score, experts, offset))
        return hits


def _clip(segment: Segment, row: int) -> tuple[str, str, float, float]:
    """clip_id, video, start_s and end_s of a row."""
    clip_id, video, start_s, end_s = (
        segment.table.arrow[name][row].as_py() for name in ("clip_id", "video", "start_s", "end_s")
    )
    return clip_id, video, start_s, end_s
