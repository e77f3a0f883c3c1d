"""Video file -> streams on disk. The public names load on first use."""

from importlib import import_module
from typing import Any

_HOME = {
    "Clip": "features.media.clip",
    "Extractor": "features.extractors.base",
    "FeatureStore": "features.store.feature_store",
}
__all__ = ["Clip", "Extractor", "FeatureStore"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
