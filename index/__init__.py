"""Trained model and gallery -> search. The public names load on first use."""

from importlib import import_module
from typing import Any

_HOME = {
    "Entries": "index.storage.entries",
    "Filter": "index.request.filter",
    "Hit": "index.hit",
    "IndexWriter": "index.storage.writer",
    "Queries": "index.queries",
    "Request": "index.request.request",
    "Searcher": "index.searcher",
    "VideoHits": "index.request.grouping",
    "VideoIndex": "index.video_index",
    "synchronise": "index.sync",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
