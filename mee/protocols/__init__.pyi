from .annotations import HELD_OUT as HELD_OUT
from .annotations import read_annotations as read_annotations
from .protocol import FOLDER as FOLDER
from .protocol import SENTENCES as SENTENCES
from .protocol import Benchmark as Benchmark
from .protocol import file_stamp as file_stamp
from .table import find_protocol as find_protocol
from .table import load_benchmark as load_benchmark
