"""PretrainedExtractor: an extractor whose rows a transformers model makes, composed of a family and its inputs.

    built    anywhere, workers too: reads JSON only, imports no torch     needs, dim, fingerprint
    used     in the process that holds the model: extract                 weights are loaded at the first row

    clips --inputs.rows--> items, a row each, of all clips together
          --inputs.prepare, batch_size at a time--> tensors --inputs.finish, on the model's device--> model inputs
          --family.forward--> (B, D) vectors --> streams

Which rows share a forward pass can change a row by rounding (1e-7 of its size): a job that was stopped and resumed
may differ in the last bit of a float16 from an uninterrupted one. Built-in extractors do not.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.base import Extractor, Fingerprint, Stream
from features.extractors.pretrained.checkpoint import LITE, Architecture, read_config, whole_number
from features.extractors.pretrained.classifiers import LABELS, class_names, classifier, classifies, label_rows
from features.extractors.spec import ExtractorSpec, MergeSchedule, RunConfig
from features.media import Clip, Need

if TYPE_CHECKING:
    from torch import Tensor

    from features.extractors.pretrained.runner import ModelRunner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelConfig:
    """What is known of a model before its weights are loaded."""

    spec: ExtractorSpec  # resolved: its one checkpoint says where the files are
    whole: Mapping[str, Any]  # config.json
    tower: Mapping[str, Any]  # the part of it that describes the tower that runs

    @property
    def folder(self) -> Path:
        """Of the checkpoint."""
        return self.spec.checkpoints[0].path


class Rows(NamedTuple):
    """What the model reads of one clip."""

    items: Sequence[NDArray[Any]]  # T: frames (H, W, 3), windows of frames (F, H, W, 3), or pieces of sound (N,)
    times: NDArray[np.float64]  # (T,) seconds on the clip's video, the middle of each


class Inputs(ABC):
    """What a model reads of clips."""

    modality: str
    need: Need
    parameters: Mapping[str, Any]  # how items are made, for the fingerprint

    @abstractmethod
    def rows(self, clip: Clip) -> Rows | None:
        """What the model reads of a clip; None, or no items, where the clip does not have the modality."""

    @abstractmethod
    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """Tensors, on the CPU, of a few items of any clips, which are along the first axis of each."""

    def finish(self, prepared: Mapping[str, Tensor], dtype: Any) -> Mapping[str, Tensor]:
        """What a forward function gets, of prepared tensors on the model's device, floating ones in its dtype."""
        return prepared


@dataclass(frozen=True)
class Batch:
    """What a forward function gets beside the model."""

    inputs: Mapping[str, Tensor]  # of Inputs.finish
    output: str  # which of the family's outputs is wanted
    merging: Any  # token merging that is on, or None

    def mean(self, states: Tensor, first: int = 0, sizes: Tensor | None = None) -> Tensor:
        """(B, D) float32: the mean over patches of the last layer's (B, N, D) states, of any float type.

        ``first``: tokens at the start that are no patches; ``sizes``: (B, N) weights; None: the patches of each.
        """
        from features.extractors.token_merging import mean_token

        if sizes is None and self.merging is not None:
            sizes = self.merging.sizes
        return mean_token(states, sizes, first)


def size(key: str, default: int) -> Callable[[ModelConfig], int]:
    """A number of the tower's config, for rows of the table."""
    return lambda config: whole_number(config.tower, key, default)


_HIDDEN = size("hidden_size", 768)


@dataclass(frozen=True, kw_only=True)
class Family:
    """How streams are made with one kind of model: a row of families.FAMILIES."""

    name: str  # in fingerprints: never changed, or existing stores no longer match
    inputs: Callable[[ModelConfig], Inputs]
    model: Callable[[ModelConfig, str], Architecture]  # of a config and an output
    outputs: tuple[str, ...]  # of pooled, class, projected; the first is the default; labels is added
    forward: Callable[[Any, Batch], Tensor]  # (B, D) of a model in evaluation mode and a batch; any float type
    width: Callable[[ModelConfig], int] = _HIDDEN  # D
    projection: int | None = None  # D of projected, where it differs, if config.json has no projection_dim
    projects: Callable[[ModelConfig], bool] = lambda config: True  # whether a checkpoint can give projected
    columns: Callable[[ModelConfig], tuple[str, ...]] = lambda config: ()  # names, or none
    tower: str | None = None  # the key of config.json with the config of the tower that runs; None: all of it
    merges: bool = False  # whether tokens can be merged


