"""Recall of kinds without a bound: measured against exact results, and recorded in the index.

    recall@10 = mean over queries of |found, first 10  and  exact, first 10| / |exact, first 10|

The number of re-ranked candidates is fixed, unless a recall is requested: then half of the queries chooses the
least of `GRID` that reaches it, and the other half, for which it was not chosen, measures what it reaches; where
that is less, the next one is tried. Queries are held-out captions, or clips of the index itself, each as a query
for clips like it, which tells less about sentences.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from index.postgres import Place, snapshot_at, writer_at
from index.queries import Queries
from index.scanners import AT, RERANK
from index.storage import Recall
from index.video_index import VideoIndex

if TYPE_CHECKING:
    from index.exact import Ranked
    from mee.model import MEE

GRID: Final = (20, 50, 100, 200, 500, 1000, 2000, 5000)  # candidates; above, an exact scan costs less
ENOUGH: Final = 1000  # queries: the standard error of recall@10 is then below a third of a percent
CLOSE: Final = 1e-6  # difference of scores that count as equal


def record_recall(directory: Path | Place, given: tuple[Queries, str] | None = None) -> Recall | None:
    """Measure the recall of an index with the target that its settings name, and record it there.

    given: queries, and a description of them; None: what is recorded stays; where nothing is, clips of the index
    are the queries. Returns what is recorded; None where every result is exact, or the index is empty.
    """
    video_index = VideoIndex(snapshot_at(directory))
    recorded = video_index.snapshot.recall
    if video_index.proven or not len(video_index):
        return None
    if recorded is not None and given is None:
        return recorded
    queries, source = (video_index.scaled(given[0]), given[1]) if given else own_clips(video_index)
    measured = measure(video_index, queries, video_index.snapshot.settings.recall, source)
    with writer_at(directory) as writer:
        writer.set_recall(measured)
    return measured


def measure(video_index: VideoIndex, queries: Queries, target: float | None, source: str) -> Recall:
    """Recall of an index, at the least of `GRID` that reaches a target (recall@10).

    Without a target the fixed number of candidates is measured, with all queries. A single query both chooses and
    measures. source: what the queries are, in words.
    """
    if not len(queries):
        raise ValueError("recall is measured with queries: give one at least, better a few hundred")
    if target is None:
        reached = recall(video_index.rank(queries, AT, rerank=RERANK), video_index.rank(queries, AT, exact=True))
        return Recall(None, reached, RERANK, AT, len(queries), source, len(video_index))
    order = np.random.default_rng(0).permutation(len(queries))
    mixed = queries.part(order)
    middle = len(queries) // 2
    some, others = mixed.part(slice(0, max(1, middle))), mixed.part(slice(middle, len(mixed)))
    exact, others_exact = (video_index.rank(each, AT, exact=True) for each in (some, others))
    for rerank in GRID:
        least = 0.0 if rerank == GRID[-1] else target - CLOSE
        if recall(video_index.rank(some, AT, rerank=rerank), exact) >= least:
            reached = recall(video_index.rank(others, AT, rerank=rerank), others_exact)
            if reached >= least:
                break
    return Recall(target, reached, rerank, AT, len(others), source, len(video_index))


def recall(found: Ranked, exact: Ranked) -> float:
    """Share of the exact first 10 that are among the first 10 found; 1 where there are none.

    A clip that scores as well as the last exact one counts too.
    """
    parts = []
    for scores, ids, best_scores, best_ids in zip(found.scores, found.ids, exact.scores, exact.ids):
        wanted = list(best_ids[:AT])
        if wanted:
            least = best_scores[len(wanted) - 1] - CLOSE
            right = [name for name, score in zip(ids[:AT], scores) if name in wanted or score >= least]
            parts.append(min(len(right), len(wanted)) / len(wanted))
    return float(np.mean(parts)) if parts else 1.0


def own_clips(video_index: VideoIndex) -> tuple[Queries, str]:
    """Clips of the index as queries, with equal weights for their experts, and a description of them."""
    partitions, names = video_index.snapshot.partitions, []
    ends = np.cumsum([partition.count for partition in partitions])
    for number in _sample(len(video_index)):
        place = int(np.searchsorted(ends, number, side="right"))
        partition, row = partitions[place], number - int(ends[place]) + partitions[place].count
        row = row if partition.allowed is None else int(partition.allowed.rows[row])
        names += partition.ids(np.array([row]))
    queries = Queries.stacked([video_index.clip_query(name) for name in names])
    return queries, f"{len(names):,} clips of the index itself"


def held_out(path: Path, model: MEE) -> tuple[Queries, str]:
    """Queries of a file of captions, and a description of them."""
    from mee.data import read_sentences
    from mee.encode import encode_captions

    sentences = read_sentences(path)
    chosen = [sentences[row] for row in _sample(len(sentences))]
    return Queries.of(encode_captions(model, chosen)), f"{len(chosen):,} sentences of {path.name}"


def _sample(count: int) -> list[int]:
    """A random sample of numbers below count, always the same, rising."""
    return sorted(np.random.default_rng(0).choice(count, min(ENOUGH, count), replace=False).tolist())
