from .app import create_app as create_app
from .command import ServeArgs as ServeArgs
from .command import serve as serve
from .service import Service as Service
