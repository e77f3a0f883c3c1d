from .shards import Shards as Shards
