from .match import match_scores as match_scores
from .read import ScoreFile as ScoreFile
from .read import read_scores as read_scores
