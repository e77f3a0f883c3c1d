from .config import ImportConfig as ImportConfig
from .config import extractor_names as extractor_names
from .config import named_files as named_files
from .job import ImportJob as ImportJob
from .job import ImportReport as ImportReport
