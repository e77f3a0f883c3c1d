"""Media for a page: what plays as it is, moments made playable, key-frame pictures."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
