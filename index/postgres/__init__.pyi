from .connection import Place as Place
from .database import Changes as Changes
from .database import Database as Database
from .database import Outdated as Outdated
from .database import State as State
