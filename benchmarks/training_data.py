"""Data of the training benchmarks: random clips in the paper's shapes, and 810 real ones.

random   appearance (1, 2048)   motion (1, 1024)   audio (30, 128)   face (1, 128)   words (up to 30, 300)
         Faces and audio are missing in some clips. Captions are as long as those of MSR-VTT, nine words in the
         mean, and twenty a clip.

810      clips.jsonl            id, fold, sentence (the query), captions (for training)
         appearance.npz         stream (N, 12, 1280)
         motion.npz, face.npz   rows (n, D), offsets (N + 1,): clip i owns rows[offsets[i]:offsets[i + 1]]
         minilm_captions.npy    (N, 20, 384) unit-norm sentence vectors;  minilm_sentence.npy (N, 384)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mee.data.pairs import Pairs
from mee.streams import Rows
from mee.text.base import Attention, TextEncoder
from mee.text.config import ENCODERS, TextConfig

SHAPES = {"appearance": (1, 2048), "motion": (1, 1024), "audio": (30, 128), "face": (1, 128)}
MISSING = {"audio": 0.1, "face": 0.3}  # share of the clips
WORD_DIM, MAX_WORDS, MEAN_WORDS, VOCABULARY, CAPTIONS = 300, 30, 9.3, 10_000, 20


@dataclass(frozen=True)
class Streams:
    """Streams in memory, a clip a row; fits `mee.data.source.FeatureSource`."""

    name: str
    clips: pd.DataFrame
    streams: Mapping[str, Sequence[Rows | None]]  # (T, D) a clip; None where it is missing
    dims: Mapping[str, int]  # D of every modality
    failed: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names, of the modalities that have any

    @classmethod
    def of(cls, name: str, ids: Sequence[str], streams: Mapping[str, Sequence[Rows | None]]) -> Self:
        """Clips of ten seconds."""
        clips = {"video": ids, "start_s": 0.0, "end_s": 10.0}
        dims = {m: next(s.shape[1] for s in rows if s is not None) for m, rows in streams.items()}
        return cls(name, pd.DataFrame(clips, index=pd.Index(ids, name="clip_id")), streams, dims)

    @property
    def fingerprints(self) -> dict[str, str]:
        return {modality: f"{self.name} {modality}" for modality in self.streams}

    versions = fingerprints

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Rows | None]:
        return [self.streams[modality][row] for row in self.clips.index.get_indexer(pd.Index(clip_ids)).tolist()]

    def pairs(self, captioned: Iterable[tuple[int, str]]) -> Pairs:
        """Captions of some rows."""
        rows, captions = zip(*captioned)
        videos = tuple(str(self.clips.index[row]) for row in rows)
        return Pairs(captions, videos, tuple((video,) for video in videos))


@dataclass(frozen=True)
class RandomClips:
    """A training set of random numbers."""

    source: Streams
    captions: Sequence[Sequence[str]]
    vectors: Mapping[str, NDArray[np.float32]]  # word -> (300,)

    @classmethod
    def make(cls, count: int, seed: int) -> Self:
        """Draw `count` clips."""
        rng = np.random.default_rng(seed)
        streams: dict[str, list[Rows | None]] = {}
        for modality, shape in SHAPES.items():
            rows = rng.standard_normal((count, *shape), dtype=np.float32)
            there = rng.random(count) >= MISSING.get(modality, 0)
            streams[modality] = [row if has else None for row, has in zip(rows, there)]
        words = np.array([f"word{number}" for number in range(VOCABULARY)])
        lengths = rng.poisson(MEAN_WORDS, (count, CAPTIONS)).clip(1, MAX_WORDS)
        captions = [
            [" ".join(words[rng.integers(VOCABULARY, size=length)]) for length in of_clip] for of_clip in lengths
        ]
        vectors = dict(zip(words.tolist(), rng.standard_normal((VOCABULARY, WORD_DIM), dtype=np.float32)))
        ids = [f"clip{number:05d}" for number in range(count)]
        return cls(Streams.of("random clips", ids, streams), captions, vectors)

    def pairs(self, count: int) -> Pairs:
        """The captions of the first clips."""
        return self.source.pairs((row, caption) for row in range(count) for caption in self.captions[row])

    def write_vectors(self, path: Path) -> Path:
        """The words' vectors in word2vec's text format."""
        with path.open("w") as file:
            file.write(f"{len(self.vectors)} {WORD_DIM}\n")
            for word, vector in self.vectors.items():
                file.write(f"{word} {' '.join(map(repr, vector.tolist()))}\n")
        return path


@dataclass(frozen=True)
class Clips810:
    """The 810 clips of MSR-VTT, or any number of clips and folds; the folder's name is that of a text encoder."""

    source: Streams
    folds: Sequence[int]
    sentences: Sequence[str]  # the query of each clip
    captions: Sequence[Sequence[str]]
    text: GivenVectors

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the folder."""
        ENCODERS[str(folder)] = "benchmarks.training_data:GivenVectors"  # the table of text encoders
        clips = _clips(folder)
        with np.load(folder / "appearance.npz", allow_pickle=False) as file:
            streams: dict[str, list[Rows | None]] = {"appearance": list(file["stream"])}
        for modality in ("motion", "face"):
            with np.load(folder / f"{modality}.npz", allow_pickle=False) as file:
                parts = np.split(file["rows"], file["offsets"][1:-1])
            streams[modality] = [part if len(part) else None for part in parts]
        ids, folds, sentences, captions = (clips[key].tolist() for key in ("id", "fold", "sentence", "captions"))
        text = GivenVectors.learn(TextConfig(encoder=str(folder)), [])
        return cls(Streams.of(str(folder), ids, streams), folds, sentences, captions, text)

    def training(self, rows: Sequence[int]) -> Pairs:
        """Every caption of some clips."""
        return self.source.pairs((row, caption) for row in rows for caption in self.captions[row])

    def queries(self, rows: Sequence[int]) -> Pairs:
        """One query of each of some clips."""
        return self.source.pairs((row, self.sentences[row]) for row in rows)


class GivenVectors(TextEncoder):
    """Sentence vectors that were made elsewhere, and no others; `TextConfig.encoder` is the folder."""

    def __init__(self, table: Mapping[str, Tensor]) -> None:
        dim = len(next(iter(table.values())))
        super().__init__(dim, torch.empty(0, dim))
        self.table = table

    @classmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> Self:
        folder = Path(config.encoder)
        clips = _clips(folder)
        table: dict[str, Tensor] = {}
        for key in ("captions", "sentence"):
            vectors = torch.from_numpy(np.load(folder / f"minilm_{key}.npy", allow_pickle=False)).float()
            table.update(zip(clips[key].explode(), vectors.flatten(0, -2)))
        return cls(table)

    @classmethod
    def load(cls, config: TextConfig, directory: Path) -> Self:
        return cls.learn(config, [])

    def save(self, directory: Path) -> None:
        """Nothing: the vectors stay where they are."""

    def tokenize(self, sentences: Sequence[str]) -> list[Tensor]:
        return [self.table[sentence][None] for sentence in sentences]

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        return rows[:, 0]

    def attention(self, sentence: str) -> Attention | None:
        return None


def _clips(folder: Path) -> pd.DataFrame:
    return pd.read_json(folder / "clips.jsonl", lines=True, dtype=False)
