from .batch import BatchSearch as BatchSearch
from .batch import Precision as Precision
from .bounds import UpperBounds as UpperBounds
from .proven import search_approximately as search_approximately
from .proven import search_proven as search_proven
from .ranking import Ranked as Ranked
from .ranking import Scored as Scored
from .ranking import exact_scores as exact_scores
