from .browser import Playable as Playable
from .browser import playable as playable
from .moment import write_moment as write_moment
from .pictures import film_strip as film_strip
from .pictures import thumbnail as thumbnail
