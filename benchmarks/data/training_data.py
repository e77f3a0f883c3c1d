"""Data of the training benchmarks: random clips in the paper's shapes, and 810 real ones.

random   appearance (1, 2048)   motion (1, 1024)   audio (30, 128)   face (1, 128)   words (up to 30, 300)
         Faces and audio are missing in some clips. Captions are as long as those of MSR-VTT, nine words in the
         mean, and twenty a clip.

810      clips.jsonl            id, fold, sentence (the query), captions (for training)
         appearance.npz         stream (N, 12, 1280)
         motion.npz, face.npz   rows (n, D), offsets (N + 1,): clip i owns rows[offsets[i]:offsets[i + 1]]
         minilm_captions.npy    (N, 20, 384) unit-norm sentence vectors;  minilm_sentence.npy (N, 384)
         imagenet_head.npz      weight (1001, 1280), bias, names of the network that made appearance; name_vectors
                                and prompt_vectors (1001, 384) of "NAME" and "a video of a NAME"

dubbed   clips.jsonl with queries (text, kind) in place of sentence, and sound; minilm_queries.npy; audio.npz like
         motion.npz; the pictures' files are in the folder msrvtt810 beside it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
HEAD = "imagenet_head.npz"
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
    asked: Sequence[Sequence[tuple[str, str]]]  # of each clip: its queries, and what kind each is
    captions: Sequence[Sequence[str]]
    text: GivenVectors

    @classmethod
    def load(cls, folder: Path, *, names: bool = True) -> Self:
        """Read the folder; `names`: with the classes of the pictures' network, where its head is there."""
        ENCODERS[str(folder)] = "benchmarks.data.training_data:GivenVectors"  # the table of text encoders
        pictures, clips = _pictures(folder), _clips(folder)
        with np.load(pictures / "appearance.npz", allow_pickle=False) as file:
            streams: dict[str, list[Rows | None]] = {"appearance": list(file["stream"])}
        for path in (pictures / "motion.npz", pictures / "face.npz", folder / "audio.npz"):
            if path.exists():
                with np.load(path, allow_pickle=False) as file:
                    parts = np.split(file["rows"], file["offsets"][1:-1])
                streams[path.stem] = [part if len(part) else None for part in parts]
        columns: dict[str, tuple[str, ...]] = {}
        if names and (pictures / HEAD).exists():
            with np.load(pictures / HEAD, allow_pickle=False) as file:
                weight, bias, classes = (file[key] for key in ("weight", "bias", "names"))
            rows = torch.from_numpy(np.stack(streams["appearance"])).float()
            likely = (rows @ torch.from_numpy(weight).float().T + torch.from_numpy(bias).float()).softmax(-1)
            streams["appearance"] = list(torch.cat([rows, likely[..., 1:]], dim=-1).half().numpy())
            columns["appearance"] = ("",) * rows.shape[-1] + tuple(classes[1:].tolist())  # the first: background
        asked, captions = _asked(clips), clips["captions"].tolist()
        text = GivenVectors.learn(TextConfig(encoder=str(folder)), [])
        source = replace(Streams.of(str(folder), clips["id"].tolist(), streams), columns=columns)
        return cls(source, clips["fold"].tolist(), asked, captions, text)

    def training(self, rows: Sequence[int]) -> Pairs:
        """Every caption of some clips."""
        return self.source.pairs((row, caption) for row in rows for caption in self.captions[row])

    def queries(self, rows: Sequence[int]) -> Pairs:
        """The queries of some clips."""
        return self.source.pairs((row, query) for row in rows for query, _ in self.asked[row])


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
        asked = [query for queries in _asked(clips) for query, _ in queries]
        kind = "queries" if "queries" in clips else "sentence"
        for key, sentences in (("captions", clips["captions"].explode()), (kind, asked)):
            vectors = torch.from_numpy(np.load(folder / f"minilm_{key}.npy", allow_pickle=False)).float()
            table.update(zip(sentences, vectors.flatten(0, -2)))
        if (head := _pictures(folder) / HEAD).exists():
            with np.load(head, allow_pickle=False) as file:
                names = file["names"].tolist()
                table.update(zip(names, torch.from_numpy(file["name_vectors"]).float()))
                prompts = (f"a video of a {name}" for name in names)
                table.update(zip(prompts, torch.from_numpy(file["prompt_vectors"]).float()))
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


def _pictures(folder: Path) -> Path:
    """Where the pictures' streams are: here, or in the folder beside it that has them."""
    return folder if (folder / "appearance.npz").exists() else folder.parent / "msrvtt810"


def _asked(clips: pd.DataFrame) -> list[list[tuple[str, str]]]:
    if "queries" not in clips:
        return [[(sentence, "")] for sentence in clips["sentence"]]
    return [
        [(query["text"], _kind(query["kind"], sound)) for query in queries]
        for queries, sound in zip(clips["queries"], clips["sound"])
    ]


def _kind(kind: str, sound: object) -> str:  # NaN: none
    return kind if kind == "both" else f"picture, {'sounding' if isinstance(sound, str) else 'silent'} clip"


def _clips(folder: Path) -> pd.DataFrame:
    return pd.read_json(folder / "clips.jsonl", lines=True, dtype=False)
