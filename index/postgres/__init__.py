"""An index in a PostgreSQL database: pip install 'mee[postgres]'; nothing imports it unasked."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
