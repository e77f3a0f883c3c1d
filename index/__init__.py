"""Trained model and gallery -> search. The public names load on first use."""

from importlib import import_module
from typing import Any

_HOME = {
    "Hit": "index.hit",
    "Searcher": "index.search",
    "VideoIndex": "index.video_index",
}
__all__ = ["Hit", "Searcher", "VideoIndex"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
