from .args import ModelArgs as ModelArgs
from .args import ScoresArgs as ScoresArgs
from .model import evaluate_model as evaluate_model
from .output import Outcome as Outcome
from .output import check_output as check_output
from .output import print_result as print_result
from .output import write_output as write_output
from .scores import evaluate_scores as evaluate_scores
