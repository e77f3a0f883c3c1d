"""Requests: what a search can be asked for, and what it means in an index."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
