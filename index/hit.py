"""Hits: which moment of which file, its score, and why; and videos by their best moments.

    score = sum over the clip's experts of contribution, less the clip's offset
    contribution = weight * (similarity - offset of the expert)

In a list of clips in the right order, each video's first clip is its best, and the videos' first clips are in the
videos' order. So the videos of an exact list are certain, whatever follows; where they are too few, the search is
widened, without the videos that are known.

If hits are folded, of those that look and sound alike only the best is shown:

    alike(a, b)   a and b are clips of two videos and have the same streams, or SHARED at least; of these the mean
                  cosine of x_a - c and x_b - c is at least ALIKE, and none is below LEAST

x: a clip's vector by one expert; c: about the mean of all clips, which does not tell them apart (Snapshot.centre).
Clips of one video are moments of it, which grouping by video gathers. In the order of the ranking, a hit goes to
the one shown before it that it is most alike, or else is shown itself: which ones are shown does not depend on how
many are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from index.storage import packed_of

if TYPE_CHECKING:
    from index.exact import Ranked
    from index.queries import Queries
    from index.scanners import Floats, Partition, Rows
    from index.storage import Snapshot, Words
    from index.video_index import VideoIndex

COLUMNS = ("clip_id", "video", "start_s", "end_s")
ALIKE, LEAST, SHARED = 0.93, 0.5, 2  # of copies: mean cosine, the least of a stream, streams that both have
BLOCK = 256  # hits that are compared at a time
GATHERED = 2**17  # numbers of vectors that are multiplied at a time
WIDENED = 4  # times as many clips in each further search
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """One expert's part in a hit."""

    weight: float  # of one sentence, those of all experts, or if renormalised of the clip's, add up to 1
    similarity: float  # inner product in the expert's space, in [-1, 1]
    offset: float = 0.0  # taken from the similarity

    @property
    def contribution(self) -> float:
        """The expert's part of the score."""
        return self.weight * (self.similarity - self.offset)


@dataclass(frozen=True)
class Said:
    """An utterance, or a line that is written in the picture."""

    start_s: float  # on the video
    end_s: float
    text: str


@dataclass(frozen=True)
class Hit:
    """A clip that was found."""

    rank: int  # the first is 1
    clip_id: str
    video: str
    start_s: float
    end_s: float
    score: float
    experts: dict[str, Share]  # the clip's experts only; missing streams have no entry
    offset: float = 0.0  # subtracted by test-time normalisation
    words: dict[str, Said] = field(default_factory=dict)  # of each expert of words that counts, what fits best
    copies: tuple[str, ...] = ()  # ids of clips that look and sound alike, if they are folded; the best first

    @property
    def hits(self) -> tuple[Hit]:
        """Itself, as a video has its hits."""
        return (self,)

    def to_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        shares, words = self.experts.items(), self.words.items()
        experts = {name: {**vars(share), "contribution": share.contribution} for name, share in shares}
        own = {"experts": experts, "words": {name: {**vars(its)} for name, its in words}}
        return {**vars(self), **own, "copies": [*self.copies]}


@dataclass(frozen=True)
class VideoHits:
    """A video that was found, with its best moments, or with a sequence of them."""

    rank: int  # the first is 1
    video: str
    score: float  # of its best moment; of a sequence: the mean of its moments' scores
    hits: tuple[Hit, ...]  # at least one; their ranks count within the video, in a sequence by time

    def to_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        moments = [hit.to_dict() for hit in self.hits]
        return {"rank": self.rank, "video": self.video, "score": self.score, "moments": moments}


def hits_of(ranked: Ranked, queries: Queries, video_index: VideoIndex, *, plain: bool = False) -> list[list[Hit]]:
    """What `VideoIndex.rank` found for queries, with the facts of each clip and what each expert contributed.

    For each query its hits, the best first; `plain`: the clips' offsets were not subtracted.
    """
    layout, segments = video_index.layout, video_index.snapshot.segments
    columns = [[segment.table.arrow[name] for name in COLUMNS] for segment in segments]
    query, place = (ranked.number >= 0).nonzero()
    found = [ranked.partitions[number] for number in ranked.number[query, place].tolist()]
    shares = _shares(queries, query, found, ranked.row[query, place], video_index)
    scores = ranked.scores[query, place].tolist()
    hits: list[list[Hit]] = [[] for _ in range(len(queries))]
    for its, rank, partition, score, (row, experts, best) in zip(
        query.tolist(), place.tolist(), found, scores, shares
    ):
        at, segment = int(partition.rows[row]), segments[partition.segment]
        words = {layout.names[m]: said(segment.words[m], at, fits) for m, fits in best.items()}
        clip_id, video, start_s, end_s = (column[at].as_py() for column in columns[partition.segment])
        there = partition.scanner.shape.offset and not plain
        offset = float(partition.vectors[row, -1]) if there else 0.0
        hits[its].append(Hit(rank + 1, clip_id, video, start_s, end_s, score, experts, offset, words))
    return hits


