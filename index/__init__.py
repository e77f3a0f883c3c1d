"""Trained model and gallery -> search. The public names load on first use."""

from importlib import import_module
from typing import Any

_HOME = {
    "Entries": "index.entries",
    "Filter": "index.filters",
    "Hit": "index.hit",
    "IndexWriter": "index.writer",
    "Queries": "index.queries",
    "Request": "index.request",
    "Searcher": "index.search",
    "VideoHits": "index.grouping",
    "VideoIndex": "index.video_index",
}
__all__ = [
    "Entries",
    "Filter",
    "Hit",
    "IndexWriter",
    "Queries",
    "Request",
    "Searcher",
    "VideoHits",
    "VideoIndex",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
