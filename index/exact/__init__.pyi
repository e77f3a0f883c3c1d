from .answer import Answerer as Answerer
from .answer import How as How
from .batch import Precision as Precision
from .pattern_queries import Weighted as Weighted
from .ranking import Ranked as Ranked
