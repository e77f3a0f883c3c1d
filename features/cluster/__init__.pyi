from .nodes import QUIET as QUIET
from .nodes import connected as connected
from .ray_job import run_on_ray as run_on_ray
