from .config import TrainConfig as TrainConfig
from .data import image_pairs as image_pairs
from .record import finish as finish
from .record import selected_on as selected_on
from .record import trained_on as trained_on
from .record import training_record as training_record
from .state import Progress as Progress
from .trainer import Trainer as Trainer
