"""From the fingerprint of a stream back to the extractor that made it, to read more files long after the job.

A fingerprint has all that changes the numbers, but not where a local model is. Nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from features.errors import InputError
from features.extractors.base import Extractor
from features.extractors.registry import known_extractors, make_extractor
from features.extractors.spec import Checkpoint, ExtractorSpec, RunConfig
from features.files import is_bare

OPTIONS = ("output", "merge", "fps", "stride", "window", "size", "score", "overlap", "language")  # of words
LITE, COMMIT = "efficientnet-lite0", re.compile("[0-9a-f]{40}")


def recorded_extractor(
    stream: str, fingerprint: Mapping[str, Any], digest: str, places: Sequence[Path], run: RunConfig
) -> tuple[ExtractorSpec, Extractor]:
    """The extractor that made a stream; its weights are not loaded yet.

    Args:
        stream: its name.
        fingerprint, digest: as a store's manifest has them, which may come from anyone.
        places: folders in which a local model's folder or file may be.
        run: where it runs; precision and merging are those of the fingerprint.

    Raises:
        InputError: it was imported, its model is not here, or mee makes other numbers by now; the message is about
            "it".
    """
    if fingerprint["extractor"].startswith("imported:"):
        raise InputError("it was imported from other tools, which mee cannot run")
    try:
        run = replace(run, precision=fingerprint["parameters"].get("precision", run.precision), merge=None)
        spec = _spec(stream, fingerprint, places)
        made = make_extractor(spec, run)
        if made.fingerprint.digest != digest:
            ours, theirs = _settings(asdict(made.fingerprint)), _settings(fingerprint)
            kept = {key: str(theirs[key]) for key in OPTIONS if theirs.get(key) not in (None, ours.get(key))}
            spec = replace(spec, options=kept)
            made = make_extractor(spec, run)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise InputError("what made it is not known") from error
    if made.fingerprint.digest != digest:
        again = f"mee precompute VIDEOS STORE --streams {stream} --overwrite"
        raise InputError(f"another version of mee made it; extract it again ({again}), and make the index again")
    return spec, made


def _spec(stream: str, fingerprint: Mapping[str, Any], places: Sequence[Path]) -> ExtractorSpec:
    """Without options."""
    model, revision = fingerprint["model"], fingerprint["revision"]
    if model is None and fingerprint["extractor"] == "features:SpeechExtractor":
        return ExtractorSpec(stream, "subtitles")
    if stream in known_extractors():
        own = ExtractorSpec(stream)
        if make_extractor(own).fingerprint.extractor == fingerprint["extractor"]:
            return own
    if model is None:
        raise InputError("its extractor is not installed here")
    names = model.split("+")
    revision = revision if len(names) == 1 and COMMIT.fullmatch(revision) else None
    found = [each for name in names for each in _checkpoints(stream, name, revision, places)]
    return ExtractorSpec(stream, model, checkpoints=tuple(found))


def _checkpoints(stream: str, name: str, revision: str | None, places: Sequence[Path]) -> tuple[Checkpoint, ...]:
    """Of one model of a fingerprint, as far as it is on this machine."""
    from huggingface_hub import snapshot_download

    from features.extractors.pretrained import find_checkpoints, find_recogniser, is_speech

    local = [str(place / name) for place in places if is_bare(name) and (place / name).exists()]
    if local or name == LITE:
        return (find_recogniser if is_speech(stream) else find_checkpoints)((local or [LITE])[0], None)
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError) as error:
        raise InputError(f"its model '{name}' is not on this machine any more") from error
    return (Checkpoint(name, folder, folder.name),)


def _settings(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters and needs, by the names of options; a window of sound in seconds."""
    found = dict(fingerprint["parameters"])
    for need in found.pop("needs", []):
        for values in need.values():
            found |= values
    if "rate" in found and "window" in found:
        found["window"] /= found["rate"]
    return found
