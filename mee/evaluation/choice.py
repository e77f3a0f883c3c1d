"""Multiple choice: of five sentences a clip, is its own the best-scored one?

    accuracy = 100 * mean over questions of [s_answer = max] / #{sentences that share the maximum}

the expected accuracy if ties are broken at random: a constant score answers one in five.
"""

from __future__ import annotations

from torch import Tensor

from mee.evaluation.metrics import mean_interval
from mee.evaluation.result import Choice


def choice_accuracy(scores: Tensor, answer: Tensor, *, resamples: int = 1000, seed: int = 0) -> Choice:
    """Answer every question by the best score.

    Args:
        scores: (N, C) of each question's sentences, no NaN.
        answer: (N,) int64 number of the right one, from 0.
        resamples: of the bootstrap over questions; 0: no interval.
        seed: of the bootstrap.
    """
    if not len(scores):
        raise ValueError("there is no question to answer")
    if scores.isnan().any():
        raise ValueError(f"{int(scores.isnan().sum())} scores are NaN, and NaN is no answer")
    if not ((answer >= 0) & (answer < scores.shape[1])).all():
        raise ValueError(f"an answer is the number of a sentence, 0 to {scores.shape[1] - 1}")
    best = scores == scores.amax(1, keepdim=True)
    right = best.gather(1, answer.to(best.device)[:, None]).squeeze(1)
    credit = right.double().cpu() / best.sum(1).cpu()
    interval = mean_interval(100 * credit.numpy(), resamples=resamples, seed=seed) if resamples else None
    return Choice(questions=len(credit), accuracy=100 * float(credit.mean()), interval=interval)
