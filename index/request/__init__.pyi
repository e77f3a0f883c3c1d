from .meaning import Meaning as Meaning
from .meaning import check_experts as check_experts
from .request import MARKS as MARKS
from .request import STREAMS as STREAMS
from .request import Request as Request
from .sequences import Chain as Chain
from .sequences import best_sequences as best_sequences
from .sequences import sequences_of as sequences_of
