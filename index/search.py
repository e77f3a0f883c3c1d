"""Searcher: sentences -> hits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from index.hit import Hit
from index.video_index import VideoIndex
from mee.checkpoint import fingerprint
from mee.errors import InputError
from mee.evaluate import encode_captions
from mee.model import MEE


class Searcher:
    """An index with the text side of the model that made it."""

    def __init__(self, video_index: VideoIndex, model: MEE) -> None:
        if video_index.layout != model.layout:
            raise ValueError(f"the index holds {video_index.layout}, the model makes {model.layout}")
        self.video_index, self.model = video_index, model.eval()

    @classmethod
    def load(cls, directory: Path, *, device: torch.device, model: Path | None = None) -> Searcher:
        """Open an index and its model.

        Args:
            directory: the index.
            device: where sentences are encoded.
            model: the model's directory, if it is no longer where it was when the index was made.

        Raises:
            InputError: the index or its model is not there, or they do not belong together.
        """
        video_index = VideoIndex.load(directory)
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

    def search(self, sentences: Sequence[str], top: int) -> list[list[Hit]]:
        """The best `top` clips for each sentence, the best first.

        Raises:
            InputError: a sentence is empty.
        """
        return self.video_index.search(encode_captions(self.model, sentences), top)
