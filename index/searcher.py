"""Searcher: requests -> hits. What a request means: its query vectors, and the clips that it may find.

A sentence is encoded by the model. A clip that others should be like is its own query: its vectors as they are,
with equal weights for its experts. Requests that only name words list the clips that have them, by video and time.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from itertools import compress, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from index.hit import Hit, VideoHits, best_videos, first_count, hits_of, said
from index.queries import Queries
from index.request import STREAMS, Request
from index.storage import text_name
from index.text_side import TextSide
from index.video_index import VideoIndex
from mee.checkpoint import changed_since, fingerprint
from mee.errors import InputError, did_you_mean
from mee.layout import Layout
from mee.text import Unread, check_sentences

if TYPE_CHECKING:
    import torch

    from mee.model import MEE

Answer = list[Hit] | list[VideoHits]
Mask = NDArray[np.bool_]
Matching = Mapping[int, Mask]  # of experts of words, by number: which rows of a segment's words were asked for
Selection = Sequence[Mask | None]  # for each segment which rows of its table may be found; None: all


@final
class Text:
    """Sentences -> queries: by the text side beside the index, or by the model, which loads torch."""

    def __init__(self, load: Callable[[], MEE], exported: TextSide | None = None, reason: str = "") -> None:
        """reason: why there is no text side to use."""
        self._load, self._exported, self._reason = load, exported, reason
        self.unread = Unread()  # of all sentences so far

    def encode(self, sentences: Sequence[str]) -> Queries:
        """A query for each sentence; an empty one is an InputError."""
        check_sentences(sentences)
        if self._exported is not None:
            try:
                found = self._exported.encode(sentences)
                self.unread.look(self._exported.readers, sentences, words=True)
                return found
            except InputError as error:
                self._exported, self._reason = None, str(error)
        from mee.encode import encode_captions

        self.unread.look(self.model.readers, sentences, words=True)
        return Queries.of(encode_captions(self.model, sentences))

    def unread_of(self, sentences: Sequence[str]) -> Unread:
        """What is not read of some sentences alone, which were encoded before."""
        readers = self.model.readers if self._exported is None else self._exported.readers
        return Unread().look(readers, sentences, words=True)

    @cached_property
    def model(self) -> MEE:
        """The model, in eval mode."""
        return self._load().eval()

    @property
    def source(self) -> str:
        """What encodes sentences, in words."""
        if self._exported is not None:
            return "sentences are encoded by the index's text side, without torch"
        return f"sentences are encoded by the model, with torch: {self._reason}"


@final
class Searcher:
    """An index with the text side of the model that made it."""

    def __init__(self, video_index: VideoIndex, model: MEE | Text) -> None:
        if not isinstance(model, Text):
            _check_layout(video_index, model)
        self.video_index = video_index
        self.text = model if isinstance(model, Text) else Text(lambda: model, reason="it was given")

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        device: torch.device | str = "auto",
        model: Path | None = None,
        index_device: torch.device | None = None,
    ) -> Searcher:
        """Open an index and what encodes sentences for it: its text side, or else its model.

        Args:
            directory: the index.
            device: where the model encodes sentences, if it must; auto: on a GPU where there is one. A GPU that is
                named is a reason to use the model.
            model: the model's directory; it is then used. Default: the folder of the recorded fingerprint, where
                it was, moved along with the index, or beside it. An index may have been made by anyone, and what
                it names is no reason to read it: other places are not looked at (`Origin.models`).
            index_device: where clips are scored; a GPU takes a copy of the vectors first. Default: the CPU.

        Raises:
            InputError: the index or its model is not there, or they do not belong together.
        """
        video_index = VideoIndex.open(directory, device=index_device)
        origin = video_index.origin
        places = [(model, True)] if model else list(origin.models(directory))

        @cache
        def check() -> Path:
            for place, sure in places:
                try:
                    found = fingerprint(place)
                except (InputError, OSError):
                    if sure:
                        raise
                    continue
                if found == origin.model_fingerprint:
                    return place
                if sure:
                    again = shlex.join(["mee", "index", origin.store, str(place), str(directory), "--overwrite"])
                    raise InputError(
                        f"'{place}' is not the model that index '{directory}' was made with (fingerprint "
                        f"{found}, not {origin.model_fingerprint}). Make the index again: {again}"
                    )
            raise InputError(
                f"the model of index '{directory}' is not at '{origin.model}', nor beside the index. Say where it "
                "is with --model, or once for all with mee index STORE MODEL INDEX"
            )

        def load() -> MEE:
            place = check()
            import torch

            from mee.model import MEE

            made = MEE.from_pretrained(place)
            _check_layout(video_index, made)
            found = "cuda" if torch.cuda.is_available() else "cpu"
            return made.to(found if device == "auto" else device)

        exported, reason = None, "a model is named" if model else "a GPU is named"
        if not model and not str(device).startswith("cuda"):
            try:
                exported = TextSide(directory / text_name(origin), video_index.layout)
            except InputError as error:
                reason = str(error)
        if exported is None or any(sure and changed_since(place, exported.made) for place, sure in places):
            check()
        return cls(video_index, Text(load, exported, reason))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The experts' names."""
        return self.video_index.layout.names

    def encode(self, sentences: Sequence[str]) -> Queries:
        """A query for each sentence, with the weights that it has in this index; an empty one is an InputError."""
        return self.video_index.scaled(self.text.encode(sentences))

    def refresh(self) -> bool:
        """Read what a writer has changed in the index since; returns whether anything was.

        Raises:
            InputError: the index was damaged, or made again with another model; what was open stays open.
        """
        before = self.video_index.snapshot
        changed = self.video_index.refresh()
        now = self.video_index.snapshot
        if (now.origin.model_fingerprint, now.layout) != (before.origin.model_fingerprint, before.layout):
            self.video_index.snapshot = before  # sentences are encoded for it
            raise InputError("the index was made again with another model; open it again")
        return changed

    def check(self, request: Request) -> None:
        """Refuse what `search` would refuse, before a sentence is encoded.

        Raises:
            InputError: as `search`.
        """
        _check_experts(request, self.video_index.layout)
        _selection_of(request, self.video_index)

    def search(self, requests: Sequence[Request]) -> list[Answer]:
        """Find clips, or videos, for each request, the best first.

        Requests that may find the same clips are ranked together.

        Raises:
            InputError: a request names an expert, a clip, a video, a column or words that are not there, or leaves
                nothing to compare by.
        """
        asking = [number for number, request in enumerate(requests) if request.asks]
        queries = dict(zip(asking, self._queries_of([requests[number] for number in asking])))
        together: dict[tuple[object, ...], list[int]] = {}
        for number in asking:
            together.setdefault(requests[number].shared, []).append(number)
        answers = {n: self._listed(request) for n, request in enumerate(requests) if not request.asks}
        for numbers in together.values():
            found = self._ranked_together(requests[numbers[0]], [queries[number] for number in numbers])
            answers.update(zip(numbers, found))
        return [answers[number] for number in range(len(requests))]

    def _ranked_together(self, request: Request, queries: Sequence[Queries]) -> Iterable[Answer]:
        """Hits for queries whose requests differ in nothing else."""
        index, plain = self.video_index, request.plain
        selection, matching = _selection_of(request, index)

        def hits(queries: Queries, count: int, selection: Selection | None) -> list[list[Hit]]:
            ranked = index.rank(queries, count, where=selection, plain=plain, exact=request.exact)
            found = hits_of(ranked, queries, index, plain=plain)
            least = -np.inf if request.min_score is None else request.min_score
            return [self._with_words([hit for hit in each if hit.score >= least], matching) for each in found]

        if not request.by_video:
            return hits(Queries.stacked(queries), request.top, selection)

        def videos(query: Queries, first: Sequence[Hit]) -> list[VideoHits]:
            def wider(count: int, inside: Collection[str] | None, outside: Collection[str]) -> list[Hit]:
                within = selection
                if inside is not None:
                    within = _both(within, _of_videos(index, inside))
                if outside:
                    within = _both(within, [~mask for mask in _of_videos(index, outside)])
                return hits(query, count, within)[0]

            return best_videos(first, wider, top=request.top, moments=request.moments)

        return map(videos, queries, hits(Queries.stacked(queries), first_count(request.top), selection))

    def _listed(self, request: Request) -> Answer:
        """Clips that are not scored, by video and time."""
        selection, matching = _selection_of(request, self.video_index)
        found: list[tuple[Any, ...]] = []
        for segment, mask in zip(self.video_index.snapshot.segments, selection or ()):
            kept = np.logical_and.reduce([each for each in (mask, segment.live) if each is not None])
            columns = [segment.table.arrow[name] for name in ("video", "start_s", "clip_id", "end_s")]
            found += (tuple(each[row].as_py() for each in columns) for row in np.flatnonzero(kept).tolist())

        def hits(clips: Iterable[tuple[Any, ...]], top: int) -> list[Hit]:
            some = enumerate(islice(clips, top), start=1)
            return self._with_words([Hit(n, it, video, a, b, 0.0, {}) for n, (video, a, it, b) in some], matching)

        if not request.by_video:
            return hits(sorted(found), request.top)
        videos = enumerate(islice(groupby(sorted(found), key=itemgetter(0)), request.top), start=1)
        return [VideoHits(rank, video, tuple(hits(clips, request.moments))) for rank, (video, clips) in videos]

    def _with_words(self, hits: list[Hit], matching: Sequence[Matching]) -> list[Hit]:
        """The same, each with the first words of its clip that were asked for, in place of what fits best."""
        names, segments = self.video_index.layout.names, self.video_index.snapshot.segments
        for place, hit in enumerate(hits if matching else ()):
            number, row = self.video_index.find(hit.clip_id)
            its = [(m, segments[number].words[m], rows) for m, rows in matching[number].items()]
            first = {names[m]: said(words, row, int(rows[words.of(row)].argmax())) for m, words, rows in its}
            hits[place] = replace(hit, words=hit.words | first)
        return hits

    def _queries_of(self, requests: Sequence[Request]) -> list[Queries]:
        """A single query for each request that has one; each sentence is encoded once."""
        layout = self.video_index.layout
        sentences = list(dict.fromkeys(sentence for request in requests for sentence in request.sentences))
        plain = self.text.encode(sentences) if sentences else None
        reached = layout.names if plain is None else [*compress(layout.names, np.isfinite(plain.logits[0, 0]))]
        for request in requests:
            _check_experts(request, layout)
            used = [
                name
                for name in request.only or layout.names
                if not request.weights or request.weights.get(name, 0) > 0
            ]
            if request.sentences and not set(used) & set(reached):
                others = f"give a clip alone (--like), or search by {' or '.join(reached)}, too"
                raise InputError(f"no sentence reaches {', '.join(used)}: {others}")
        text = None if plain is None else self.video_index.scaled(plain)
        row_of = {sentence: row for row, sentence in enumerate(sentences)}
        queries = []
        for request in requests:
            weights = [1.0] * (request.sentence is not None) + [weight for weight, _ in request.also]
            rows = [row_of[sentence] for sentence in request.sentences]
            terms = [(weight, text.part(slice(row, row + 1))) for weight, row in zip(weights, rows) if text]
            if request.like is not None:
                terms.append((1.0, self.video_index.clip_query(request.like)))
            query = Queries.mixture(terms)
            if request.weights:
                query = query.weighted(request.weights, layout)
            if request.only:
                query = query.only([name in request.only for name in layout.names])
            if request.like is not None and not np.isfinite(query.logits[0, -1]).any():
                words = "has none of the experts that the search uses, so nothing can be like it"
                raise InputError(f"clip {request.like!r} {words}")
            queries.append(query)
        return queries


