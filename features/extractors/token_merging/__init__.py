"""Token merging (Bolya et al., arXiv 2210.09461) from outside a model."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
