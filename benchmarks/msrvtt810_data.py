"""The 810 clips of MSR-VTT as this project's own types: a FeatureSource, captions by fold, and given text vectors.

clips.jsonl            id, fold, sentence (the query), captions (for training)
appearance.npz         stream (N, 12, 1280)
motion.npz, face.npz   rows (n, D), offsets (N + 1,): clip i owns rows[offsets[i]:offsets[i + 1]]
minilm_captions.npy    (N, 20, 384) unit-norm sentence vectors;  minilm_sentence.npy (N, 384)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mee.data.pairs import Pairs
from mee.streams import Rows
from mee.text.base import Attention, TextEncoder
from mee.text.config import TextConfig
from mee.text.registry import ENCODERS


@dataclass(frozen=True)
class Streams810:
    """Fits `mee.data.source.FeatureSource`."""

    name: str
    streams: Mapping[str, Sequence[Rows | None]]
    dims: Mapping[str, int]
    clips: pd.DataFrame
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprints(self) -> dict[str, str]:
        return {modality: f"msrvtt810-{modality}" for modality in self.streams}

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Rows | None]:
        """One (T, D) stream a clip; None where it is missing."""
        return [self.streams[modality][row] for row in self.clips.index.get_indexer(list(clip_ids))]


@dataclass(frozen=True)
class Clips810:
    """Everything of the folder."""

    source: Streams810
    folds: Tensor  # (N,) int64
    sentences: tuple[str, ...]  # the query of each clip
    captions: tuple[tuple[str, ...], ...]

    def training(self, rows: Sequence[int]) -> Pairs:
        """Every caption of some clips."""
        return self._pairs([(row, caption) for row in rows for caption in self.captions[row]])

    def queries(self, rows: Sequence[int]) -> Pairs:
        """One query of each of some clips."""
        return self._pairs([(row, self.sentences[row]) for row in rows])

    def _pairs(self, chosen: Sequence[tuple[int, str]]) -> Pairs:
        ids = self.source.clips.index
        videos = tuple(str(ids[row]) for row, _ in chosen)
        return Pairs(tuple(caption for _, caption in chosen), videos, tuple((video,) for video in videos))


def load(folder: Path) -> Clips810:
    """Read the folder, of any number of clips and folds; its name then is that of a text encoder."""
    ENCODERS[str(folder)] = "benchmarks.msrvtt810_data:GivenVectors"  # one more line in the one table
    lines = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
    ids = [line["id"] for line in lines]
    with np.load(folder / "appearance.npz", allow_pickle=False) as file:
        streams: dict[str, list[Rows | None]] = {"appearance": list(file["stream"])}
    for modality in ("motion", "face"):
        with np.load(folder / f"{modality}.npz", allow_pickle=False) as file:
            parts = np.split(file["rows"], file["offsets"][1:-1])
        streams[modality] = [part if len(part) else None for part in parts]
    dims = {m: next(s.shape[1] for s in rows if s is not None) for m, rows in streams.items()}
    table = pd.DataFrame({"video": ids, "start_s": 0.0, "end_s": 0.0}, index=pd.Index(ids, name="clip_id"))
    return Clips810(
        Streams810(str(folder), streams, dims, table),
        torch.tensor([line["fold"] for line in lines]),
        tuple(line["sentence"] for line in lines),
        tuple(tuple(line["captions"]) for line in lines),
    )


class GivenVectors(TextEncoder):
    """Sentence vectors that were made elsewhere, and no others; `TextConfig.encoder` is the folder."""

    def __init__(self, table: Mapping[str, Tensor]) -> None:
        dim = len(next(iter(table.values())))
        super().__init__(dim, torch.empty(0, dim))
        self.table = table

    @classmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> Self:
        folder = Path(config.encoder)
        lines = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
        of_captions = torch.from_numpy(np.load(folder / "minilm_captions.npy", allow_pickle=False)).float()
        of_queries = torch.from_numpy(np.load(folder / "minilm_sentence.npy", allow_pickle=False)).float()
        table: dict[str, Tensor] = {}
        for line, vectors, query in zip(lines, of_captions, of_queries):
            table.update(zip(line["captions"], vectors))
            table[line["sentence"]] = query
        return cls(table)

    @classmethod
    def load(cls, config: TextConfig, directory: Path) -> Self:
        return cls.learn(config, [])

    def save(self, directory: Path) -> None:
        """Nothing: the vectors stay where they are."""

    def read(self, sentences: Sequence[str]) -> list[Tensor]:
        return [self.table[sentence][None] for sentence in sentences]

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        return rows[:, 0]

    def attention(self, sentence: str) -> Attention | None:
        return None
