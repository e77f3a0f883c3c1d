from .app import create_app as create_app
from .command import ServeArgs as ServeArgs
from .command import serve as serve
from .progress import FileState as FileState
from .progress import Progress as Progress
from .progress import Status as Status
from .service import Service as Service
