"""VideoIndex: a gallery that can be searched, exactly even where streams are missing.

Clips are stored in partitions: one for each availability pattern of each segment (index/storage/manifest.py
describes the files). Within a partition the score of mee.scoring is the inner product with one weighted query
vector, plus a constant, so the partitions are searched one by one, and the results are ranked by exact scores,
ties by clip id:

    a few queries, kinds with a proven bound         scans whose result is proven (index/exact/proven.py)
    many queries, or exact results of other kinds    blocked matrix products (index/exact/batch.py)
    kinds without a bound                            their best candidates by estimate, re-ranked

On a GPU a few queries are scanned by FAISS where it was built for GPUs, and multiplied elsewhere. The first two
ways, every device, and databases (index/postgres), give the same results.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from index.exact import Ranked, search_approximately, search_proven
from index.queries import FEW, Doubles, Queries, pattern_vectors
from index.request import STREAMS, Request
from index.scanners import PROVEN, RERANK, TINY, Partition, gpu_usable
from index.storage import STANDARD, Origin, Segment, Snapshot, read_snapshot, refreshed
from mee.errors import InputError
from mee.layout import Layout

if TYPE_CHECKING:
    import torch

    from index.exact import BatchSearch, Precision
    from mee.model import TextEmbedding

BATCH = 1024  # queries ranked together
FASTEST = 1000.0  # frames a second that a file may have
Mask = NDArray[np.bool_]  # of the rows of a segment's table
Masks = Sequence[Mask | None]  # of each segment; None: all rows
Matching = Mapping[int, Mask]  # of experts of words, by number: which rows of a segment's words were asked for


class Moment(NamedTuple):
    """A clip as a part of its video."""

    clip_id: str
    video: str
    start_s: float
    end_s: float  # start_s of a still
    streams: tuple[str, ...] = ()  # that it has
    fps: float | None = None  # of the video; None: unknown


@final
class VideoIndex:
    """An index as it was when it was opened or last refreshed; others may write to it meanwhile."""

    def __init__(self, snapshot: Snapshot, *, device: torch.device | None = None) -> None:
        """Search a snapshot; device: where batches are multiplied, on a GPU single queries, too (default: CPU)."""
        self.snapshot = snapshot
        self._device = None if device is None or device.type == "cpu" else device
        self._products: BatchSearch | None = None
        self.remote: Any = None  # index.on_ray.Shards: they score the clips; None: they are scored here
        self.missing: set[str] = set()  # shards that did not answer since somebody emptied this

    @classmethod
    def open(cls, directory: Path, *, device: torch.device | None = None) -> VideoIndex:
        """Open an index, memory-mapped.

        Raises:
            InputError: there is no index, or it is damaged or of another version.
        """
        return cls(read_snapshot(directory), device=device)

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
    ) -> Ranked:
        """The best clips for each query.

        Args:
            queries: Q, made by the index's model.
            k: how many clips a query, at least 1; fewer come back where fewer can be found.
            where: for each segment which rows of its table may be found; None: all.
            plain: do not subtract the clips' offsets, where the index has them.
            exact: give exact results also where the index is of a kind without a bound.
            rerank: candidates of such kinds for the best 10; default: as many as recall was measured with.
            precision: of matrix products; changes no result. auto: the faster one.

        Returns:
            Scores and clip ids, the best first, equal ones by clip id; `index.hit.hits_of` says why.

        Raises:
            ValueError: k is less than 1.
            InputError: a file turns out to be damaged, or the precision is one that the CPU only emulates.
        """
        self.snapshot.check()
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries = queries if isinstance(queries, Queries) else Queries.of(queries)
        if self.remote is not None and len(queries):
            ranked: Ranked = self.remote.rank(self, queries, k, where, plain=plain, exact=exact, rerank=rerank)
            return ranked
        partitions = self.partitions(where)
        if not partitions or not len(queries):
            return Ranked.empty(len(queries))
        k = min(k, sum(partition.count for partition in partitions))
        if (remote := self.snapshot.again is not None) and exact:
            partitions = [replace(each, scanner=each.scanner.exact) for each in partitions]
        proven = all(partition.scanner.kind in PROVEN for partition in partitions)
        parts = []
        for start in range(0, len(queries), BATCH):
            part = queries.part(slice(start, start + BATCH))
            vectors = pattern_vectors(part, self.layout, partitions, subtract=not plain)
            few = len(part) <= FEW
            if not proven and not exact:
                recall = self.snapshot.recall
                rerank = rerank or (RERANK if recall is None else recall.rerank)
                found = search_approximately(partitions, vectors, k, rerank)
            elif remote or (few and proven and self._device is None):
                found = search_proven(partitions, vectors, k)
            elif few and self._device is not None and self._device.type == "cuda" and gpu_usable():
                on_gpu = [each if each.words else self._batch.on_gpu(each) for each in partitions]
                found = search_proven(on_gpu, vectors, k)
            else:
                found = self._batch.search(partitions, vectors, k, precision)
            parts.append(Ranked.of(partitions, found, queries=len(part), k=k))
        return Ranked.joined(parts)

    @property
    def _batch(self) -> BatchSearch:
        """Matrix products, made when they are needed first: a few queries on the CPU need no torch."""
        if self._products is None:
            import torch

            from index.exact import BatchSearch

            self._products = BatchSearch(self._device or torch.device("cpu"))
        return self._products

    def scaled(self, sentences: Queries) -> Queries:
        """Sentences with the weights that they have in this index: the model's, or by how much they stand out."""
        scale = self.snapshot.scale
        return sentences if scale is None else sentences.scaled(scale, self.best(sentences))

    def best(self, sentences: Queries) -> Doubles:
        """(Q, M) the best similarity of each sentence by each expert alone, of all clips; -inf: none has it."""
        each = sentences.each_expert()
        step = FEW if len(sentences) <= FEW else BATCH  # a few need no torch
        parts = [each.part(slice(start, start + step)) for start in range(0, len(each), step)]
        found = [self.rank(part, 1, plain=True, exact=True).scores.max(1, initial=-np.inf) for part in parts]
        return np.concatenate(found).reshape(len(sentences), -1).astype(np.float64)

    def partitions(self, where: Masks | None) -> list[Partition]:
        """Those in which something may be found."""
        partitions = []
        for partition in self.snapshot.partitions:
            mask = None if where is None else where[partition.segment]
            partitions.append(partition if mask is None else partition.restricted(mask))
        return [partition for partition in partitions if partition.count]

    @property
    def layout(self) -> Layout:
        """Of packed vectors."""
        return self.snapshot.layout

    @property
    def origin(self) -> Origin:
        """The model and the store that it was made from."""
        return self.snapshot.origin

    @property
    def proven(self) -> bool:
        """Whether every result is exact."""
        return all(partition.scanner.kind in PROVEN for partition in self.snapshot.partitions)

    def __len__(self) -> int:
        """How many clips can be found."""
        return len(self.snapshot)

    def find(self, name: str) -> tuple[int, int]:
        """The segment's number and the row of a clip, whether or not it has a stream.

        name: its id, or a name that means it, or means a video of one clip (mee/data/names.py).

        Raises:
            InputError: there is no such clip, or the name may mean several.
        """
        self.snapshot.check()
        found = self.snapshot.find(name)
        if found is None:
            clips = self.snapshot.names.need(name, "clip")[1]
            if len(clips) > 1:
                raise InputError(f"video {name!r} has {len(clips):,} clips; name one, such as '{clips[0]}'")
            found = self.snapshot.find(clips[0])
        assert found is not None
        return found

    def meant_video(self, name: str) -> str:
        """The video of a name, or the one that it means (mee/data/names.py).

        Raises:
            InputError: there is none, or the name may mean several.
        """
        if any(mask.any() for mask in self._live(self.of_videos([name]))):
            return name  # the index need not be read for its names
        return self.snapshot.names.need(name, "video")[0]

    def of_videos(self, videos: Collection[str]) -> list[Mask]:
        """For each segment which rows of its table are clips of some videos; removed ones are among them."""
        import pyarrow as pa
        import pyarrow.compute as pc  # here: most searches need none of it

        names = pa.array(sorted(videos), pa.string())
        tables = (segment.table.arrow for segment in self.snapshot.segments)
        return [np.asarray(pc.is_in(table["video"], value_set=names).to_numpy(), dtype=bool) for table in tables]

    def _live(self, masks: Sequence[Mask]) -> list[Mask]:
        """The same without removed rows."""
        return [mask if its.live is None else mask & its.live for mask, its in zip(masks, self.snapshot.segments)]

    def meant_clips(self, name: str) -> list[Mask]:
        """For each segment which rows of its table a name means: the clip of this id, or else all of a video.

        Raises:
            InputError: there is none, or the name may mean several.
        """
        self.snapshot.check()
        clips: Sequence[str] = [name]
        if self.snapshot.find(name) is None:
            of_video = self._live(self.of_videos([name]))
            if any(mask.any() for mask in of_video):
                return of_video
            clips = self.snapshot.names.need(name, "clip")[1]
        masks = [np.zeros(len(segment.table), dtype=bool) for segment in self.snapshot.segments]
        for number, row in map(self.find, clips):
            masks[number][row] = True
        return masks

    def clips_of(self, video: str) -> list[Moment]:
        """The clips of a video in order of time, those without a stream included.

        Raises:
            InputError: as `meant_video`.
        """
        self.snapshot.check()
        its = zip(self._live(self.of_videos([self.meant_video(video)])), self.snapshot.segments)
        found = [one for mask, segment in its for one in self._moments(segment, np.flatnonzero(mask))]
        return sorted(found, key=lambda moment: (moment.start_s, moment.clip_id))

    def moments(self, clip_ids: Sequence[str]) -> list[Moment]:
        """Clips as parts of their videos, in the order in which they are given.

        Raises:
            InputError: as `find`.
        """
        places = [self.find(clip_id) for clip_id in clip_ids]
        return [self._moments(self.snapshot.segments[number], np.array([row]))[0] for number, row in places]

    def _moments(self, segment: Segment, rows: NDArray[np.int64]) -> list[Moment]:
        """Some rows of a segment's table."""
        made = []
        for facts in _rows(segment, rows, (*Moment._fields[:4], "pattern", "fps")):
            fps = facts.pop("fps", None)
            usable = type(fps) in (int, float) and 0 < fps <= FASTEST
            streams = compress(self.layout.names, map("1".__eq__, facts.pop("pattern")))
            made.append(Moment(**facts, streams=tuple(streams), fps=float(fps) if usable else None))
        return made

    def facts(self, clip_id: str) -> dict[str, Any]:
        """What is known of a clip, as plain containers, for JSON.

        clip_id, video, start_s, end_s; `columns`: of the files and the metadata, None: nothing is known, or no
        finite number; `streams`, `missing`: the experts that it has and lacks; `words`: of each expert of words
        its utterances or lines, as start_s, end_s and text.

        Raises:
            InputError: as `find`.
        """
        number, row = self.find(clip_id)
        segment, clip = self.snapshot.segments[number], np.array([row])
        (moment,), (values,) = self._moments(segment, clip), _rows(segment, clip, self.snapshot.columns.names)
        own = {name: values.get(name) for name in self.snapshot.columns.names if name not in STANDARD}
        known = {n: None if isinstance(it, float) and not math.isfinite(it) else it for n, it in own.items()}
        words = {}
        for m, its in segment.words.items():
            lines = its.of(row)
            if lines.stop > lines.start:
                table = its.table.slice(lines.start, lines.stop - lines.start).drop_columns("clip")
                words[self.layout.names[m]] = table.rename_columns(["start_s", "end_s", "text"]).to_pylist()
        return {
            **dict(zip(Moment._fields[:4], moment)),
            "columns": known,
            "streams": list(moment.streams),
            "missing": [name for name in self.layout.names if name not in moment.streams],
            "words": words,
        }

    def clip_query(self, name: str) -> Queries:
        """A clip as a query for clips like it: its vectors, and equal weights for its experts.

        Of a video it is the mean of its clips' vectors of each expert, as one of norm 1.

        Raises:
            InputError: as `meant_clips`; or there is no stream.
        """
        masks = self.meant_clips(name)
        places = [(number, int(row)) for number, mask in enumerate(masks) for row in np.flatnonzero(mask)]
        tables = [segment.table for segment in self.snapshot.segments]
        places.sort(key=lambda place: tables[place[0]].ids(np.array([place[1]])))  # means have an order
        vectors, there = self.snapshot.vectors(places)
        available, packed = there.any(0), vectors
        if not available.any():
            raise InputError(f"clip {name!r} has no stream, so nothing can be like it")
        if len(places) > 1:
            packed = vectors.mean(0, dtype=np.float64, keepdims=True)
            for its in self.layout.slices:
                packed[:, its] /= max(float(np.linalg.norm(packed[:, its])), TINY)
        logits = np.where(available, 0.0, -np.inf)[None, None]
        return Queries(packed[None].astype(np.float32), logits, np.zeros_like(logits), np.ones((1, 1)))

    def refresh(self) -> bool:
        """Read what was written since; returns whether anything was. Not while another thread searches."""
        now = refreshed(self.snapshot)
        changed = now is not self.snapshot and (self.remote is None or self.remote.prepare(now))
        if changed:
            self.snapshot = now
            if self._products is not None:
                self._products.forget({id(partition.vectors) for partition in now.partitions})
        return changed


