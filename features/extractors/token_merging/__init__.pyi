from .apply import merge_tokens as merge_tokens
from .matching import mean_token as mean_token
