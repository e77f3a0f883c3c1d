"""An index whose clips are scored by actors of a Ray cluster, a shard each. The public names load on first use."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
