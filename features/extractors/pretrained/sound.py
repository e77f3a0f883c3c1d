"""Audio from transformers' sound models: one row a window of the clip's sound.

    model_type                      window    outputs, the first by default
    audio-spectrogram-transformer   10.24 s   pooled: the mean of the class and the distillation token; class
    clap, clap_audio_model          10 s      projected: in the space of the text tower; pooled
    whisper (its encoder)           30 s      pooled: the mean of the states that saw sound, none of the padding

A window is as long as the model's longest input, or shorter by the option ``window``, in seconds, to place sounds
in time: ``audio=MIT/ast-finetuned-audioset-10-10-0.4593:window=2``. Silence is sound; no track is missing. A CLAP
checkpoint trained with fusion of long sounds is given windows it need not fuse (``is_longer`` false for each): its
front end would draw one of a batch at random to be fused.

Sound becomes a model's input by the front ends of transformers, as preprocessor_config.json sets them:

    class                     usual rate   longest piece       what it gives
    ASTFeatureExtractor       16 kHz       max_length frames   (max_length, bins) log-mel, zeros appended
    ClapFeatureExtractor      48 kHz       max_length_s        (1 or 4, frames, bins) log-mel, short sound repeated
    WhisperFeatureExtractor   16 kHz       chunk_length        (bins, frames) log-mel, silence appended

They compute with numpy (Whisper's with torch). AST's takes torchaudio where that is installed, which is not needed
and moves its numbers by less than float16 keeps.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.pretrained.base import ModelExtractor, Rows, positive_number
from features.extractors.pretrained.checkpoint import Architecture, part_of, read_preprocessor, whole_number
from features.extractors.spec import ExtractorSpec, RunConfig
from features.media import Clip, Need, SoundNeed

if TYPE_CHECKING:
    from torch import Tensor


FILE = "preprocessor_config.json"
RATES = range(4_000, 192_001)  # samples a second
AST_FRAME, AST_HOP = 400, 160  # samples, fixed in ASTFeatureExtractor
_TAIL = 0.05  # of a window: sound left over at the end that is not worth a row
_SHORTEST = 40  # a piece is padded with silence to this part of a second


@final
@dataclass(frozen=True)
class FrontEnd:
    """A front end, described; `build` makes it."""

    kind: str  # class in transformers
    settings: Mapping[str, Any]
    rate: int  # samples a second
    longest: int  # samples of the longest piece it takes whole
    place: str  # the file it was read from, for the sentences

    def number(self, key: str, default: int) -> int:
        """A setting that is a size."""
        return whole_number(self.settings, key, default, self.place)

    def build(self) -> Any:
        """The front end itself."""
        import transformers

        with warnings.catch_warnings():  # AST's lowest filters are empty, as they were in training
            warnings.simplefilter("ignore", UserWarning)
            return getattr(transformers, self.kind).from_dict(dict(self.settings))


def read_front_end(folder: Path, kind: str) -> FrontEnd:
    """Read a checkpoint's front end from its preprocessor_config.json or processor_config.json."""
    settings = read_preprocessor(folder, "feature_extractor")
    if settings is None:
        raise InputError(
            f"'{folder}' has no {FILE}, so it is unknown how its model wants sound: take it from where the "
            "weights came from"
        )
    place = str(folder / FILE)
    if settings.get("feature_extractor_type", kind) != kind:
        raise InputError(f"{place} is for {settings['feature_extractor_type']}, and this model takes {kind}")
    rate = whole_number(settings, "sampling_rate", {"ClapFeatureExtractor": 48_000}.get(kind, 16_000), place)
    if rate not in RATES:
        raise InputError(f"{place}: sampling_rate must be {RATES[0]} to {RATES[-1]} samples a second, got {rate}")
    if kind == "ASTFeatureExtractor":
        longest = (whole_number(settings, "max_length", 1024, place) - 1) * AST_HOP + AST_FRAME
    else:
        key, seconds = {"ClapFeatureExtractor": ("max_length_s", 10)}.get(kind, ("chunk_length", 30))
        longest = whole_number(settings, key, seconds, place) * rate
    return FrontEnd(kind, settings, rate, longest, place)


