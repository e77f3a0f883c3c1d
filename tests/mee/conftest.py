"""A toy problem to train on, and what runs and compares trainers."""

from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
import torch

from mee.data.pairs import match_captions
from mee.data.source import load_ragged
from mee.errors import InputError
from mee.text.base import TextEncoder
from mee.training.config import TrainConfig
from mee.training.trainer import Trainer
from tests.conftest import MemorySource

CONFIG = TrainConfig(epochs=4, batch_size=8, stream_dropout=0.2, learning_rate=1e-3)
COLOURS, SOUNDS = ("red", "green", "blue", "white"), ("drums", "rain", "barking", "singing")
WORDS = (*COLOURS, *SOUNDS, "something", "with")


@dataclass
class Spoken(MemorySource):
    """A source whose `speech` holds words."""

    said: dict = field(default_factory=dict)

    def words(self, modality, clip_ids):
        return [self.said.get(clip_id) for clip_id in clip_ids]


class BagOfWords(TextEncoder):
    """Counts of known words: nothing to learn, and informative before any training."""

    def __init__(self):
        super().__init__(len(WORDS), torch.empty(0, len(WORDS)))

    @classmethod
    def learn(cls, config, captions):
        return cls()

    load = learn

    def save(self, directory):
        pass

    def tokenize(self, sentences):
        return [torch.tensor([[float(s.split().count(word)) for word in WORDS]]) for s in sentences]

    def forward(self, rows, lengths):
        return rows[:, 0]

    def attention(self, sentence):
        return None


def refusal(call, *arguments, **options):
    """What a call says that is refused."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    return str(caught.value)


class Stopped(Exception):
    """Raised by a test in the middle of a run."""


@pytest.fixture
def make_toy(make_source):
    """make_toy(count, missing, noise): captions name what is seen and heard; each `missing`-th has no audio."""

    def make(count=48, missing=0, noise=0.1):
        videos = [f"v{number:02d}.mp4" for number in range(count)]
        source = make_source(videos, missing=0.0)
        rng, captions = np.random.default_rng(0), []
        for number, video in enumerate(videos):
            colour, sound = number % 4, number // 4 % 4
            seen = rng.normal(size=(2, 5)) * noise + 2 * np.eye(4, 5)[colour]
            sound_rows = rng.normal(size=(3, 3)) * noise + 2 * np.eye(4, 3)[sound]
            source.streams["appearance"][video] = seen.astype("f2")
            source.streams["audio"][video] = sound_rows.astype("f2")
            if missing and number % missing == missing - 1:
                del source.streams["audio"][video]
            captions.append(f"something {COLOURS[colour]} with {SOUNDS[sound]}")
        table = pd.DataFrame({"video_id": videos, "caption": captions})
        return source, match_captions(table, source, partial=False)[0]

    return make


@pytest.fixture
def world(make_toy):
    """The toy problem with 32 videos to train on, and 16 to validate on."""
    source, pairs = make_toy(missing=6)
    return source, pairs.of_videos(set(pairs.videos[:32])), pairs.of_videos(set(pairs.videos[32:]))


@pytest.fixture
def stills(make_source):
    """Ten images with two captions each, one of them a sentence of the videos."""
    names = [f"i{number}.png" for number in range(10)]
    source = make_source(names, missing=0.0, seed=7)
    table = pd.DataFrame(
        [(name, text) for name in names for text in (f"a picture of {name}", "something red with rain")],
        columns=["video_id", "caption"],
    )
    return source, match_captions(table, source, partial=False)[0]


@pytest.fixture
def make_trainer(world, model_config):
    """make_trainer(config, images=..., scalars=..., folder=..., **changes of the model's settings)."""

    def make(config=CONFIG, images=None, scalars=None, folder=None, **changes):
        settings = replace(model_config, **changes)
        return Trainer(*world, settings, config, torch.device("cpu"), images, scalars, folder)

    return make


@pytest.fixture(scope="session")
def load_clips():
    """load_clips(source, modalities, clip_ids): streams padded for the model."""

    def load(source, modalities, clip_ids):
        return {name: ragged.all() for name, ragged in load_ragged(source, modalities, clip_ids).items()}

    return load


@pytest.fixture(scope="session")
def run():
    """run(trainer, state, stop_after): the model of a finished run; None if it was stopped after an epoch."""

    def go(trainer, state, stop_after=None):
        def on_epoch(progress):
            if progress.epoch == stop_after:
                raise Stopped

        with suppress(Stopped):
            return trainer.run(state, on_epoch)

    return go


@pytest.fixture(scope="session")
def same():
    """same(one, other): whether two modules hold the same bits."""

    def compare(one, other):
        one, other = one.state_dict(), other.state_dict()
        return set(one) == set(other) and all(tensor.equal(other[name]) for name, tensor in one.items())

    return compare
