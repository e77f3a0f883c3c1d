"""Streams and text -> scores. The public names load on first use, so that `import mee` costs nothing."""

from importlib import import_module
from typing import Any

_HOME = {
    "MEE": "mee.model",
    "ModelConfig": "mee.config",
    "TrainConfig": "mee.training.config",
    "load_reference": "mee.reference_weights",
    "mee_scores": "mee.scoring",
}
__all__ = ["MEE", "ModelConfig", "TrainConfig", "load_reference", "mee_scores"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
