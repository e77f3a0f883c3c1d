"""From the fingerprint of a stream back to the extractor that made it, for files that are read long after the job.

    fingerprint  ->  word  ->  extractor of the same fingerprint, or none

A fingerprint has all that changes the numbers, and not where a local model's folder is. Models are looked for on
this machine alone: none is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from features.errors import InputError
from features.extractors.base import Extractor
from features.extractors.registry import known_extractors, make_extractor
from features.extractors.spec import ExtractorSpec, RunConfig

OPTIONS = ("output", "merge", "fps", "stride", "window", "size", "score", "overlap", "language")  # of words


def recorded_extractor(
    stream: str, fingerprint: Mapping[str, Any], digest: str, places: Sequence[Path], run: RunConfig
) -> tuple[ExtractorSpec, Extractor]:
    """The extractor that made a stream; its weights are not loaded yet.

    Args:
        stream: its name.
        fingerprint, digest: as a store's manifest has them, which may come from anyone.
        places: folders in which the folder or file of a local model may be.
        run: where it runs; its precision and merging are those of the fingerprint.

    Raises:
        InputError: it was imported, its model is not here, or this version of mee makes other numbers; the message
            is about "it".
    """
    if fingerprint["extractor"].startswith("imported:"):
        raise InputError("it was imported from other tools, which mee cannot run")
    try:
        precision = fingerprint["parameters"].get("precision", run.precision)
        run = replace(run, precision=precision, merge=None)
        spec = _spec(stream, fingerprint, places)
        made = make_extractor(spec, run)
        if made.fingerprint.digest != digest:
            ours, theirs = _settings(asdict(made.fingerprint)), _settings(fingerprint)
            kept = {key: theirs[key] for key in OPTIONS if theirs.get(key) not in (None, ours.get(key))}
            spec = replace(spec, options={key: str(value) for key, value in kept.items()})
            made = make_extractor(spec, run)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise InputError("what made it is not known") from error
    if made.fingerprint.digest != digest:
        raise InputError(
            f"it was made by another version of mee; extract it again (mee precompute VIDEOS STORE --streams {stream} "
            "--overwrite), and make model and index again"
        )
    return spec, made


def _spec(stream: str, fingerprint: Mapping[str, Any], places: Sequence[Path]) -> ExtractorSpec:
    """Without options."""
    model, revision = fingerprint["model"], fingerprint["revision"]
    if model is not None:
        from features.extractors.pretrained import find_recorded, is_speech

        checkpoints = find_recorded(model, revision, places, speech=is_speech(stream))
        return ExtractorSpec(stream, model, checkpoints=checkpoints)
    if fingerprint["extractor"] == "features:SpeechExtractor":
        return ExtractorSpec(stream, "subtitles")
    if stream not in known_extractors():
        raise InputError("its extractor is not installed here")
    return ExtractorSpec(stream)


def _settings(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters and needs, by the names of options; a window of sound in seconds."""
    found = dict(fingerprint["parameters"])
    for need in found.pop("needs", []):
        for values in need.values():
            found |= values
    if "rate" in found and "window" in found:
        found["window"] /= found["rate"]
    return found
