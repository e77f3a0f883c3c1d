"""The reference network in our clothes: its weights in our model, its inputs as our streams and sentences."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from mee.layers.pooling import Pool
from mee.reference_weights import load_reference
from mee.streams import Streams
from mee.text.base import TextEncoder
from mee.text.config import TextConfig

THEIRS = {"face": "face", "audio": "audio", "appearance": "visual", "motion": "motion"}  # our stream -> their name
PREFIX = "state."


class TokenVectors(TextEncoder):
    """Sentences are numbers of given token vectors; the golden inputs have no words."""

    def __init__(self, dim, clusters, tokens=None):
        pool = Pool((f"netvlad-{clusters}",), dim)
        super().__init__(pool.dim, torch.empty(0, dim))
        self.pool, self.tokens = pool, tokens

    @classmethod
    def learn(cls, config, captions):
        raise AssertionError("the golden weights are not learnt")

    @classmethod
    def load(cls, config, directory):
        raise AssertionError("the golden weights are not saved")

    def save(self, directory):
        raise AssertionError("the golden weights are not saved")

    def tokenize(self, sentences):
        return [self.tokens[int(sentence)] for sentence in sentences]

    def forward(self, rows, lengths):
        return self.pool(rows, lengths)

    def attention(self, sentence):
        return None


@dataclass
class Case:
    """One golden case: tensors as they came, and as what our model reads."""

    name: str
    tensors: dict  # name -> tensor, of all cases
    figures: dict
    columns: list  # their names in the order of their mixture

    def __getitem__(self, name):
        return self.tensors[f"{self.name}.{name}"]

    def under(self, prefix):
        """Tensors whose name begins so, by the rest of it."""
        start = f"{self.name}.{prefix}."
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}

    @property
    def available(self):
        """(B, M) bool in the order of our M axis."""
        return torch.tensor([self.figures["availability"][name] for name in THEIRS.values()]).bool().T

    @property
    def order(self):
        """Our M axis -> their mixture's columns: ours[:, order] is theirs."""
        return [list(THEIRS.values()).index(name) for name in self.columns]

    def sentences(self, *, as_reference):
        """The text; padding passed off as tokens, as the reference takes it, or marked by the lengths."""
        tokens = self["in.text"]
        own = torch.tensor(self.figures["text_lengths"])
        return {"": Streams(tokens, torch.full_like(own, tokens.shape[1]) if as_reference else own)}

    def clips(self, *, as_reference):
        """The streams; padding and absent ones passed off as rows of zeros, or marked by the lengths."""
        clips = {}
        for number, (modality, name) in enumerate(THEIRS.items()):
            rows = self[f"in.{name}"]
            rows = rows if rows.ndim == 3 else rows[:, None]
            own = torch.ones(len(rows), dtype=torch.int64)
            if modality == "audio":
                own = torch.tensor(self.figures["audio_lengths"])
            whole = torch.full_like(own, rows.shape[1])
            clips[modality] = Streams(rows, whole if as_reference else own * self.available[:, number])
        return clips

    def in_float32(self):
        """The same with inputs rounded to float32."""
        rounded = {name: t.float() if ".in." in name else t for name, t in self.tensors.items()}
        return Case(self.name, rounded, self.figures, self.columns)


@pytest.fixture(scope="session")
def reference(load_golden):
    """Tensors of the reference network, all cases."""
    return load_golden("mee_reference.safetensors")


@pytest.fixture(scope="session")
def figures(load_golden):
    """Its losses and facts."""
    return load_golden("mee_reference.json")


@pytest.fixture
def make_case(reference, figures):
    """make_case("missing")."""

    def make(name):
        return Case(name, reference, figures["cases"][name], figures["execution_order_moe_columns"])

    return make


@pytest.fixture
def make_model(reference):
    """make_model(dtype, **arguments of load_reference): a fresh model with the reference's weights."""

    def make(dtype=torch.float64, **arguments):
        state = {
            name.removeprefix(PREFIX): tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in reference.items()
            if name.startswith(PREFIX)
        }
        text = TextConfig(encoder="word-vectors", pooling=("netvlad-5",))
        return load_reference(state, text, TokenVectors(12, 5), **arguments)

    return make


@pytest.fixture(scope="session")
def without_norm():
    """Put nothing in the place of a batch norm, as two of the golden cases want it."""

    def change(module):
        module.norm = nn.Identity()
        return module

    return change
