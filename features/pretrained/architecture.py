"""Which class of transformers a family loads, and how; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final


@final
@dataclass(frozen=True)
class Architecture:
    """Given to features.pretrained.weights."""

    name: str  # of the class, such as "ViTModel"
    settings: Mapping[str, Any] = field(default_factory=dict)  # keywords of its from_pretrained
    unused: tuple[str, ...] = ()  # modules that forward never runs: their weights may lack, and they are dropped
