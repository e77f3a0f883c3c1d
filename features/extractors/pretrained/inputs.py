"""What models read of clips: pictures, and sound.

    items ([F,] H, W, 3) uint8 --prepare--> levels (B, [F,] 3, h, w) uint8 --finish--> pixels, the same, normalised

Windows of frames follow one another without overlap (stride= says otherwise), and the last ends with the clip; a
clip shorter than a window repeats its last frame; a still image or a single frame has no motion.

    items (N,) float32 --prepare--> log-mel, by the front end of transformers that preprocessor_config.json sets

    class                     usual rate   longest piece       what it gives
    ASTFeatureExtractor       16 kHz       max_length frames   (max_length, bins) log-mel, zeros appended
    ClapFeatureExtractor      48 kHz       max_length_s        (1 or 4, frames, bins) log-mel, short sound repeated
    WhisperFeatureExtractor   16 kHz       chunk_length        (bins, frames) log-mel, silence appended

Front ends compute with numpy (Whisper's with torch). AST's uses torchaudio where it is installed; it is not needed
and changes the numbers by less than float16 keeps. A piece of sound is as long as the model's longest input, or
shorter by the option ``window``, in seconds, to locate sounds in time:
``audio=MIT/ast-finetuned-audioset-10-10-0.4593:window=2``. Silence is sound; a clip without a track is missing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.pretrained.checkpoint import read_preprocessor, whole_number
from features.extractors.pretrained.extractor import Inputs, ModelConfig, Rows
from features.extractors.pretrained.recipe import LARGEST, Usual, follow, height_and_width
from features.extractors.spec import check_options, positive_option
from features.media import Clip, FrameNeed, SoundNeed

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


@final
class Pictures(Inputs):
    """One item a frame, or a window of frames."""

    need: FrameNeed

    def __init__(
        self,
        config: ModelConfig,
        *,
        usual: Usual,
        fps: float = 2.0,
        window: Callable[[ModelConfig], int] | None = None,
        options: tuple[str, ...] = (),
        side: tuple[str, int] = ("image_size", 224),
        square: bool = False,
        any_size: bool = False,
        patches: bool = False,
    ) -> None:
        """Read how pictures are made: as ``usual`` where the checkpoint's files do not say it.

        Args:
            config, usual, options: of the model, its family, and the word, beside those that all have.
            fps, window: frames a second, unless the word says otherwise, and an item; None: one, without an axis.
            side: key of config.json with the pictures' size, and its default.
            square: whether a plain number as size means height and width.
            any_size: whether the model reads pictures of other sizes than its own.
            patches: whether a picture keeps its proportions and becomes a list of patches (SigLIP 2 NaFlex).
        """
        spec = config.spec
        check_options(spec, ("output", "merge", "fps", *(("stride",) if window else ()), *options))
        try:
            own = height_and_width(config.tower.get(*side))
        except ValueError as error:
            raise InputError(f"'{spec.source}': config.json: {side[0]}: {error}") from error
        self.patch = whole_number(config.tower, "patch_size", 16) if patches else 0
        if patches:
            own = (self.patch * isqrt(whole_number(config.tower, "num_patches", 256)),) * 2
        kinds = ("image_processor",) if window is None else ("video_processor", "image_processor")
        file = read_preprocessor(config.folder, *kinds)
        if file is None:
            log.info("%s has no preprocessor file; the usual one of its kind of model is assumed", config.folder)
        try:
            self.recipe = follow(file or {}, usual(own), own, square=square)
        except (TypeError, ValueError) as error:
            raise InputError(f"{config.folder}: its preprocessor file cannot be followed: {error}") from error
        if self.recipe.shape != own and not any_size:
            made, read = (f"{height}x{width}" for height, width in (self.recipe.shape, own))
            raise InputError(
                f"'{spec.source}': its preprocessor file makes pictures of {made} pixels, its config.json says "
                f"that the model reads {read}"
            )
        self.parameters = {"pictures": asdict(self.recipe)}
        if patches:
            self.most = whole_number(file or {}, "max_num_patches", 256)
            if self.most * self.patch**2 > LARGEST**2:
                raise InputError(
                    f"{config.folder}: {self.most} patches of {self.patch} pixels are too large a picture"
                )
            self.parameters["patches"] = self.most
        fps = positive_option(spec, "fps", fps)
        self.modality = "motion" if window else "appearance"
        frames = window(config) if window else 1
        stride = positive_option(spec, "stride", frames)
        self.need = FrameNeed(fps=fps, size=self.recipe.short_side, window=frames, stride=stride)
        self.windows = window is not None

    def rows(self, clip: Clip) -> Rows | None:
        """One item a frame, or a window; None where the clip has no picture, or fewer than two for windows."""
        frames = clip.frames.get(self.need)
        if frames is None:
            return None
        if not self.windows:
            return Rows(list(frames.pixels), frames.times)
        if len(frames.pixels) < 2:
            return None
        windows = self.need.windows(len(frames.pixels))
        return Rows([frames.pixels[window] for window in windows], frames.times[windows].mean(1))

    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """{"pixels": (B, [F,] 3, h, w) uint8}, or {"pixels": (B, N, 3, P, P) uint8, "grid": (B, 2)} as patches."""
        from features.extractors.pretrained.image_preprocessing import cut_patches, cut_pictures

        if self.patch:
            levels, grid = cut_patches(items, self.recipe, self.patch, self.most)
            return {"pixels": levels, "grid": grid}
        if not self.windows:
            return {"pixels": cut_pictures(items, self.recipe)}
        levels = cut_pictures([picture for window in items for picture in window], self.recipe)
        return {"pixels": levels.unflatten(0, (len(items), -1))}

    def finish(self, prepared: Mapping[str, Tensor], dtype: Any) -> Mapping[str, Tensor]:
        """The same, its pixels normalised."""
        from features.extractors.pretrained.image_preprocessing import normalise

        return {**prepared, "pixels": normalise(prepared["pixels"], self.recipe).to(dtype)}


FILE = "preprocessor_config.json"
RATES = range(4_000, 192_001)  # samples a second
AST_FRAME, AST_HOP = 400, 160  # samples, fixed in ASTFeatureExtractor
_TAIL = 0.05  # of a window: shorter remains at the end of a sound get no row
_SHORTEST = 40  # a piece is padded with silence to this part of a second


class _Kind(NamedTuple):
    """What a class of front ends has where the file omits it, and the name of its result."""

    rate: int  # samples a second
    key: str  # of the longest piece
    longest: int  # frames for AST, seconds for the others
    result: str


_KINDS = {
    "ASTFeatureExtractor": _Kind(16_000, "max_length", 1024, "input_values"),
    "ClapFeatureExtractor": _Kind(48_000, "max_length_s", 10, "input_features"),
    "WhisperFeatureExtractor": _Kind(16_000, "chunk_length", 30, "input_features"),
}


@final
class FrontEnd:
    """A front end, as its file describes it."""

    def __init__(self, folder: Path, kind: str) -> None:
        """Read it in the checkpoint's folder; ``kind`` is the class of transformers that the model takes."""
        settings = read_preprocessor(folder, "feature_extractor")
        if settings is None:
            raise InputError(
                f"'{folder}' has no {FILE}, so the form of its model's sound is unknown: copy it from where the "
                "weights came from"
            )
        self.kind, self.settings, self._file = kind, settings, str(folder / FILE)
        named = settings.get("feature_extractor_type", kind)
        if named != kind:
            raise InputError(f"{self._file} is for {named}, and this model takes {kind}")
        usual = _KINDS[kind]
        self.rate = self.number("sampling_rate", usual.rate)
        if self.rate not in RATES:
            raise InputError(
                f"{self._file}: sampling_rate must be {RATES[0]} to {RATES[-1]} samples a second, got {self.rate}"
            )
        longest = self.number(usual.key, usual.longest)
        frames = kind == "ASTFeatureExtractor"
        self.longest = (longest - 1) * AST_HOP + AST_FRAME if frames else longest * self.rate  # samples of a piece
        self.hop = self.number("hop_length", AST_HOP)  # samples from one frame to the next
        sizes = (self.number(key, 80) for key in ("n_fft", "fft_window_size", "feature_size", "num_mel_bins"))
        if max(*sizes, self.longest // self.rate) > LARGEST:
            raise InputError(f"{self._file}: a size is beyond any model's, which are at most {LARGEST}")

    def number(self, key: str, default: int) -> int:
        """A setting that is a size."""
        return whole_number(self.settings, key, default, self._file)

    def features(self, piece: NDArray[Any]) -> Tensor:
        """(1, ...) log-mel of one piece."""
        made: Tensor = self._call(piece, sampling_rate=self.rate, return_tensors="pt")[_KINDS[self.kind].result]
        return made

    @cached_property
    def _call(self) -> Any:
        import transformers

        with warnings.catch_warnings():  # AST's lowest filters are empty, as they were in training
            warnings.simplefilter("ignore", UserWarning)
            return getattr(transformers, self.kind).from_dict(dict(self.settings))


def cut_pieces(samples: int, window: int, step: int) -> list[tuple[int, int]]:
    """First sample and end of each piece of a sound; at least one.

    Pieces begin a step apart. The last is a full window too, moved forward to end with the sound, unless the whole
    sound is shorter than one: models are not trained on windows that are mostly padding. A remainder of less than
    a twentieth of a window is dropped: codecs pad what they decode by some milliseconds.
    """
    pieces = [(0, min(samples, window))]
    while samples - pieces[-1][1] >= max(1, _TAIL * window):
        start = min(pieces[-1][0] + step, samples - window)
        pieces.append((start, start + window))
    return pieces


def piece_of(sound: NDArray[np.float32], start: int, end: int, rate: int) -> NDArray[np.float32]:
    """One piece, at least a fortieth of a second; in [-1, 1], whatever a damaged packet was decoded to."""
    piece = np.clip(np.nan_to_num(sound[start:end]), -1, 1)
    return np.pad(piece, (0, max(0, rate // _SHORTEST - len(piece))))


# (what, how many the front end makes, how many the model reads), equal in files of one model
Fits = Callable[[FrontEnd, ModelConfig], Iterator[tuple[str, int, int]]]


@final
class Sound(Inputs):
    """One item a piece of the sound track."""

    modality = "audio"
    need: SoundNeed

    def __init__(self, config: ModelConfig, *, kind: str, fits: Fits, overlap: int = 0) -> None:
        """Read a front end of class ``kind``, and check that it fits; full windows share ``overlap`` samples."""
        spec = config.spec
        check_options(spec, ("output", "merge", "window"))
        self.front_end = FrontEnd(config.folder, kind)
        for what, made, read in fits(self.front_end, config):
            if made != read:
                raise InputError(
                    f"'{spec}': its preprocessor_config.json makes {made} {what} where its config.json says "
                    f"{read}; one of the files belongs to another model"
                )
        rate, longest = self.front_end.rate, self.front_end.longest
        seconds = positive_option(spec, "window", longest / rate)
        self._window = round(seconds * rate)
        if not rate // 10 <= self._window <= longest:
            raise InputError(
                f"'{spec}': window must be from 0.1 to {longest / rate:g} seconds, the longest this model reads, "
                f"got {seconds:g}"
            )
        self._step = self._window - overlap if self._window == longest else self._window
        self.need = SoundNeed(rate=rate)
        self.parameters = {"window": self._window, "step": self._step}

    def rows(self, clip: Clip) -> Rows | None:
        """The clip's sound in windows; None where it has no track."""
        sound = clip.sound.get(self.need)
        if sound is None:
            return None
        rate = self.front_end.rate
        pieces = cut_pieces(len(sound), self._window, self._step)
        middles = clip.span.start_s + np.array([(start + end) / 2 / rate for start, end in pieces])
        return Rows([piece_of(sound, start, end, rate) for start, end in pieces], middles)

    def prepare(self, items: Sequence[NDArray[Any]]) -> dict[str, Tensor]:
        """{"sound": (B, ...) log-mel, "frames": (B,) how many frames of it are not padding}.

        The front end gets one piece at a time, so that no piece depends on its neighbours in a batch.
        """
        import torch

        frames = torch.tensor([-(-len(item) // self.front_end.hop) for item in items])
        return {"sound": torch.cat([self.front_end.features(item) for item in items]), "frames": frames}
