from .filter import Filter as Filter
from .request import Request as Request
from .resolve import Selection as Selection
from .resolve import check_experts as check_experts
from .resolve import clip_query as clip_query
from .resolve import queries_of as queries_of
from .resolve import select_videos as select_videos
from .resolve import selection_of as selection_of
