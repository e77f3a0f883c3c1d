from .base import Attention as Attention
from .base import TextEncoder as TextEncoder
from .config import TextConfig as TextConfig
from .registry import encoder_class as encoder_class
from .registry import tower_class as tower_class
