"""Sets of extractors with a name: what makes each stream, its licence, its size, and what is downloaded for it.

    builtin   nothing is downloaded; deterministic; any CPU
    clip      appearance and audio in the spaces of CLIP's and CLAP's text towers; a CPU will do
    strong    larger towers for appearance and motion; a GPU is advised

Licences are those that the weights' pages on the hub name; none of them forbids commercial use. Weights are
safetensors in the main branch, or ONNX. Parameters are those of the part that runs, in millions; a download is the
whole checkpoint, text tower included, once. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class PresetStream:
    """One stream of a preset."""

    word: str  # as `mee precompute --streams` takes it
    made_by: str  # in words
    licence: str  # of the weights
    parameters: float = 0.0  # millions that run
    megabytes: float = 0.0  # downloaded, once; 1 MB is 10^6 bytes

    @property
    def stream(self) -> str:
        """The stream's name in a store."""
        return self.word.partition("=")[0]


@final
@dataclass(frozen=True)
class Preset:
    """A set of streams, one a modality."""

    purpose: str
    streams: tuple[PresetStream, ...]

    @property
    def megabytes(self) -> float:
        """Downloaded for all streams."""
        return sum(stream.megabytes for stream in self.streams)


_OURS = "Apache-2.0 (this package)"
_MOTION = PresetStream("motion", "optical flow, orientations and boundaries", _OURS)
_CLAP = PresetStream("audio=laion/clap-htsat-fused", "CLAP, HTSAT tiny", "Apache-2.0", 28.2, 618)
_FACES = PresetStream(
    "face=opencv/face_detection_yunet+opencv/face_recognition_sface",
    "YuNet finds, SFace describes",
    "MIT, Apache-2.0",
    9.7,
    39,
)

PRESETS: Mapping[str, Preset] = {
    "builtin": Preset(
        "nothing to download, any machine",
        (
            PresetStream("appearance", "colours and gradient orientations on a pyramid", _OURS),
            _MOTION,
            PresetStream("audio", "log-mel statistics and rhythm", _OURS),
            PresetStream("face", "local binary patterns of frontal faces", _OURS),
        ),
    ),
    "clip": Preset(
        "appearance and audio aligned with text; a CPU will do",
        (
            PresetStream("appearance=laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "CLIP ViT-B/32", "MIT", 87.8, 609),
            _MOTION,
            _CLAP,
            _FACES,
        ),
    ),
    "strong": Preset(
        "larger towers; a GPU is advised",
        (
            PresetStream(
                "appearance=google/siglip2-base-patch16-224", "SigLIP 2 ViT-B/16", "Apache-2.0", 92.9, 1535
            ),
            PresetStream("motion=facebook/vjepa2-vitl-fpc64-256", "V-JEPA 2 ViT-L/16", "MIT", 303.9, 1304),
            _CLAP,
            _FACES,
        ),
    ),
}