def _check_layout(video_index: VideoIndex, model: MEE) -> None:
    if video_index.layout != model.layout:
        raise InputError(f"the index holds {video_index.layout}, the model makes {model.layout}")


def _check_experts(request: Request, layout: Layout) -> None:
    """Refuse experts that the model does not have."""
    for name in (*request.only, *request.weights):
        if name not in layout.names:
            known = ", ".join(layout.names)
            raise InputError(f"there is no expert {name!r}{did_you_mean(name, layout.names)}; there are {known}")


# ---- the clips that requests may find


def _selection_of(request: Request, video_index: VideoIndex) -> tuple[Selection | None, Sequence[Matching]]:
    """The clips that a request may find, None: all; and of each segment the words that it asks for, if it does.

    Raises:
        InputError: its filter or its words do not fit the index, or its video or clip is not in it.
    """
    if request.where is not None or request.video is not None or request.words:  # else `rank` reads maps first
        video_index.snapshot.check()
    segments = video_index.snapshot.segments
    selection: Selection | None = None
    if request.where is not None:
        from index.filter import Filter

        selection = Filter.parse(request.where).masks([segment.table.arrow for segment in segments])
    if request.video is not None:
        masks = _of_videos(video_index, [request.video])
        live = [True if segment.live is None else segment.live for segment in segments]
        if not any((mask & alive).any() for mask, alive in zip(masks, live)):
            masks = _of_videos(video_index, [video_index.snapshot.names.need(request.video, "video")[0]])
        selection = _both(selection, masks)
    if request.like is not None:  # but not the clip itself
        number, row = video_index.find(request.like)
        others = np.ones(len(segments[number].table), dtype=bool)
        others[row] = False
        selection = _both(selection, [others if n == number else None for n in range(len(segments))])
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
        selection = _both(selection, masks)
    return selection, matching if request.words else []


def _of_videos(video_index: VideoIndex, videos: Collection[str]) -> list[Mask]:
    """The clips of some videos."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array(sorted(videos), pa.string())
    tables = (segment.table.arrow for segment in video_index.snapshot.segments)
    return [np.asarray(pc.is_in(table["video"], value_set=names).to_numpy(), dtype=bool) for table in tables]


def _both(one: Selection | None, other: Selection) -> Selection:
    """The clips of both; None has all."""
    if one is None:
        return other
    return [b if a is None else a if b is None else a & b for a, b in zip(one, other)]
