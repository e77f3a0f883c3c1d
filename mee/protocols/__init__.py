"""Named evaluation protocols: which captions are asked, among which clips, and what must hold."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
