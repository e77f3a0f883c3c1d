"""Where streams come from: `FeatureSource` is the part of a feature store that this package uses."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from mee.config import ModelConfig
from mee.errors import InputError
from mee.streams import Ragged, Rows

if TYPE_CHECKING:
    import pandas as pd


Utterance = tuple[float, float, str]  # start and end in seconds on the video, and what is said or written then


class ClipNames(Protocol):
    """Clips by name, with or without streams."""

    @property
    def name(self) -> str:
        """What to call the place in messages: its path."""

    @property
    def clips(self) -> pd.DataFrame:
        """Usable clips: index clip_id; columns video, start_s, end_s."""

    @property
    def failed(self) -> Mapping[str, str]:
        """Videos that could not be extracted, each with the reason."""


class FeatureSource(ClipNames, Protocol):
    """Streams by clip. A feature store implements it; so may anything else."""

    @property
    def dims(self) -> Mapping[str, int]:
        """D of every modality; 0 of those that hold words."""

    @property
    def columns(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the D columns of modalities that name their last ones, such as classes; "" for the others."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Digest of the extractor of every modality."""

    @property
    def versions(self) -> Mapping[str, str]:
        """A string a modality that changes when its streams are extracted again, by the same extractor too."""

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Rows | None]:
        """One (T, D) stream a clip, of one dtype a modality; None where it is missing. Not for words."""

    def words(self, modality: str, clip_ids: Sequence[str]) -> list[Sequence[Utterance] | None]:
        """What is said or written in each clip, in order of time; None where the stream is missing."""


def load_ragged(source: FeatureSource, modalities: Sequence[str], clip_ids: Sequence[str]) -> dict[str, Ragged]:
    """Load all streams of some clips, each modality into one block."""
    blocks = {}
    for modality in modalities:
        rows = source.read(modality, clip_ids)
        present = [stream for stream in rows if stream is not None]
        values = np.concatenate(present) if present else np.empty((0, source.dims[modality]), np.float32)
        lengths = torch.tensor([0] + [0 if stream is None else len(stream) for stream in rows])
        blocks[modality] = Ragged(torch.from_numpy(values), lengths.cumsum(0))
    return blocks


def load_words(source: FeatureSource, modality: str, clip_ids: Sequence[str], numbers: dict[str, int]) -> Ragged:
    """Load a stream of words of some clips, each utterance as a number; sentences that have none get one.

    Raises:
        InputError: an utterance has no words in it.
    """
    rows = []
    for clip_id, spoken in zip(clip_ids, source.words(modality, clip_ids)):
        said = [text for *_, text in spoken or ()]
        if not all(map(str.strip, said)):
            raise InputError(
                f"the '{modality}' stream of {clip_id} has an utterance without words; extract it again"
            )
        rows.append(torch.tensor([numbers.setdefault(text, len(numbers)) for text in said], dtype=torch.int64))
    return Ragged.of(rows, torch.empty(0, dtype=torch.int64))


def check_source(config: ModelConfig, source: FeatureSource) -> None:
    """Check that a source has the streams that a model was made for.

    Raises:
        InputError: a stream is not in the source, or comes from another extractor.
    """
    command = f"mee precompute VIDEOS {shlex.quote(source.name)} --streams"
    for expert in config.experts:
        if expert.name not in source.dims:
            raise InputError(
                f"{source.name} has no '{expert.name}' stream, which this model needs. Extract it: "
                f"{command} {expert.name}, or mee import it"
            )
        there = (source.dims[expert.name], source.fingerprints[expert.name])
        if there != (expert.input_dim, expert.fingerprint):
            raise InputError(
                f"{source.name}: '{expert.name}' was made by another extractor (size {source.dims[expert.name]}, "
                f"fingerprint {source.fingerprints[expert.name]}) than this model was trained on (size "
                f"{expert.input_dim}, fingerprint {expert.fingerprint}). Extract it again: "
                f"{command} {expert.name} --overwrite (or mee import it)"
            )
