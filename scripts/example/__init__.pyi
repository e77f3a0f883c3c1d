from .example import Example as Example
from .example import ExampleMaker as ExampleMaker
from .example import offered as offered
from .uploads import Uploads as Uploads
from .uploads import keep as keep
