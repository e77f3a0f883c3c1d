"""Fixtures for pretrained extractors: tiny checkpoints with random weights, and clips made of numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from features.extractors.pretrained import runner
from features.media.clip import Clip, Frames, SoundNeed, Span
from tests.features.extractors.pretrained.tiny_checkpoints import save_sounds, save_tiny


@pytest.fixture(autouse=True, scope="session")
def any_processor():
    """Products in bfloat16 are taken to be fast, those in float16 slow."""
    with pytest.MonkeyPatch.context() as patch:
        seconds = {torch.bfloat16: 0.5, torch.float32: 1.0, torch.float16: 20.0}
        patch.setattr(runner, "_product_s", lambda x: seconds[x.dtype])
        yield


@pytest.fixture(scope="session")
def sounds(tmp_path_factory) -> Path:
    """A folder of tiny checkpoints of sound models."""
    return save_sounds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="session")
def tiny(sounds, tmp_path_factory):
    """`tiny(name)`: the directory of a tiny checkpoint, written once a session."""
    made = {path.name: path for path in sounds.iterdir()}

    def directory(name: str) -> Path:
        if name not in made:
            made[name] = save_tiny(name, tmp_path_factory.mktemp("hub") / name)
        return made[name]

    return directory


@pytest.fixture(scope="session")
def clip_of():
    """`clip_of(extractor, count, seed)`: a clip of `count` random frames, or half seconds, that meets its need."""

    def make(extractor, count: int, seed: int = 0, shape: tuple[int, int] | None = None) -> Clip:
        (need,) = extractor.needs
        rate = 2 if isinstance(need, SoundNeed) else need.fps
        span = Span(clip_id=f"clip-{seed}", video=f"clip-{seed}", start_s=0.0, end_s=count / rate)
        if isinstance(need, SoundNeed):
            wave = np.random.default_rng(seed).normal(size=count * need.rate // 2) * 0.1
            return Clip(span=span, reader="test", sound={need: wave.clip(-1, 1).astype(np.float32)})
        height, width = shape or (need.size, need.size + 12)
        coarse = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
        pixels = coarse.repeat(-(-height // 5), 1).repeat(-(-width // 5), 2)[:, :height, :width]
        frames = Frames(pixels=pixels, times=np.arange(count) / need.fps)
        return Clip(span=span, reader="test", frames={need: frames})

    return make
