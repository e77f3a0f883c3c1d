"""Searcher: requests -> hits.

Requests that only name words list the clips that have them, by video and time.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from index.exact import Ranked
from index.hit import Hit, VideoHits, best_videos, first_count, folded, hits_of, said
from index.queries import Queries
from index.request import Meaning, Request, check_experts
from index.storage import of_one_state, text_name
from index.text_side import Text, TextSide
from index.video_index import Masks, Matching, VideoIndex, both, selection_of
from mee.checkpoint import changed_since, fingerprint
from mee.errors import InputError

if TYPE_CHECKING:
    import torch

    from index.postgres import Place
    from mee.model import MEE

Answer = list[Hit] | list[VideoHits]
# columns by which hits, and videos, are sorted
SORTED = {"date": ("file_modified", "file_modified"), "length": ("duration", "file_seconds")}


@final
class Searcher:
    """An index with the text side of the model that made it."""

    def __init__(self, video_index: VideoIndex, model: MEE | Text) -> None:
        if not isinstance(model, Text):
            _check_layout(video_index, model)
        self.video_index = video_index
        self.text = model if isinstance(model, Text) else Text(lambda: model, reason="it was given")
        self.meaning = Meaning(video_index, self.text)
        self.missing: list[set[str]] = []  # of each answer of the last search, shards whose part is missing in it

    @classmethod
    def load(
        cls,
        place: Path | Place | str,
        *,
        device: torch.device | str = "auto",
        model: Path | None = None,
        index_device: torch.device | None = None,
    ) -> Searcher:
        """Open an index and what encodes sentences for it: its text side, or else its model.

        Args:
            place: the index: a folder, or the url of a database, postgresql://….
            device: where the model encodes sentences, if it must; auto: on a GPU where there is one. A GPU that is
                named is a reason to use the model.
            model: the model's directory; it is then used. Default: the folder of the recorded fingerprint, where
                it was, moved along with the index, or beside it. An index may have been made by anyone, and what
                it names is no reason to read it: other places are not looked at (`Origin.models`).
            index_device: where clips are scored; a GPU takes a copy of the vectors first. Default: the CPU.

        Raises:
            InputError: the index or its model is not there, or they do not belong together.
        """
        if isinstance(place, Path):
            video_index, home = VideoIndex.open(place, device=index_device), place
        else:
            from index.postgres import home_of, place_of, snapshot_at  # here: most searches need none of it

            place = place_of(place)
            video_index, home = VideoIndex(snapshot_at(place), device=index_device), home_of(place)
        origin = video_index.origin
        places = [(model, True)] if model else list(origin.models(home))

        @cache
        def check() -> Path:
            for folder, sure in places:
                try:
                    found = fingerprint(folder)
                except (InputError, OSError):
                    if sure:
                        raise
                    continue
                if found == origin.model_fingerprint:
                    return folder
                if sure:
                    again = shlex.join(["mee", "index", origin.store, str(folder), str(place), "--overwrite"])
                    raise InputError(
                        f"'{folder}' is not the model that index '{place}' was made with (fingerprint "
                        f"{found}, not {origin.model_fingerprint}). Make the index again: {again}"
                    )
            raise InputError(
                f"the model of index '{place}' is not at '{origin.model}', nor beside the index. Say where it "
                "is with --model, or once for all with mee index STORE MODEL INDEX"
            )

        def load() -> MEE:
            found = check()
            import torch

            from mee.model import MEE

            made = MEE.from_pretrained(found)
            _check_layout(video_index, made)
            best = "cuda" if torch.cuda.is_available() else "cpu"
            return made.to(best if device == "auto" else device)

        exported, reason = None, "a model is named" if model else "a GPU is named"
        if not model and not str(device).startswith("cuda"):
            try:
                exported = TextSide(home / text_name(origin), video_index.layout)
            except InputError as error:
                reason = str(error)
        if exported is None or any(sure and changed_since(folder, exported.made) for folder, sure in places):
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
        check_experts(request, self.video_index.layout)
        selection_of(request, self.video_index)
        self._sorted_by(request)

    @of_one_state
    def search(self, requests: Sequence[Request], *, again: bool = False) -> list[Answer]:
        """Find clips, or videos, for each request, the best first, or sorted as it says; ranks are by score.

        Requests that may find the same clips are ranked together. again: as in `Meaning.of`.

        Raises:
            InputError: a request names an expert, a clip, a video, a column or words that are not there, or leaves
                nothing to compare by.
        """
        wanted, requests = requests, [*map(_whole, requests)]
        missing = self.video_index.missing
        missing.clear()
        asking = [number for number, request in enumerate(requests) if request.asks]
        parts = [part for number in asking for part in requests[number].parts]
        made = iter(self.meaning.of(parts, again=again))
        queries = {number: [next(made) for _ in requests[number].parts] for number in asking}
        together: dict[tuple[object, ...], list[int]] = {}
        for number in asking:
            together.setdefault(requests[number].shared, []).append(number)
        answers = {n: self._list(request) for n, request in enumerate(requests) if not request.asks}
        lost = {*missing}  # when it was found how much sentences stand out
        self.missing = [lost if request.sentences else set() for request in requests]
        for numbers in together.values():
            missing.clear()
            found = self._ranked_together(requests[numbers[0]], [queries[number] for number in numbers])
            answers.update(zip(numbers, found))
            for number in numbers:
                self.missing[number] = self.missing[number] | missing
        return [self._shown(request, answers[number]) for number, request in enumerate(wanted)]

    @of_one_state
    def weights(self, request: Request) -> dict[str, float]:
        """The weight of each expert for a clip that has all of them, as in `Share`; {}: clips are only listed.

        Of a sequence they are those of its first moment.

        Raises:
            InputError: as `search`.
        """
        if not request.asks:
            return {}
        layout = self.video_index.layout
        every = np.ones((1, len(layout.names)), dtype=bool)
        factors = self.meaning.of(request.parts[:1], again=True)[0].factors(every, layout.missing)[0, 0]  # (T, M)
        return {name: float(np.abs(its).sum()) for name, its in zip(layout.names, factors.T)}

    @of_one_state
    def explain(self, request: Request, clip_id: str) -> Hit:
        """A clip as a hit of a request, whether or not the request's filters and `top` let it be found.

        Its rank is among the clips that the request may find and itself; `by_video`, `fold` and `min_score` do not
        count. If the search finds the clip, too, both hits are the same. Of a sequence, the clip is explained by
        the part that it has in the best one of its video; else by the one that scores it best.

        Raises:
            InputError: as `search`; or there is no such clip, or it has none of the experts that are asked for.
        """
        index, (number, row) = self.video_index, self.video_index.find(clip_id)
        clip_id = index.moments([clip_id])[0].clip_id  # which may be spelled differently
        selection, matching = selection_of(request, index)
        if selection is not None and (mask := selection[number]) is not None:
            mask = mask.copy()
            mask[row] = True
            selection = [mask if n == number else each for n, each in enumerate(selection)]
        if not request.asks:
            listed = self._clips_of(request, selection or ())
            place = [its for _, _, its, *_ in listed].index(clip_id)
            return self._with_words([_listed(place + 1, listed[place])], matching)[0]
        query, *later = queries = self.meaning.of(request.parts, again=True)
        if later:
            of_video = both(selection, index.of_videos([index.moments([clip_id])[0].video]))
            found = self._sequences(replace(request, top=1, min_score=None), queries, of_video, matching)
            for hit in (hit for one in found for hit in one.hits if hit.clip_id == clip_id):
                return hit
            tables = (segment.table for segment in index.snapshot.segments)
            itself = [np.arange(len(table)) == (row if n == number else -1) for n, table in enumerate(tables)]
            alone = index.rank(Queries.stacked(queries), 1, where=itself, plain=request.plain, exact=True)
            query = queries[int(alone.scores.max(1, initial=-np.inf).argmax())]
        for count in (request.top, len(index) + 1) if index.snapshot.segments[number].place(row) else ():
            ranked = index.rank(query, count, where=selection, plain=request.plain, exact=request.exact)
            if clip_id in ranked.ids[0]:
                place = ranked.ids[0].index(clip_id)
                one = np.s_[:, place : place + 1]
                this = Ranked(ranked.partitions, ranked.scores[one], ranked.number[one], ranked.row[one])
                hits = hits_of(this, query, index, plain=request.plain)[0]
                return replace(self._with_words(hits, matching)[0], rank=place + 1)
        raise InputError(f"clip {clip_id!r} has none of the experts that the search uses, so it has no score")

    def _ranked_together(self, request: Request, parts: Sequence[Sequence[Queries]]) -> Iterable[Answer]:
        """Hits for the queries of requests that differ in nothing else, one for each part."""
        index, plain = self.video_index, request.plain
        selection, matching = selection_of(request, index)
        if request.then:
            return (self._sequences(request, each, selection, matching) for each in parts)
        queries = [first for first, *_ in parts]

        def hits(queries: Queries, count: int, selection: Masks | None) -> list[list[Hit]]:
            ranked = index.rank(queries, count, where=selection, plain=plain, exact=request.exact)
            found = hits_of(ranked, queries, index, plain=plain)
            least = -np.inf if request.min_score is None else request.min_score
            return [self._with_words([hit for hit in each if hit.score >= least], matching) for each in found]

        if request.fold and not request.by_video:
            first = hits(Queries.stacked(queries), first_count(request.top), selection)
            wider = [partial(lambda query, count: hits(query, count, selection)[0], query) for query in queries]
            return [folded(*each, index.snapshot, request.top) for each in zip(first, wider)]
        if not request.by_video:
            return hits(Queries.stacked(queries), request.top, selection)

        def videos(query: Queries, first: Sequence[Hit]) -> list[VideoHits]:
            def wider(count: int, inside: Collection[str] | None, outside: Collection[str]) -> list[Hit]:
                within = selection
                if inside is not None:
                    within = both(within, index.of_videos(inside))
                if outside:
                    within = both(within, [~mask for mask in index.of_videos(outside)])
                return hits(query, count, within)[0]

            return best_videos(first, wider, top=request.top, moments=request.moments)

        return map(videos, queries, hits(Queries.stacked(queries), first_count(request.top), selection))

    def _sequences(
        self,
        request: Request,
        queries: Sequence[Queries],
        selection: Masks | None,
        matching: Sequence[Matching],
    ) -> list[VideoHits]:
        """Videos by their best sequences."""
        from index.request import best_sequences  # here: most searches need none of it

        found = best_sequences(self.video_index, Queries.stacked(queries), request, selection)
        return [replace(one, hits=tuple(self._with_words([*one.hits], matching))) for one in found]

    def _list(self, request: Request) -> Answer:
        """Clips that are not scored, by video and time, or sorted."""
        selection, matching = selection_of(request, self.video_index)
        clips = self._clips_of(request, selection or ())

        def hits(clips: Iterable[tuple[Any, ...]], top: int) -> list[Hit]:
            return self._with_words(list(map(_listed, range(1, top + 1), clips)), matching)

        if not request.by_video:
            return hits(clips, request.top)
        of_videos: dict[str, list[tuple[Any, ...]]] = {}
        for clip in clips:
            of_videos.setdefault(clip[0], []).append(clip)
        videos = enumerate(islice(of_videos.items(), request.top), start=1)
        return [VideoHits(rank, video, 0.0, tuple(hits(its, request.moments))) for rank, (video, its) in videos]

    def _clips_of(self, request: Request, selection: Masks) -> list[tuple[Any, ...]]:
        """Video, start, id, end of clips, and what they are sorted by; in that order, else by video and time."""
        found: list[tuple[Any, ...]] = []
        for segment, mask, by in zip(self.video_index.snapshot.segments, selection, self._sorted_by(request)):
            kept = np.logical_and.reduce([each for each in (mask, segment.live) if each is not None])
            columns = [segment.table.arrow[name] for name in ("video", "start_s", "clip_id", "end_s")]
            columns.append(columns[0] if by is None else by)
            found += (tuple(each[row].as_py() for each in columns) for row in np.flatnonzero(kept).tolist())
        return _arranged(sorted(found, key=itemgetter(0, 1, 2)), request.sort, itemgetter(4))

    def _shown(self, request: Request, answer: Answer) -> Answer:
        """What follows the best `offset`, sorted; lists are sorted already."""
        found: list[Any] = answer[request.offset :]
        if request.sort == "score" or not request.asks:
            return found
        columns = self._sorted_by(request)

        def value(one: Hit | VideoHits) -> Any:
            number, row = self.video_index.find(one.hits[0].clip_id)
            return None if (by := columns[number]) is None else by[row].as_py()

        found.sort(key=lambda one: (one.video, one.hits[0].start_s, one.hits[0].clip_id))
        return _arranged(found, request.sort, value)

    def _sorted_by(self, request: Request) -> Sequence[Any]:
        """Of each segment the column by which a request is sorted, None: by none.

        Raises:
            InputError: the index has no such column.
        """
        tables = [segment.table.arrow for segment in self.video_index.snapshot.segments]
        if request.sort not in SORTED or not tables:
            return [None] * len(tables)
        from index.filter import filterable, values_of

        columns, name = filterable(tables), SORTED[request.sort][request.by_video or bool(request.then)]
        if name not in columns:
            again = "make it again (mee index STORE MODEL INDEX --overwrite)"
            raise InputError(f"the index has no column {name!r} to sort by {request.sort}; {again}")
        return [values_of(table, name, columns[name]) for table in tables]

    def _with_words(self, hits: list[Hit], matching: Sequence[Matching]) -> list[Hit]:
        """The same, each with the first words of its clip that were asked for, in place of what fits best."""
        names, segments = self.video_index.layout.names, self.video_index.snapshot.segments
        for place, hit in enumerate(hits if matching else ()):
            number, row = self.video_index.find(hit.clip_id)
            its = [(m, segments[number].words[m], rows) for m, rows in matching[number].items()]
            first = {
                names[m]: said(words, row, int(fitting.argmax()))
                for m, words, rows in its
                if (fitting := rows[words.of(row)]).any()
            }
            hits[place] = replace(hit, words=hit.words | first)
        return hits


def _whole(request: Request) -> Request:
    """The same with what is passed over; what is scored is sorted later."""
    if not request.offset and request.sort == "score":
        return request
    sort = "score" if request.asks else request.sort
    return replace(request, top=request.top + request.offset, offset=0, sort=sort)


def _arranged(found: list[Any], sort: str, value: Callable[[Any], Any]) -> list[Any]:
    """The newest or shortest first, what has no value last, ties as they are; sorted by neither: as it is."""
    if sort not in SORTED:
        return found
    newest = sort == "date"
    return sorted(found, key=lambda one: (((its := value(one)) is None) != newest, its), reverse=newest)


def _listed(rank: int, clip: tuple[Any, ...]) -> Hit:
    video, start_s, clip_id, end_s, _ = clip
    return Hit(rank, clip_id, video, start_s, end_s, 0.0, {})


def _check_layout(video_index: VideoIndex, model: MEE) -> None:
    if video_index.layout != model.layout:
        raise InputError(f"the index holds {video_index.layout}, the model makes {model.layout}")
