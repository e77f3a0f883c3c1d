"""A training set of random numbers in the shapes of the paper's features.

    appearance (1, 2048)   motion (1, 1024)   audio (30, 128)   face (1, 128)   words (up to 30, 300)

Faces and audio are missing in some clips. Captions are as long as those of MSR-VTT, nine words in the mean, and
twenty a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mee.data.pairs import Pairs
from mee.streams import Rows

SHAPES = {"appearance": (1, 2048), "motion": (1, 1024), "audio": (30, 128), "face": (1, 128)}
MISSING = {"audio": 0.1, "face": 0.3}  # share of the clips
WORD_DIM, MAX_WORDS, MEAN_WORDS, VOCABULARY, CAPTIONS = 300, 30, 9.3, 10_000, 20


@dataclass(frozen=True)
class RandomClips:
    """Fits `mee.data.source.FeatureSource`."""

    streams: Mapping[str, Mapping[str, Rows]]  # modality -> clip -> (T, D) float32
    captions: Mapping[str, Sequence[str]]  # clip -> its captions
    vectors: Mapping[str, NDArray[np.float32]]  # word -> (300,)
    clips: pd.DataFrame
    name: str = "random clips"
    failed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, count: int, seed: int) -> Self:
        """Draw `count` clips."""
        rng = np.random.default_rng(seed)
        names = [f"clip{number:05d}" for number in range(count)]
        streams = {}
        for modality, shape in SHAPES.items():
            rows = rng.standard_normal((count, *shape), dtype=np.float32)
            there = rng.random(count) >= MISSING.get(modality, 0)
            streams[modality] = {name: rows[n] for n, name in enumerate(names) if there[n]}
        words = np.array([f"word{number}" for number in range(VOCABULARY)])
        lengths = rng.poisson(MEAN_WORDS, (count, CAPTIONS)).clip(1, MAX_WORDS)
        captions = {
            name: [" ".join(words[rng.integers(VOCABULARY, size=length)]) for length in of_clip]
            for name, of_clip in zip(names, lengths)
        }
        vectors = dict(zip(words.tolist(), rng.standard_normal((VOCABULARY, WORD_DIM), dtype=np.float32)))
        table = pd.DataFrame(
            {"video": names, "start_s": 0.0, "end_s": 10.0}, index=pd.Index(names, name="clip_id")
        )
        return cls(streams, captions, vectors, table)

    @property
    def dims(self) -> Mapping[str, int]:
        """D of every modality."""
        return {modality: dim for modality, (_, dim) in SHAPES.items()}

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """They come from no extractor."""
        return dict.fromkeys(SHAPES, "random")

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Rows | None]:
        """One (T, D) stream a clip."""
        return [self.streams[modality].get(clip_id) for clip_id in clip_ids]

    def pairs(self, clip_ids: Sequence[str]) -> Pairs:
        """The captions of some clips."""
        told = [(caption, clip_id) for clip_id in clip_ids for caption in self.captions[clip_id]]
        captions, videos = zip(*told)
        return Pairs(captions, videos, tuple((clip_id,) for clip_id in videos))

    def write_vectors(self, path: Path) -> Path:
        """The words' vectors in word2vec's text format."""
        with path.open("w") as file:
            file.write(f"{len(self.vectors)} {WORD_DIM}\n")
            for word, vector in self.vectors.items():
                file.write(f"{word} {' '.join(map(repr, vector.tolist()))}\n")
        return path
