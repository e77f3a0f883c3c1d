"""Jobs on a Ray cluster: a library is cut into shards, and each is a job on one of the nodes."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
