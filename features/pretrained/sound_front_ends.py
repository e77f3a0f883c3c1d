"""How sound becomes a model's input: the front ends of transformers, as preprocessor_config.json sets them.

    class                     usual rate   longest piece       what it gives
    ASTFeatureExtractor       16 kHz       max_length frames   (max_length, bins) log-mel, zeros appended
    ClapFeatureExtractor      48 kHz       max_length_s        (1 or 4, frames, bins) log-mel, short sound repeated
    WhisperFeatureExtractor   16 kHz       chunk_length        (bins, frames) log-mel, silence appended

They compute with numpy (Whisper's with torch). AST's takes torchaudio where that is installed, which is not needed
and moves its numbers by less than float16 keeps.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.pretrained.checkpoint_files import read_preprocessor

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
        """A setting that is a size.

        Raises:
            InputError: it is no whole number above 0.
        """
        return _whole_number(self.settings, key, default, self.place)

    def build(self) -> Any:
        """The front end itself."""
        import transformers

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # AST's lowest filters are empty, as they were in training
            return getattr(transformers, self.kind).from_dict(dict(self.settings))


def read_front_end(folder: Path, kind: str) -> FrontEnd:
    """Read a checkpoint's front end from its preprocessor_config.json or processor_config.json.

    Raises:
        InputError: neither is there, or what it says makes no sense.
    """
    settings = read_preprocessor(folder, "feature_extractor")
    if settings is None:
        raise InputError(
            f"'{folder}' has no {FILE}, so it is unknown how its model wants sound: take it from where the "
            "weights came from"
        )
    place = str(folder / FILE)
    if settings.get("feature_extractor_type", kind) != kind:
        raise InputError(f"{place} is for {settings['feature_extractor_type']}, and this model takes {kind}")
    rate = _whole_number(settings, "sampling_rate", {"ClapFeatureExtractor": 48_000}.get(kind, 16_000), place)
    if rate not in RATES:
        raise InputError(f"{place}: sampling_rate must be {RATES[0]} to {RATES[-1]} samples a second, got {rate}")
    if kind == "ASTFeatureExtractor":
        longest = (_whole_number(settings, "max_length", 1024, place) - 1) * AST_HOP + AST_FRAME
    else:
        key, seconds = {"ClapFeatureExtractor": ("max_length_s", 10)}.get(kind, ("chunk_length", 30))
        longest = _whole_number(settings, key, seconds, place) * rate
    return FrontEnd(kind, settings, rate, longest, place)


def _whole_number(settings: Mapping[str, Any], key: str, default: int, place: str) -> int:
    value = settings.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{place}: {key} must be a whole number above 0, got {value!r}")
    return value


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
