"""Origin: what an index was made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Opening checks that it is still so."""

    model: str  # directory, absolute
    model_fingerprint: str
    store: str  # directory, absolute