@final
class PretrainedExtractor(Extractor):
    """One model for all clips."""

    shared = True
    version = 1

    def __init__(self, spec: ExtractorSpec, run: RunConfig, family: Family) -> None:
        """Read config.json, the preprocessor file and the options, no weights; the spec is resolved."""
        (self.checkpoint,) = spec.checkpoints
        self.model_revision = self.checkpoint.model, self.checkpoint.revision
        self.spec, self.run, self.family = spec, run, family
        whole = {} if spec.source == LITE else read_config(self.checkpoint.path)
        self.config = ModelConfig(spec, whole, _part(whole, family.tower))
        self.inputs = family.inputs(self.config)
        self.modality = self.inputs.modality
        self.output = self._chosen_output()
        self.merge = self._chosen_merge()
        self.needs = (self.inputs.need,)
        self.columns = class_names(whole, spec) if self.output == LABELS else family.columns(self.config)
        run_as = {"output": self.output, "precision": run.precision, "merge": self.merge}
        self.parameters = {**run_as, **self.inputs.parameters}
        if self.output == LABELS:
            self.dim = len(self.columns)
        elif self.output == "projected" and family.projection is not None:
            self.dim = whole_number(whole, "projection_dim", family.projection)
        else:
            self.dim = family.width(self.config)

    @property
    def architecture(self) -> Architecture:
        """The class of transformers that holds the part that runs."""
        if self.output == LABELS:
            return classifier(self.modality)
        return self.family.model(self.config, self.output)

    @property
    def fingerprint(self) -> Fingerprint:
        return replace(super().fingerprint, extractor=f"features:{self.family.name}")

    def load(self) -> None:
        """Load the weights now, so that errors in them show before any file is read."""
        _ = self._runner

    @cached_property
    def _runner(self) -> ModelRunner:
        from features.extractors.pretrained.runner import ModelRunner

        return ModelRunner(self.spec, self.architecture, self.run, self.merge)

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One stream a clip; the rows of several clips share forward passes."""
        rows = [self.inputs.rows(clip) for clip in clips]
        items = [item for part in rows if part is not None for item in part.items]
        if not items:
            return [None] * len(clips)
        ends = np.cumsum([0 if part is None else len(part.items) for part in rows])
        vectors = np.split(self._vectors(items), ends[:-1])
        return [
            Stream(own, part.times) if part is not None and len(own) else None for part, own in zip(rows, vectors)
        ]

    def _vectors(self, items: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """(N, D) rows of N items."""
        vectors = self._runner.vectors(items, self.inputs.prepare, self._forward)
        found = vectors.shape[1]
        if found != self.dim:
            raise InputError(f"'{self.spec}': its rows have {found} numbers, its config.json says {self.dim}")
        return vectors

    def _forward(self, model: Any, prepared: Mapping[str, Tensor]) -> Tensor:
        inputs = self.inputs.finish(prepared, self._runner.type)
        if self.output == LABELS:
            return label_rows(model, inputs)
        return self.family.forward(model, Batch(inputs, self.output, self._runner.merging))

    def _chosen_output(self) -> str:
        available = self.family.outputs
        if not self.family.projects(self.config):
            available = tuple(output for output in available if output != "projected")
        if classifies(self.config.whole, self.modality):
            available = (*available, LABELS)
        chosen = self.spec.options.get("output", available[0])
        if chosen not in available:
            raise InputError(f"'{self.spec}': this model has no output '{chosen}'; it has {', '.join(available)}")
        return chosen

    def _chosen_merge(self) -> str | None:
        """The word's own merging, or the job's; merge=0 turns the job's off for this stream."""
        own = self.spec.options.get("merge")
        requested = self.run.merge if own is None else own
        if requested is None:
            return None
        try:
            schedule = MergeSchedule.parse(requested)
        except ValueError as error:
            raise InputError(f"'{self.spec}': {error}") from error
        if not schedule.merges:
            return None
        if self.family.merges:
            return str(schedule)
        if own is not None:
            raise InputError(f"'{self.spec}': tokens of this kind of model do not merge; leave out merge={own}")
        log.info("%s: tokens of this kind of model do not merge; it runs without merging", self.spec.stream)
        return None


def _part(config: Mapping[str, Any], key: str | None) -> Mapping[str, Any]:
    """The part of config.json that describes one tower; empty where all values are the defaults."""
    part = config if key is None else config.get(key)
    if part is not None and not isinstance(part, dict):
        raise InputError(f"config.json: {key} must be an object, got {part!r}")
    return part or {}
