"""An extractor whose rows a transformers model makes: what all of these have in common.

    built    anywhere, workers too: reads JSON only, imports no torch     needs, dim, fingerprint
    used     in the process that holds the model: extract                 weights are loaded at the first row

    clips --rows--> items, a row each, of all clips together
          --prepare, batch_size at a time--> model inputs --forward--> (B, D) vectors --> streams

Which rows share a forward pass can move a row by rounding (1e-7 of its size): a job that was stopped and went on
may give the last bit of a float16 otherwise than an unbroken one. Built-in extractors do not.

A family (features.extractors.pretrained.families) says what its items are, how they become the model's inputs, and
what of the model's states is the row. Its class is called with (spec, run), the spec resolved; the options of its
word, ``:key=value,key=value``, are read and checked here.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.base import Extractor, Fingerprint, Stream
from features.extractors.pretrained.checkpoint import Architecture, read_config
from features.extractors.spec import ExtractorSpec, RunConfig
from features.extractors.token_merging import MergeSchedule
from features.media import Clip

if TYPE_CHECKING:
    from torch import Tensor

    from features.extractors.pretrained.runner import ModelRunner

log = logging.getLogger(__name__)


def check_options(spec: ExtractorSpec, known: Collection[str]) -> None:
    """Refuse keys that the extractor does not have."""
    for key in spec.options:
        if key not in known:
            raise InputError(f"'{spec}': there is no option '{key}' here; there are {', '.join(sorted(known))}")


def positive_number(spec: ExtractorSpec, key: str, default: float) -> float:
    """The value of an option that is a number above 0."""
    text = spec.options.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"'{spec}': {key} must be a number above 0, got '{text}'")
    return value


def positive_count(spec: ExtractorSpec, key: str, default: int) -> int:
    """The value of an option that is a whole number above 0."""
    text = spec.options.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"'{spec}': {key} must be a whole number above 0, got '{text}'")
    return int(text)


@dataclass(frozen=True, eq=False)
class Rows:
    """What the model is to read of one clip."""

    items: Sequence[NDArray[Any]]  # T: frames (H, W, 3), windows of frames (F, H, W, 3), or pieces of sound (N,)
    times: NDArray[np.float64]  # (T,) seconds on the clip's video, the middle of each


class ModelExtractor(Extractor):
    """One model for all clips; abstract: a family fills in what the module's picture names."""

    shared = True
    outputs: ClassVar[tuple[str, ...]]  # of pooled, class, projected those it can give; the first is the default
    options: ClassVar[tuple[str, ...]] = ("output", "merge")  # keys that its word may have
    merges: ClassVar[bool] = False  # whether tokens can be merged

    def __init__(self, spec: ExtractorSpec, run: RunConfig) -> None:
        """Read config.json and the options; nothing heavy.

        Args:
            spec: resolved: its one checkpoint says where the files are.
            run: where and how the model runs.
        """
        (self.checkpoint,) = spec.checkpoints
        self.spec, self.run = spec, run
        self.config = read_config(self.checkpoint.path)
        check_options(spec, self.options)
        self.output = self._chosen_output()
        self.merge = self._chosen_merge()
        self._runner: ModelRunner | None = None

    # What a family says

    @property
    @abstractmethod
    def architecture(self) -> Architecture:
        """The class of transformers that holds the part this family runs."""

    @abstractmethod
    def rows(self, clip: Clip) -> Rows | None:
        """What the model reads of a clip; None, or no items, where the clip does not have the modality."""

    @abstractmethod
    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """Model inputs, on the CPU, of a few items of any clips; each result has them along its first axis."""

    @abstractmethod
    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, D) rows of B prepared items, any float type.

        Args:
            model: of the class in `architecture`, in evaluation mode, on its device.
            inputs: of `prepare`, on that device; floating ones in the model's type, whole numbers as they were.
        """

    @property
    def available_outputs(self) -> tuple[str, ...]:
        """Of `outputs`, those that this checkpoint can give."""
        return self.outputs

    # What all have

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Output, precision and merging; families add how they prepare."""
        return {"output": self.output, "precision": self.run.precision, "merge": self.merge}

    @property
    def fingerprint(self) -> Fingerprint:
        return replace(super().fingerprint, model=self.checkpoint.model, revision=self.checkpoint.revision)

    def load(self) -> None:
        """Load the weights now, so that what is wrong with them shows before any file is read."""
        if self._runner is None:
            from features.extractors.pretrained.runner import ModelRunner

            self._runner = ModelRunner(self.spec, self.architecture, self.run, self.merge)

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One stream a clip; the rows of several clips share forward passes."""
        rows = [self.rows(clip) for clip in clips]
        items = [item for part in rows if part is not None for item in part.items]
        if not items:
            return [None] * len(clips)
        vectors, at = self._vectors(items), 0
        streams: list[Stream | None] = []
        for part in rows:
            count = 0 if part is None else len(part.items)
            streams.append(Stream(vectors[at : at + count], part.times) if part is not None and count else None)
            at += count
        return streams

    def token_sizes(self) -> Tensor | None:
        """(B, N) patches that each token of the last forward pass stands for; None where nothing is merged."""
        if self._runner is None or self._runner.merging is None:
            return None
        sizes: Tensor = self._runner.merging.sizes
        return sizes

    def _vectors(self, items: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """(N, D) rows of N items."""
        self.load()
        assert self._runner is not None
        vectors = self._runner.vectors(items, self.prepare, self.forward)
        found = vectors.shape[1]
        if found != self.dim:
            raise InputError(f"'{self.spec}': its rows have {found} numbers, config.json promises {self.dim}")
        return vectors

    def _chosen_output(self) -> str:
        chosen = self.spec.options.get("output", self.available_outputs[0])
        if chosen not in self.available_outputs:
            raise InputError(
                f"'{self.spec}': this model has no output '{chosen}'; it has {', '.join(self.available_outputs)}"
            )
        return chosen

    def _chosen_merge(self) -> str | None:
        """The word's own merging, or the job's; merge=0 leaves this stream's model whole."""
        own = self.spec.options.get("merge")
        asked = self.run.merge if own is None else own
        if asked is None:
            return None
        try:
            schedule = MergeSchedule.parse(asked)
        except ValueError as error:
            raise InputError(f"'{self.spec}': {error}") from error
        if not schedule.merges:
            return None
        if self.merges:
            return schedule.text
        if own is not None:
            raise InputError(f"'{self.spec}': tokens of this kind of model do not merge; leave out merge={own}")
        log.info("%s: tokens of this kind of model do not merge; it runs whole", self.spec.stream)
        return None
