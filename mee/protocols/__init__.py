"""Named evaluation protocols: which captions are queries, which clips are ranked, and what must hold."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
