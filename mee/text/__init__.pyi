from .base import Attention as Attention
from .base import TextEncoder as TextEncoder
from .base import encoder_class as encoder_class
from .base import tower_class as tower_class
from .config import TextConfig as TextConfig
from .config import check_sentences as check_sentences
from .model_files import check_rules as check_rules
from .vectors import sentence_vectors as sentence_vectors
