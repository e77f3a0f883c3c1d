from .config import ImportConfig as ImportConfig
from .config import by_stream as by_stream
from .config import named_files as named_files
from .job import ImportJob as ImportJob
from .job import ImportReport as ImportReport
