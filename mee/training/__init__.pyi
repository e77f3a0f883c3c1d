from .config import PRESETS as PRESETS
from .config import Preset as Preset
from .config import PresetName as PresetName
from .config import TrainConfig as TrainConfig
from .data import image_pairs as image_pairs
from .state import Progress as Progress
from .trainer import Trainer as Trainer
from .trainer import training_record as training_record
