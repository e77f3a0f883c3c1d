"""Fixtures for pretrained extractors: tiny checkpoints with random weights, and clips made of numbers."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tests.features.extractors.pretrained.tiny_checkpoints as tiny_module
from features.media.clip import Clip, Frames, SoundNeed, Span


@pytest.fixture(scope="session")
def tiny_checkpoints() -> ModuleType:
    """The module tiny_checkpoints.py beside this file."""
    return tiny_module


@pytest.fixture(scope="session")
def sounds(tmp_path_factory) -> Path:
    """A folder of tiny checkpoints that hear."""
    return tiny_module.save_sounds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="session")
def tiny(tiny_checkpoints, sounds, tmp_path_factory):
    """`tiny(name)`: the directory of a tiny checkpoint, written once a session."""
    made = {path.name: path for path in sounds.iterdir()}

    def directory(name: str) -> Path:
        if name not in made:
            made[name] = tiny_checkpoints.save_tiny(name, tmp_path_factory.mktemp("hub") / name)
        return made[name]

    return directory


@pytest.fixture(scope="session")
def clip_of():
    """`clip_of(extractor, count, seed)`: a clip of `count` random frames, or half seconds, that meets its need."""

    def make(extractor, count: int, seed: int = 0, shape: tuple[int, int] | None = None) -> Clip:
        (need,) = extractor.needs
        if isinstance(need, SoundNeed):
            wave = np.random.default_rng(seed).normal(size=count * need.rate // 2) * 0.1
            span = Span(clip_id=f"clip-{seed}", video=f"clip-{seed}", start_s=0.0, end_s=count / 2)
            return Clip(span=span, reader="test", sound={need: wave.clip(-1, 1).astype(np.float32)})
        height, width = shape or (need.size, need.size + 12)
        coarse = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
        pixels = coarse.repeat(-(-height // 5), 1).repeat(-(-width // 5), 2)[:, :height, :width]
        frames = Frames(pixels=pixels, times=np.arange(count) / need.fps)
        span = Span(clip_id=f"clip-{seed}", video=f"clip-{seed}", start_s=0.0, end_s=count / need.fps)
        return Clip(span=span, reader="test", frames={need: frames})

    return make
