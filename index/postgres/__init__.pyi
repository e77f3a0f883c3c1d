from .connection import Place as Place
from .database import Database as Database
from .database import Outdated as Outdated
from .tables import Changes as Changes
from .tables import State as State
