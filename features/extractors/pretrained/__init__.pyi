from .checkpoint import ONNX as ONNX
from .checkpoint import find_checkpoint as find_checkpoint
from .checkpoint import read_config as read_config
from .families import FACES as FACES
from .families import family_of as family_of
from .runner import load_weights as load_weights
from .vision import FrameExtractor as FrameExtractor
from .vision import PictureExtractor as PictureExtractor