def cut_pieces(samples: int, window: int, step: int) -> list[tuple[int, int]]:
    """First sample and end of each piece of a sound; at least one.

    Pieces begin a step apart. The last is a full window too, moved forward to end with the sound, unless the whole
    sound is shorter than one: a model knows nothing of a window that is mostly padding. Less than a twentieth of a
    window that is left over is dropped: codecs pad what they decode by some milliseconds.
    """
    pieces = [(0, min(samples, window))]
    while samples - pieces[-1][1] >= max(1, _TAIL * window):
        start = min(pieces[-1][0] + step, samples - window)
        pieces.append((start, start + window))
    return pieces


def piece_of(sound: NDArray[np.float32], start: int, end: int, rate: int) -> NDArray[np.float32]:
    """One piece, at least a fortieth of a second; in [-1, 1], whatever a broken packet was decoded to."""
    piece = np.clip(np.nan_to_num(sound[start:end]), -1, 1)
    return np.pad(piece, (0, max(0, rate // _SHORTEST - len(piece))))


class SoundExtractor(ModelExtractor):
    """What the sound models have in common; abstract: a family names its front end and model."""

    modality = "audio"
    version = 1
    options = ("output", "merge", "window")
    front_end_kind: ClassVar[str]
    overlap: ClassVar[int] = 0  # samples that a full window shares with the next

    def __init__(self, spec: ExtractorSpec, run: RunConfig) -> None:
        """Read config.json and preprocessor_config.json."""
        super().__init__(spec, run)
        self._front_end = read_front_end(self.checkpoint.path, self.front_end_kind)
        self._check_front_end()
        rate, longest = self._front_end.rate, self._front_end.longest
        seconds = positive_number(spec, "window", longest / rate)
        self._window = round(seconds * rate)
        if not rate // 10 <= self._window <= longest:
            raise InputError(
                f"'{spec}': window must be from 0.1 to {longest / rate:g} seconds, the longest this model hears, "
                f"got {seconds:g}"
            )
        self._step = self._window - self.overlap if self._window == longest else self._window
        self._need = SoundNeed(rate=rate)

    @property
    def needs(self) -> tuple[Need, ...]:
        """One channel at the rate that the checkpoint was trained at."""
        return (self._need,)

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**super().parameters, "window": self._window, "step": self._step}

    def rows(self, clip: Clip) -> Rows | None:
        """The clip's sound in windows; None where it has no track."""
        sound = clip.sound.get(self._need)
        if sound is None:
            return None
        rate = self._front_end.rate
        pieces = cut_pieces(len(sound), self._window, self._step)
        middles = clip.span.start_s + np.array([(start + end) / 2 / rate for start, end in pieces])
        return Rows([piece_of(sound, start, end, rate) for start, end in pieces], middles)

    def _heard(self, piece: NDArray[Any]) -> Any:
        """What the front end makes of one piece: one at a time, so that no piece depends on its neighbours."""
        return self._build(piece, sampling_rate=self._front_end.rate, return_tensors="pt")

    @cached_property
    def _build(self) -> Any:
        return self._front_end.build()

    def _must_equal(self, what: str, given: int, taken: int) -> None:
        if given != taken:
            raise InputError(
                f"'{self.spec}': its preprocessor_config.json makes {given} {what} where its config.json says "
                f"{taken}; one of the files is another model's"
            )

    @abstractmethod
    def _check_front_end(self) -> None:
        """Refuse a front end that does not fit the model."""


@final
class AstExtractor(SoundExtractor):
    """Audio Spectrogram Transformer (Gong, Chung, Glass, Interspeech 2021)."""

    outputs = ("pooled", "class")
    merges = True
    front_end_kind = "ASTFeatureExtractor"
    overlap = AST_FRAME - AST_HOP  # so that the frames of one window follow those of the last at the same pace

    @property
    def architecture(self) -> Architecture:
        """The model without its classifier."""
        return Architecture("ASTModel")

    @property
    def dim(self) -> int:
        return whole_number(self.config, "hidden_size", 768)

    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """(B, frames, bins) log-mel."""
        import torch

        return {"input_values": torch.cat([self._heard(item)["input_values"] for item in items])}

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        states = model(input_values=inputs["input_values"])
        made: Tensor = states.last_hidden_state[:, 0] if self.output == "class" else states.pooler_output
        return made

    def _check_front_end(self) -> None:
        for what, key, usual in (("frames", "max_length", 1024), ("bins", "num_mel_bins", 128)):
            self._must_equal(what, self._front_end.number(key, usual), whole_number(self.config, key, usual))


@final
class ClapExtractor(SoundExtractor):
    """The audio tower of CLAP (Wu et al., ICASSP 2023), alone or within the whole model."""

    outputs = ("projected", "pooled")
    front_end_kind = "ClapFeatureExtractor"

    @property
    def architecture(self) -> Architecture:
        """The audio tower and its projection."""
        return Architecture("ClapAudioModelWithProjection", {"attn_implementation": "eager"})  # it has no other

    @property
    def dim(self) -> int:
        """Of the shared space, or of the tower's last stage."""
        if self.output == "projected":
            return whole_number(self.config, "projection_dim", 512)
        stages = self._tower.get("depths", (2, 2, 6, 2))
        return whole_number(self._tower, "patch_embeds_hidden_size", 96) << (len(stages) - 1)

    @property
    def _tower(self) -> Mapping[str, Any]:
        """The audio part of config.json."""
        return part_of(self.config, "audio_config") if self.config["model_type"] == "clap" else self.config

    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """(B, 1 or 4, frames, bins) log-mel, and that none is longer than the model's window."""
        import torch

        features = torch.cat([self._heard(item)["input_features"] for item in items])
        return {"input_features": features, "is_longer": torch.zeros(len(items), 1, dtype=torch.bool)}

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, D), before any normalisation."""
        if self.output == "projected":
            projected: Tensor = model(**inputs).audio_embeds
            return projected
        pooled: Tensor = model.audio_model(**inputs).pooler_output
        return pooled

    def _check_front_end(self) -> None:
        fuses = bool(self._tower.get("enable_fusion", False))
        layers = {"fusion": 4}.get(self._front_end.settings.get("truncation", "fusion"), 1)
        self._must_equal("layers", layers, 4 if fuses else 1)


@final
class WhisperExtractor(SoundExtractor):
    """The encoder of Whisper (Radford et al., ICML 2023)."""

    outputs = ("pooled",)
    front_end_kind = "WhisperFeatureExtractor"

    @property
    def architecture(self) -> Architecture:
        """The model without the head that writes words; its decoder is not run."""
        return Architecture("WhisperModel", unused=("decoder",))

    @property
    def dim(self) -> int:
        return whole_number(self.config, "d_model", 384)

    @property
    def _hop(self) -> int:
        """Samples a state: two spectrogram frames."""
        return 2 * self._front_end.number("hop_length", 160)

    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """(B, bins, frames) log-mel, and (B,) how many states see sound."""
        import torch

        features = torch.cat([self._heard(item)["input_features"] for item in items])
        return {"input_features": features, "states": torch.tensor([-(-len(item) // self._hop) for item in items])}

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, D), the mean over the states that see sound, in 32 bits."""
        states = model.encoder(inputs["input_features"]).last_hidden_state.float()  # (B, T, D)
        places = inputs["states"].new_ones(states.shape[1]).cumsum(0)
        counted = (places <= inputs["states"][:, None]).unsqueeze(-1)  # (B, T, 1)
        mean: Tensor = (states * counted).sum(1) / inputs["states"][:, None]
        return mean

    def _check_front_end(self) -> None:
        states = self._front_end.longest // self._hop
        self._must_equal("states", states, whole_number(self.config, "max_source_positions", 1500))
        bins = whole_number(self.config, "num_mel_bins", 80)
        self._must_equal("bins", self._front_end.number("feature_size", 80), bins)
