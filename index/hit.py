"""Hits: which moment of which file, its score, and why; and videos by their best moments.

    score = sum over the clip's experts of contribution, less the clip's offset
    contribution = weight * (similarity - offset of the expert)

In a list of clips in the right order, each video's first clip is its best, and the videos' first clips are in the
videos' order. So the videos of an exact list are certain, whatever follows; where they are too few, the search is
widened, without the videos that are known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from index.exact import Ranked
    from index.queries import Doubles, Queries
    from index.scanners import Floats, Partition
    from index.storage import Words
    from index.video_index import VideoIndex

COLUMNS = ("clip_id", "video", "start_s", "end_s")
WIDENED = 4  # times as many clips in each further search


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

    def to_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        content = asdict(self)
        for name, share in self.experts.items():
            content["experts"][name]["contribution"] = share.contribution
        return content


@dataclass(frozen=True)
class VideoHits:
    """A video that was found, with its best moments."""

    rank: int  # the first is 1
    video: str
    hits: tuple[Hit, ...]  # at least one; their ranks count within the video

    @property
    def score(self) -> float:
        """The score of its best moment."""
        return self.hits[0].score

    def to_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        moments = [hit.to_dict() for hit in self.hits]
        return {"rank": self.rank, "video": self.video, "score": self.score, "moments": moments}


Answer = list[Hit] | list[VideoHits]


def scoring(answer: Answer, least: float | None) -> Answer:
    """The hits, or the videos and their moments, that score so much or more; None: all."""
    if least is None:
        return answer
    kept: list[Any] = [one for one in answer if one.score >= least]
    for number, one in enumerate(kept):
        if isinstance(one, VideoHits):
            kept[number] = replace(one, hits=tuple(hit for hit in one.hits if hit.score >= least))
    return kept


def hits_of(ranked: Ranked, queries: Queries, video_index: VideoIndex, *, plain: bool = False) -> list[list[Hit]]:
    """What `VideoIndex.rank` found for queries, with the facts of each clip and what each expert contributed.

    For each query its hits, the best first; `plain`: the clips' offsets were not subtracted.
    """
    layout, segments = video_index.layout, video_index.snapshot.segments
    found = {int(number): ranked.partitions[number] for number in np.unique(ranked.number[ranked.number >= 0])}
    patterns = dict.fromkeys(partition.pattern for partition in found.values())
    factors = queries.factors(np.array([*patterns]).reshape(-1, len(layout.names)), layout.missing)
    factor_of = dict(zip(patterns, factors))
    columns = dict(zip(layout.names, layout.slices))
    hits: list[list[Hit]] = [[] for _ in range(len(queries))]
    for query, place in np.argwhere(ranked.number >= 0).tolist():
        partition, row = found[int(ranked.number[query, place])], int(ranked.row[query, place])
        vector = np.asarray(partition.vectors[row], dtype=np.float64)
        one, factors = queries.part(slice(query, query + 1)), factor_of[partition.pattern][query]
        segment, at = segments[partition.segment], int(partition.rows[row])
        of_words = {layout.names[m]: segment.words[m].values[segment.words[m].of(at)] for m in partition.words}
        experts, best = _shares(one, factors, partition, columns, vector, of_words)
        words = {name: said(segment.words[layout.names.index(name)], at, best[name]) for name in best}
        clip_id, video, start_s, end_s = (segment.table.arrow[name][at].as_py() for name in COLUMNS)
        offset = float(vector[-1]) if partition.scanner.shape.offset and not plain else 0.0
        score = float(ranked.scores[query, place])
        hits[query].append(Hit(place + 1, clip_id, video, start_s, end_s, score, experts, offset, words))
    return hits


def said(words: Words, clip: int, place: int) -> Said:
    """The words of a clip at some place of them."""
    row = words.of(clip).start + place
    return Said(*(words.table[name][row].as_py() for name in ("start_s", "end_s", "words")))


def _shares(
    query: Queries,
    factors: Doubles,
    partition: Partition,
    columns: Mapping[str, slice],
    vector: Doubles,
    words: Mapping[str, Floats],
) -> tuple[dict[str, Share], dict[str, int]]:
    """For each expert of a clip its part; the contributions add up to the score, plus the offset.

    factors: (T, M) weights of the terms' experts, times the terms' shares; columns: of each expert in packed
    vectors; vector: (W,); words: (n, E_m) of experts of words, of which also the best row is told where they count
    for the query. With one term, a part is its weight, <t_m, x_m> and the offset; with several, the sum of
    |a_t| w_tm, and the means with these weights, so that a similarity stays in [-1, 1].
    """
    shares, best, end = {}, {}, 0
    parts = zip(columns.items(), factors.T, query.offsets[0].T)
    for (name, its), factor, offsets in compress(parts, partition.pattern):
        packed = query.packed[0, :, its].astype(np.float64)
        if name in words:
            by_row = packed @ words[name].T  # (T, n)
            products = by_row.max(1)
            if factor.max() > 0:
                best[name] = int(by_row[factor.argmax()].argmax())
        else:
            start, end = end, end + its.stop - its.start
            products = packed @ vector[start:end]  # (T,)
        weight = float(np.abs(factor).sum())
        if weight:
            similarity, offset = (float((factor * each).sum() / weight) for each in (products, offsets))
        else:  # excluded from every term
            similarity, offset = float(products[0]) if np.isfinite(products[0]) else 0.0, float(offsets[0])
        shares[name] = Share(weight, similarity, offset)
    return shares, best


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
        VideoHits(rank, video, tuple(replace(hit, rank=n) for n, hit in enumerate(of_video[:moments], start=1)))
        for rank, (video, of_video) in enumerate(best.items(), start=1)
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
