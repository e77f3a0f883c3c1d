from .extractors import Extractor as Extractor
from .media import Clip as Clip
from .store import FeatureStore as FeatureStore
