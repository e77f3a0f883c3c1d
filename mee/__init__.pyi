from .config import ModelConfig as ModelConfig
from .data import FeatureSource as FeatureSource
from .encode import encode_gallery as encode_gallery
from .model import MEE as MEE
from .reference_weights import load_reference as load_reference
from .scoring import mee_scores as mee_scores
from .training import TrainConfig as TrainConfig
from .training import Trainer as Trainer
