"""Scanners find the rows of a partition that may score best; only this folder imports FAISS."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
