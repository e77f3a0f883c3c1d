from .normalise import GatedEmbeddingUnit as GatedEmbeddingUnit
from .normalise import Standardise as Standardise
from .pooling import Pool as Pool
from .pooling_kinds import check_pooling as check_pooling
from .pooling_kinds import pooled_size as pooled_size
from .transformer import TransformerLayer as TransformerLayer
from .transformer import sinusoidal_positions as sinusoidal_positions
