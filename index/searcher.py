"""Searcher: sentences and clips -> hits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import final

import torch

from index.hit import Hit
from index.queries import Queries
from index.request import (
    Filter,
    Request,
    Search,
    Selection,
    VideoHits,
    best_videos,
    both,
    check_experts,
    first_count,
    of_video,
    of_videos,
    queries_of,
    stacked,
    without_clip,
)
from index.video_index import VideoIndex
from mee.checkpoint import fingerprint
from mee.encode import encode_captions
from mee.errors import InputError
from mee.model import MEE

Answer = list[Hit] | list[VideoHits]


@final
class Searcher:
    """An index with the text side of the model that made it."""

    def __init__(self, video_index: VideoIndex, model: MEE) -> None:
        if video_index.layout != model.layout:
            raise ValueError(f"the index holds {video_index.layout}, the model makes {model.layout}")
        self.video_index, self.model = video_index, model.eval()

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        device: torch.device,
        model: Path | None = None,
        index_device: torch.device | None = None,
    ) -> Searcher:
        """Open an index and its model.

        Args:
            directory: the index.
            device: where sentences are encoded.
            model: the model's directory, if it is no longer where it was when the index was made.
            index_device: where clips are scored; a GPU takes a copy of the vectors first. Default: the CPU.

        Raises:
            InputError: the index or its model is not there, or they do not belong together.
        """
        video_index = VideoIndex.open(directory, device=index_device)
        origin = video_index.origin
        place = model or Path(origin.model)
        if not place.is_dir():
            raise InputError(
                f"the model of index '{directory}' is not at '{place}' any more. Say where it is with --model, or "
                "train one and make the index again"
            )
        if fingerprint(place) != origin.model_fingerprint:
            raise InputError(
                f"'{place}' is not the model that index '{directory}' was made with (fingerprint "
                f"{fingerprint(place)}, not {origin.model_fingerprint}). Make the index again: "
                f"mee index {origin.store} {place} {directory} --overwrite"
            )
        return cls(video_index, MEE.from_pretrained(place).to(device))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The experts' names."""
        return self.video_index.layout.names

    def refresh(self) -> bool:
        """Take in what a writer has done to the index since; returns whether anything was.

        Raises:
            InputError: the index was made again with another model.
        """
        before = self.video_index.origin.model_fingerprint
        changed = self.video_index.refresh()
        if self.video_index.origin.model_fingerprint != before:
            raise InputError("the index was made again with another model; search it anew")
        return changed

    def search(self, sentences: Sequence[str], top: int) -> list[list[Hit]]:
        """The best `top` clips for each sentence, the best first.

        Raises:
            InputError: a sentence is empty.
        """
        return self.video_index.search(encode_captions(self.model, sentences), top) if sentences else []

    def check(self, request: Request) -> None:
        """Refuse what `answer` would refuse, before a sentence is read.

        Raises:
            InputError: as `answer`.
        """
        check_experts(request, self.video_index.layout)
        self._selection(request)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """What is found for each request: clips, or videos where it asks for them; the best first.

        Requests that may find the same clips are searched together.

        Raises:
            InputError: a request names an expert, a clip, a video or a column that is not there, or leaves nothing
                to compare by.
        """
        queries = queries_of(requests, self.video_index, self.model)
        alike: dict[tuple[object, ...], list[int]] = {}
        for number, request in enumerate(requests):
            alike.setdefault(_way(request), []).append(number)
        answers: dict[int, Answer] = {}
        for numbers in alike.values():
            some = [queries[number] for number in numbers]
            answers.update(zip(numbers, self._found(requests[numbers[0]], some)))
        return [answers[number] for number in range(len(requests))]

    def _found(self, request: Request, queries: Sequence[Queries]) -> Iterable[Answer]:
        """Answers to queries whose requests ask for the same clips in the same way."""
        selection = self._selection(request)
        count = first_count(request.top) if request.by_video else request.top
        found = self._search(stacked(queries), count, request, selection)
        if not request.by_video:
            return found
        return [
            best_videos(hits, self._wider(query, request, selection), top=request.top, moments=request.moments)
            for query, hits in zip(queries, found)
        ]

    def _selection(self, request: Request) -> Selection | None:
        selection: Selection | None = None
        if request.where is not None:
            selection = both(
                selection,
                Filter.parse(request.where).masks([segment.table.arrow for segment in self.video_index.segments]),
            )
        if request.video is not None:
            selection = both(selection, of_video(self.video_index, request.video))
        if request.like is not None:
            selection = both(selection, without_clip(self.video_index, request.like))
        return selection

    def _search(
        self, queries: Queries, count: int, request: Request, selection: Selection | None
    ) -> list[list[Hit]]:
        return self.video_index.search(queries, count, where=selection, plain=request.plain, exact=request.exact)

    def _wider(self, query: Queries, request: Request, selection: Selection | None) -> Search:
        def search(count: int, *, inside: Collection[str] | None, outside: Collection[str]) -> list[Hit]:
            narrowed = selection
            if inside is not None:
                narrowed = both(narrowed, of_videos(self.video_index, inside))
            if outside:
                narrowed = both(narrowed, of_videos(self.video_index, outside, outside=True))
            return self._search(query, count, request, narrowed)[0]

        return search


def _way(request: Request) -> tuple[object, ...]:
    """What requests have in common that are searched together."""
    found = (request.where, request.video, request.like)
    return (*found, request.top, request.by_video, request.moments, request.plain, request.exact)
