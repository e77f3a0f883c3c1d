from .checkpoint import find_checkpoints as find_checkpoints
from .extractor import PretrainedExtractor as PretrainedExtractor
from .families import make_pretrained as make_pretrained
from .runner import load_weights as load_weights
from .speech import find_recogniser as find_recogniser
from .speech import is_speech as is_speech
