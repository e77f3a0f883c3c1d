"""The one table of text encoders. A new one is one file and one line."""

from __future__ import annotations

from importlib import import_module

from mee.text.base import TextEncoder
from mee.text.config import TextConfig

ENCODERS = {
    "transformer": "mee.text.transformer:TransformerEncoder",
    "recurrent": "mee.text.recurrent:RecurrentEncoder",
    "word-vectors": "mee.text.word_vectors:WordVectorEncoder",
}
PRETRAINED = "mee.text.pretrained:PretrainedEncoder"  # any other name: a hub id or a directory
ALIGNED = "mee.text.aligned:AlignedTower"  # an expert's own


def encoder_class(config: TextConfig) -> type[TextEncoder]:
    """The class that the settings name."""
    return _load(ENCODERS.get(config.encoder, PRETRAINED))


def tower_class() -> type[TextEncoder]:
    """The class of an expert's own text tower."""
    return _load(ALIGNED)


def _load(place: str) -> type[TextEncoder]:
    module, _, name = place.partition(":")
    found: type[TextEncoder] = getattr(import_module(module), name)
    return found
