"""Arguments of mee evaluate: of a model, or of another system's scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mee.evaluation import NormaliseConfig
from mee.protocols import FOLDER
from scripts.console import Device


@dataclass(frozen=True, kw_only=True)
class CommonArgs:
    """How to measure, and where to write it."""

    protocol: str = FOLDER  # whose captions: folder, a table of your own, or a benchmark: msrvtt-1ka, lsmdc, …
    partial: bool = False  # go on where files or scores fall short of the protocol; the result says so
    v2t: Literal["closest", "video", "each"] = "closest"  # how video to text is ranked, see docs/evaluation.md
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    bootstrap: int = 1000  # resamples of the 95 % intervals; 0: none
    result: Path | None = None  # write the result: a .json file, for mee report
    ranks: Path | None = None  # write what every query got: a .csv or .parquet file
    name: str | None = None  # of the system, in tables; default: the model's directory, or the score file
    json: bool = False  # print the result as JSON
    device: Device = "auto"

    def __post_init__(self) -> None:
        if self.bootstrap < 0:
            raise ValueError(f"bootstrap cannot be negative, got {self.bootstrap}")


@dataclass(frozen=True, kw_only=True)
class ModelArgs(CommonArgs):
    """Arguments of mee evaluate STORE ANNOTATIONS MODEL."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute
    captions: Annotated[Positional[Path], arg(metavar="ANNOTATIONS")]  # table of captions, or --protocol's files
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # made by mee train
    split: Literal["test", "val"] | None = None  # default: test, or val where the captions name no split
    ablation: bool = False  # also each expert alone, uniform weights, missing streams as zeros, each one removed


@dataclass(frozen=True, kw_only=True)
class ScoresArgs(CommonArgs):
    """Arguments of mee evaluate ANNOTATIONS --scores FILE."""

    captions: Annotated[Positional[Path], arg(metavar="ANNOTATIONS")]  # table of captions, or --protocol's files
    scores: Path  # score matrix, or two embedding tables: .npy, .npz, .safetensors
    video: Path | None = None  # the clips' table, where --scores is the queries' alone
    query_ids: Path | None = None  # ids of rows, one a line, where the score file has none
    clip_ids: Path | None = None  # ids of columns, one a line
    unit_norm: bool = False  # divide embeddings by their length: cosine similarity
    bank: Path | None = None  # scores of training captions and the same clips, with ids, for qb-norm and nnn
    trained_on: Path | None = None  # the videos that the system was trained on, for the check against the test's
    seed: int | None = None  # of the system's training, for mean and deviation over seeds
