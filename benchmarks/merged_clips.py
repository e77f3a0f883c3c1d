"""What token merging changes in the vectors of real clips.

    cosine(x, y)             x: mean over a clip's rows without merging, y: with it
    cosine(x - m, y - m)     the same, centred: m, the mean of x over clips, is what all of them share

Extractors and reader are those of mee precompute; of each file the first clip is read, of it the first ROWS rows.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.merged_models import random_model
from features.extractors.base import Extractor
from features.extractors.pretrained.runner import quiet
from features.extractors.registry import make_extractor
from features.media.clip import Clip, FrameNeed, Frames
from features.media.cutting import Cutting
from features.media.reader import is_media, open_reader

ROWS = 2


def compare(
    name: str, schedules: Sequence[str], folder: str, checkpoint: str | None, seed: int
) -> dict[str, dict[str, Any]]:
    """Mean and lowest cosine of each schedule, plain and centred.

    Args:
        name: of the model.
        schedules: to compare with no merging.
        folder: of videos.
        checkpoint: hub id or directory; None: random weights.
        seed: of these.
    """
    with tempfile.TemporaryDirectory() as made:
        source = checkpoint or _save_random(name, Path(made), seed)
        plain = make_extractor(f"x={source}")
        clips = [clip for path in sorted(Path(folder).iterdir()) if is_media(path) for clip in _first(path, plain)]
        expected = _vectors(plain, clips)
        rows: dict[str, dict[str, Any]] = {}
        for schedule in schedules:
            got = _vectors(make_extractor(f"x={source}:merge={schedule}"), clips)
            pairs = zip(expected, got, strict=True)
            plain_rows, merged_rows = map(
                np.stack, zip(*((a, b) for a, b in pairs if a is not None and b is not None))
            )
            shared = plain_rows.mean(0)
            cosines, centred = (
                _cosines(plain_rows, merged_rows),
                _cosines(plain_rows - shared, merged_rows - shared),
            )
            rows[schedule] = {
                "clips": len(cosines), "cosine": cosines.mean(), "lowest_cosine": cosines.min(),
                "centred": centred.mean(), "lowest_centred": centred.min(),
            }  # fmt: skip
        return rows


def _save_random(name: str, folder: Path, seed: int) -> str:
    """A checkpoint in the hub's format."""
    model = random_model(name, seed)
    with quiet():
        model.save_pretrained(folder)
    if name == "ast":
        settings = {"feature_extractor_type": "ASTFeatureExtractor", "mean": -4.2677393, "std": 4.5689974}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)


def _first(path: Path, extractor: Extractor) -> list[Clip]:
    """The first clip of a file, cut to the first rows; none where the file lacks the modality."""
    clip = next(iter(open_reader("pyav", path).read(path, path.name, extractor.needs, Cutting())))
    frames = {need: _shortened(need, seen) for need, seen in clip.frames.items()}
    short = replace(clip, frames=frames)
    return [short] if short.frames or short.sound else []


def _shortened(need: FrameNeed, frames: Frames) -> Frames:
    count = need.window + (ROWS - 1) * need.stride
    return replace(frames, pixels=frames.pixels[:count], times=frames.times[:count])


def _vectors(extractor: Extractor, clips: Sequence[Clip]) -> list[NDArray[np.float64] | None]:
    streams = extractor.extract(clips)
    return [None if stream is None else stream.rows.mean(0, dtype=np.float64) for stream in streams]


def _cosines(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(1) / lengths)
