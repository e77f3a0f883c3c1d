"""Searcher: requests -> hits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import final

import torch

from index.hit import Hit, VideoHits, best_videos, first_count, hits_of
from index.queries import Queries
from index.request import Request, Selection, check_experts, queries_of, select_videos, selection_of
from index.video_index import VideoIndex
from mee.checkpoint import fingerprint
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
            model: the model's directory, if it was moved since the index was made.
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
        """Read what a writer has changed in the index since; returns whether anything was.

        Raises:
            InputError: the index was made again with another model.
        """
        before = self.video_index.origin.model_fingerprint
        changed = self.video_index.refresh()
        if self.video_index.origin.model_fingerprint != before:
            raise InputError("the index was made again with another model; open it again")
        return changed

    def check(self, request: Request) -> None:
        """Refuse what `search` would refuse, before a sentence is encoded.

        Raises:
            InputError: as `search`.
        """
        check_experts(request, self.video_index.layout)
        selection_of(request, self.video_index)

    def search(self, requests: Sequence[Request]) -> list[Answer]:
        """Find clips, or videos, for each request, the best first.

        Requests that may find the same clips are ranked together.

        Raises:
            InputError: a request names an expert, a clip, a video or a column that is not there, or leaves nothing
                to compare by.
        """
        queries = queries_of(requests, self.video_index, self.model)
        together: dict[tuple[object, ...], list[int]] = {}
        for number, request in enumerate(requests):
            together.setdefault(request.shared, []).append(number)
        answers: dict[int, Answer] = {}
        for numbers in together.values():
            found = self._ranked_together(requests[numbers[0]], [queries[number] for number in numbers])
            answers.update(zip(numbers, found))
        return [answers[number] for number in range(len(requests))]

    def _ranked_together(self, request: Request, queries: Sequence[Queries]) -> Iterable[Answer]:
        """Hits for queries whose requests differ in nothing else."""
        selection = selection_of(request, self.video_index)

        def hits(queries: Queries, count: int, selection: Selection | None) -> list[list[Hit]]:
            ranked = self.video_index.rank(
                queries, count, where=selection, plain=request.plain, exact=request.exact
            )
            return hits_of(ranked, queries, self.video_index, plain=request.plain)

        if not request.by_video:
            return hits(Queries.stacked(queries), request.top, selection)

        def videos(query: Queries, first: Sequence[Hit]) -> list[VideoHits]:
            def wider(count: int, inside: Collection[str] | None, outside: Collection[str]) -> list[Hit]:
                narrowed = selection
                if inside is not None:
                    narrowed = select_videos(self.video_index, inside, within=narrowed)
                if outside:
                    narrowed = select_videos(self.video_index, outside, others=True, within=narrowed)
                return hits(query, count, narrowed)[0]

            return best_videos(first, wider, top=request.top, moments=request.moments)

        return map(videos, queries, hits(Queries.stacked(queries), first_count(request.top), selection))