def _rows(segment: Segment, rows: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    """Some rows of a segment's table, of those columns that it has."""
    import pyarrow as pa

    table = segment.table.arrow
    some = table.select([name for name in names if name in table.column_names])
    return list(some.take(pa.array(rows)).to_pylist())


def selection_of(request: Request, video_index: VideoIndex) -> tuple[Masks | None, Sequence[Matching]]:
    """The clips that a request may find, None: all; and of each segment the words that it asks for, if it does.

    Raises:
        InputError: its filter or its words do not fit the index, or its video or clip is not in it.
    """
    if request.where is not None or request.video is not None or request.words:  # else `rank` reads maps first
        video_index.snapshot.check()
    segments = video_index.snapshot.segments
    selection: Masks | None = None
    if request.where is not None:
        from index.filter import Filter

        selection = Filter.parse(request.where).masks([segment.table.arrow for segment in segments])
    if request.video is not None:
        selection = both(selection, video_index.of_videos([video_index.meant_video(request.video)]))
    if request.like is not None:  # but not the clip itself, or the video
        selection = both(selection, [~it if it.any() else None for it in video_index.meant_clips(request.like)])
    if request.refused:
        masks = [np.ones(len(segment.table), dtype=bool) for segment in segments]
        for number, row in map(video_index.find, request.refused):
            masks[number][row] = False
        selection = both(selection, masks)
    matching: list[dict[int, Mask]] = [{} for _ in segments]
    for name, words in request.words.items():
        if STREAMS[name] not in video_index.layout.words:
            raise InputError(
                f"the index has no words of a stream '{STREAMS[name]}', so --{name} cannot find any: extract it "
                f"(mee precompute VIDEOS STORE --streams {STREAMS[name]}), and make model and index again"
            )
        m = video_index.layout.names.index(STREAMS[name])
        masks = [np.zeros(len(segment.table), dtype=bool) for segment in segments]
        for segment, mask, found in zip(segments, masks, matching):
            if m in segment.words:
                found[m] = segment.words[m].containing(words)
                mask[segment.words[m].clip[found[m]]] = True
        selection = both(selection, masks)
    return selection, matching if request.words else []


def both(one: Masks | None, other: Masks) -> Masks:
    """The clips of both; None has all."""
    return other if one is None else [b if a is None else a if b is None else a & b for a, b in zip(one, other)]