def said(words: Words, clip: int, place: int) -> Said:
    """The words of a clip at some place of them."""
    row = words.of(clip).start + place
    return Said(*(words.table[name][row].as_py() for name in ("start_s", "end_s", "words")))


def _shares(
    queries: Queries, query: Rows, partitions: Sequence[Partition], row: Rows, video_index: VideoIndex
) -> Iterator[tuple[int, dict[str, Share], dict[int, int]]]:
    """For each of N hits its row, each expert's part, and of experts of words that count the place of the best.

    query: (N,) of `queries`; partitions and row: where the clips are. The contributions add up to the score plus
    the offset. With one term, a part is its weight, <t_m, x_m> and the offset; with several, the sum of
    |a_t| w_tm, and the means with these weights, so that a similarity stays in [-1, 1].
    """
    layout, segments = video_index.layout, video_index.snapshot.segments
    patterns = list(dict.fromkeys(partition.pattern for partition in partitions))
    number = {pattern: n for n, pattern in enumerate(patterns)}
    every = queries.factors(np.array(patterns, dtype=bool).reshape(-1, len(layout.names)), layout.missing)
    packed = {pattern: np.repeat(packed_of(pattern, layout), layout.sizes) for pattern in patterns}
    step = max(1, GATHERED // max(1, layout.total * queries.share.shape[1]))
    for start in range(0, len(query), step):  # that many together: one by one takes five times as long
        asked, rows, some = (
            query[start : start + step],
            row[start : start + step],
            partitions[start : start + step],
        )
        vectors = np.zeros((len(some), layout.total))
        for n, partition in enumerate(some):
            columns = packed[partition.pattern]
            vectors[n, columns] = partition.vectors[rows[n], : int(columns.sum())]
        factors = every[[number[partition.pattern] for partition in some], asked]  # (n, T, M)
        weights = np.abs(factors).sum(1)
        similarities, offsets = np.zeros_like(weights), np.zeros_like(weights)
        best: list[dict[int, int]] = [{} for _ in some]
        for m, its in enumerate(layout.slices):
            text, factor, weight = queries.packed[asked, :, its], factors[..., m], weights[:, m]
            products = (text * vectors[:, None, its]).sum(-1)  # (n, T)
            for n, partition in enumerate(some):
                if m in partition.words:
                    words = segments[partition.segment].words[m]
                    its_rows = words.values[words.of(int(partition.rows[rows[n]]))].astype(np.float64)
                    by_row = (text[n, :, None] * its_rows).sum(-1)  # (T, n); no @: the same bits in any company
                    products[n] = by_row.max(1)
                    if factor[n].max() > 0:
                        best[n][m] = int(by_row[factor[n].argmax()].argmax())
            for parts, means in ((products, similarities), (queries.offsets[asked, :, m], offsets)):
                first = np.where(np.isfinite(parts[:, 0]), parts[:, 0], 0.0)  # of one excluded from every term
                means[:, m] = np.divide((factor * parts).sum(1), weight, out=first, where=weight > 0)
        numbers = (each.tolist() for each in (rows, weights, similarities, offsets))
        for n, (at, *of_experts) in enumerate(zip(*numbers)):
            there = compress(zip(layout.names, *of_experts), some[n].pattern)
            yield at, {name: Share(*part) for name, *part in there}, best[n]


# search(count, inside, outside): the best `count` clips of the videos `inside` (None: all) that are not `outside`
Search = Callable[[int, Collection[str] | None, Collection[str]], Sequence[Hit]]


def first_count(top: int) -> int:
    """How many clips to search for first, to find so many videos."""
    return 2 * top + 14


def best_videos(first: Sequence[Hit], search: Search, *, top: int, moments: int) -> list[VideoHits]:
    """The `top` videos with the best moments, the best first; fewer where no more can be found.

    They are made of the best `first_count(top)` clips and what `search` finds, and exact if it is.
    """
    found: dict[str, list[Hit]] = {}
    hits, count = first, first_count(top)
    while True:
        for hit in hits:
            found.setdefault(hit.video, []).append(hit)
        if len(found) >= top or len(hits) < count:
            break
        count *= WIDENED
        hits = search(count, None, frozenset(found))
    best = {of_video[0].video: of_video for of_video in sorted(found.values(), key=lambda it: _order(it[0]))[:top]}
    if moments > 1:
        _complete(best, search, moments)
    return [
        VideoHits(
            rank, video, hits[0].score, tuple(replace(hit, rank=n) for n, hit in enumerate(hits[:moments], 1))
        )
        for rank, (video, hits) in enumerate(best.items(), start=1)
    ]


def _complete(found: dict[str, list[Hit]], search: Search, moments: int) -> None:
    """Find the further moments of videos that a list which ended too early has left out."""
    short = {video for video, hits in found.items() if len(hits) < moments}
    count = first_count(moments * len(short))
    while short:
        hits = search(count, short, ())
        fresh: dict[str, list[Hit]] = {video: [] for video in short}
        for hit in hits:
            fresh[hit.video].append(hit)
        for video, more in fresh.items():
            known = {hit.clip_id for hit in found[video]}
            new = [hit for hit in more if hit.clip_id not in known]
            found[video] = sorted([*found[video], *new], key=_order)
        if len(hits) < count:
            return
        short = {video for video in short if len(fresh[video]) < moments}
        count *= WIDENED


def _order(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.clip_id


@final
class Folds:
    """Hits that are shown, each with those that are folded under it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot, self.shown, self.copies = snapshot, list[Hit](), list[list[str]]()
        layout = snapshot.layout
        self._vectors: Floats = np.empty((0, layout.total), np.float32)  # of those that are shown, as `centred`
        self._there: Mask = np.empty((0, len(layout.names)), np.bool_)

    def add(self, hits: Sequence[Hit]) -> None:
        """Fold the hits that follow, in the order of the ranking."""
        for start in range(0, len(hits), BLOCK):
            self._add(hits[start : start + BLOCK])

    def centred(self, clip_ids: Sequence[str]) -> tuple[Floats, Mask]:
        """(N, E) vectors of clips less the centre, each stream of norm 1, and (N, M) which streams there are."""
        vectors, there = self.snapshot.vectors_of(clip_ids)
        vectors -= self.snapshot.centre
        for its in self.snapshot.layout.slices:
            norms = np.linalg.norm(vectors[:, its], axis=1, keepdims=True)
            np.divide(vectors[:, its], norms, out=vectors[:, its], where=norms > 0)
        return vectors, there

    def _add(self, hits: Sequence[Hit]) -> None:
        vectors, there = self.centred([hit.clip_id for hit in hits])
        before = len(self.shown)
        vectors, there = np.concatenate([self._vectors, vectors]), np.concatenate([self._there, there])
        nearest = self.nearest(vectors[before:], there[before:], vectors, there)
        rows = [*range(before)]  # of those that are shown
        for row, hit in enumerate(hits, before):
            of_others = np.array([shown.video != hit.video for shown in self.shown], dtype=bool)
            near = np.where(of_others, nearest[row - before, rows], -1.0)
            if len(near) and near.max() >= ALIKE:
                self.copies[int(near.argmax())].append(hit.clip_id)
                continue
            self.shown.append(hit)
            self.copies.append([])
            rows.append(row)
        self._vectors, self._there = vectors[rows], there[rows]

    def nearest(self, vectors: Floats, there: Mask, others: Floats, theirs: Mask) -> Floats:
        """(N, O) mean cosines of the streams that two clips both have; -1: they are not alike otherwise."""
        both = there[:, None] & theirs  # (N, O, M)
        shared = both.sum(-1)
        total, alike = np.zeros(shared.shape, np.float32), (shared >= SHARED) | (there[:, None] == theirs).all(-1)
        for m, its in enumerate(self.snapshot.layout.slices):
            cosines = np.where(both[..., m], vectors[:, its] @ others[:, its].T, 0)
            total += cosines
            alike &= (cosines >= LEAST) | ~both[..., m]
        return np.where(alike, total / np.maximum(shared, 1), np.float32(-1))


def folded(hits: Sequence[Hit], search: Callable[[int], Sequence[Hit]], snapshot: Snapshot, top: int) -> list[Hit]:
    """The `top` best of hits that are not alike, each with the others; fewer where no more can be found.

    hits: the best `first_count(top)`; search: finds as many as it is given, the same ones first.
    """
    folds, count, done = Folds(snapshot), first_count(top), 0
    while True:
        folds.add(hits[done:])
        if len(folds.shown) >= top or len(hits) < count:
            break
        count, done = count * WIDENED, len(hits)
        hits = search(count)
    both = zip(folds.shown[:top], folds.copies)
    return [replace(hit, rank=rank, copies=tuple(copies)) for rank, (hit, copies) in enumerate(both, 1)]
