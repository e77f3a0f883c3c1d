"""The optimiser and its learning rate.

    cosine:       rate(s) = learning_rate * s / warmup                                         while s < warmup
                  rate(s) = learning_rate * (1 + cos(pi * (s - warmup) / (1 - warmup))) / 2    from then on
    exponential:  rate(s) = learning_rate * min(s / warmup, 1) * decay^(whole epochs done)

s: share of all steps done, taken at the middle of each, so that no step has rate 0. AdamW (Loshchilov and Hutter,
arXiv 1711.05101, algorithm 2); without weight decay it is Adam.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from mee.model import MEE
from mee.training.config import TrainConfig


def make_optimiser(model: MEE, loss: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over all parameters that require gradients.

    Weight decay is on matrices only, not on biases, norms, word embeddings and the temperature; tuned layers of a
    pretrained text encoder have their own learning rate.
    """
    words = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    slow = {id(p) for tower in model.all_towers.values() for p in tower.tuned_parameters()}
    groups: list[dict[str, Any]] = []
    for rate, tuned in ((config.learning_rate, False), (config.text_learning_rate, True)):
        learn = [p for p in model.parameters() if p.requires_grad and (id(p) in slow) is tuned]
        matrices = [p for p in learn if p.ndim > 1 and id(p) not in words]
        others = [p for p in learn if p.ndim < 2 or id(p) in words]
        if not tuned:
            others += list(loss.parameters())
        for parameters, decay in ((matrices, config.weight_decay), (others, 0.0)):
            if parameters:
                groups.append({"params": parameters, "weight_decay": decay, "lr": rate, "base_rate": rate})
    return torch.optim.AdamW(groups, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its learning rate times a factor."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_rate"] * factor


def rate_factor(config: TrainConfig, epoch: int, share: float) -> float:
    """Factor of the learning rate.

    Args:
        config: its schedule, decay, warmup and epochs.
        epoch: whole epochs done.
        share: of this epoch's steps done, in [0, 1].
    """
    done = (epoch + share) / config.epochs
    risen = done / config.warmup if done < config.warmup else 1.0
    if config.schedule == "exponential":
        return float(risen * config.decay**epoch)
    if risen < 1:
        return risen
    return (1 + math.cos(math.pi * (done - config.warmup) / (1 - config.warmup))) / 2
