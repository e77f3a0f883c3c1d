from .cluster import connected as connected
from .shards import Shards as Shards
