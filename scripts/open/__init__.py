"""mee open: from a folder of videos to a page in one command, and what is kept of such folders."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
