from .apply import merge_tokens as merge_tokens
from .schedule import MergeSchedule as MergeSchedule
