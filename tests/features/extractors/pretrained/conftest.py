"""Fixtures for pretrained extractors: tiny checkpoints with random weights, and clips made of numbers."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from features.media.clip import Clip, Frames, Span


@pytest.fixture(scope="session")
def tiny_checkpoints() -> ModuleType:
    """The module tiny_checkpoints.py beside this file (tests/ is no package)."""
    place = Path(__file__).with_name("tiny_checkpoints.py")
    spec = importlib.util.spec_from_file_location("mee_test_tiny_checkpoints", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny(tiny_checkpoints, tmp_path_factory):
    """`tiny(name)`: the directory of a tiny checkpoint, written once a session."""
    made = {}

    def directory(name: str) -> Path:
        if name not in made:
            made[name] = tiny_checkpoints.save_tiny(name, tmp_path_factory.mktemp("hub") / name)
        return made[name]

    return directory


@pytest.fixture
def clip_of():
    """`clip_of(extractor, count, seed)`: a clip of `count` random frames that meets the extractor's need."""

    def make(extractor, count: int, seed: int = 0, shape: tuple[int, int] | None = None) -> Clip:
        (need,) = extractor.needs
        height, width = shape or (need.size, need.size + 12)
        coarse = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
        pixels = coarse.repeat(-(-height // 5), 1).repeat(-(-width // 5), 2)[:, :height, :width]
        frames = Frames(pixels=pixels, times=np.arange(count) / need.fps)
        span = Span(clip_id=f"clip-{seed}", video=f"clip-{seed}", start_s=0.0, end_s=count / need.fps)
        return Clip(span=span, reader="test", frames={need: frames})

    return make
