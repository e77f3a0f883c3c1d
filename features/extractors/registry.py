"""EXTRACTORS: the one table, stream name -> where its class is.

A third party adds a row from its own package by an entry point in the group ``mee.extractors``. A stream whose
word names a model (`features.extractors.spec`) is made by the class that `features.extractors.pretrained.families`
has for it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from features.errors import InputError
from features.extractors.base import Extractor
from features.extractors.spec import ExtractorSpec, RunConfig, parse_spec

EXTRACTORS = {
    "appearance": "features.extractors.builtin.appearance:AppearanceExtractor",
    "motion": "features.extractors.builtin.motion:MotionExtractor",
    "audio": "features.extractors.builtin.audio:AudioExtractor",
    "face": "features.extractors.builtin.face:FaceExtractor",
}


_AS_USUAL = RunConfig()


def known_extractors() -> dict[str, str]:
    """The table with the rows of installed third parties; ours cannot be replaced."""
    foreign = {entry.name: entry.value for entry in entry_points(group="mee.extractors")}
    return EXTRACTORS | foreign | EXTRACTORS  # ours are listed first, and win


def resolve(spec: str | ExtractorSpec) -> ExtractorSpec:
    """Find, or download, the files of a spec's models; made once, the answer can be sent to workers.

    Raises:
        InputError: the spec is not of its form, names no extractor or model, or the model's files cannot be had.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
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
    from features.extractors.pretrained import ONNX, find_checkpoint

    if not _is_faces(spec.source):
        return replace(spec, checkpoints=(find_checkpoint(spec.source, spec.revision),))
    halves = [half.partition("@") for half in spec.source.split("+")]
    return replace(spec, checkpoints=tuple(find_checkpoint(name, tag or None, ONNX) for name, _, tag in halves))


def make_extractor(spec: str | ExtractorSpec, run: RunConfig = _AS_USUAL) -> Extractor:
    """Load and build the extractor of one stream; a pretrained model's weights are left for later.

    Args:
        spec: a word such as "appearance" or "motion=MCG-NJU/videomae-base", or what became of it.
        run: where and how pretrained models run; built-in extractors take no notice of it.

    Raises:
        InputError: no such extractor or model, or options that it does not have.
    """
    spec = resolve(spec)
    if spec.source is not None:
        return _make_pretrained(spec, spec.source, run)
    place = known_extractors()[spec.stream]
    extractor = _load(spec.stream, place)()
    if not isinstance(extractor, Extractor):
        raise InputError(f"'{spec.stream}' ({place}) is not an Extractor; its entry point must name a subclass")
    return extractor


def _make_pretrained(spec: ExtractorSpec, source: str, run: RunConfig) -> Extractor:
    from features.extractors.pretrained import FACES, family_of, read_config

    place = FACES if _is_faces(source) else family_of(read_config(spec.checkpoints[0].path), source)
    made: Extractor = _load(spec.stream, place)(spec, run)
    return made


def _is_faces(source: str) -> bool:
    """Whether the source is a detector and an embedder, or at least one of their files."""
    return not Path(source).expanduser().is_dir() and ("+" in source or source.endswith(".onnx"))


def _load(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the extractor '{name}' ({place}) cannot be loaded: {error}") from error
