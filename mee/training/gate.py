"""The mixture's weights, fitted on clips that the experts have not seen.

    l(q) = G((h(q) - mean) / deviation),   G: a constant, linear, or one hidden layer of 32 rectified units

G and a temperature have the least cross-entropy, both ways, between captions and the clips of their part, each
clip with one caption drawn anew a step, by experts that were fitted on the other parts. Fitted on what the
experts have seen, weights would not depend on the sentence: every expert knows those clips. Then the offsets
and the temperature are fitted to the same, streams hidden at random: an offset is what a similarity must exceed
to speak for a clip, in comparison with clips that lack the stream. G is the one with the least cross-entropy on
parts that it was not fitted on; of nearly equal ones the larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.config import Missing
from mee.model import make_gate
from mee.scoring import mixture_weights
from mee.training.data import keep_streams

HIDDEN = 32
KINDS = (HIDDEN, 0, None)  # units of the hidden layer; None: a constant
STEPS, OFFSET_STEPS, RATE, DECAY = 250, 150, 0.01, 0.01
HIDE = 0.1  # chance of a stream, while the offsets are fitted
SHRINK = 0.25  # deviation of a standardised column
DIFFERS = 0.002  # of a cross-entropy, relative
TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)  # for scores that none is fitted to
NEVER = -30.0  # logit of an expert of which nothing is known
DRAWS = 5  # of captions, to compare gates


@dataclass(frozen=True)
class HeldOut:
    """G clips of one part, and their captions."""

    similarity: Tensor  # (C, G, M) of captions and clips, by experts that were fitted on the other parts
    h: Tensor  # (C, D) the captions' vectors that the mixture sees
    available: Tensor  # (G, M) bool
    first: Tensor  # (G,) of each clip's captions, which follow each other
    count: Tensor  # (G,) how many they are, at least 1
    group: Tensor  # (G,) int64: clips of one video are not each other's negatives
    base: Tensor | None = None  # (C, M) logits, by how much captions stand out, which a gate's are added to

    def loss(self, gate: Gate, missing: Missing, hide: float, generator: torch.Generator) -> Tensor:
        """Cross-entropy of one caption a clip, both ways; `hide`: chance to lack a stream."""
        chosen = self.first + (torch.rand(len(self.first), generator=generator) * self.count).long()
        available = keep_streams(self.available, hide, generator)
        logits = gate.logits(self.h[chosen])
        logits = logits if self.base is None else logits + self.base[chosen]
        weights = mixture_weights(logits[:, None], available, missing)
        scores = (weights * (self.similarity[chosen] - gate.offset)).sum(2) / gate.log_temperature.exp()
        other = ~torch.eye(len(scores), dtype=torch.bool)
        scores = scores.masked_fill((self.group[:, None] == self.group) & other, -torch.inf)
        own = torch.arange(len(scores))
        return F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)


class Gate(nn.Module):
    """A gate under way: its input standardised by the columns of `h`; logits begin at (M,) `begin`."""

    def __init__(self, h: Tensor, begin: Tensor, hidden: int | None) -> None:
        super().__init__()
        self.loss = 0.0  # of parts that it was not fitted on
        self.mean = h.mean(0)
        self.scale = float(SHRINK / (h - self.mean).square().mean().sqrt().clamp(min=1e-12))
        self.net = make_gate(h.shape[1], hidden or 0, len(begin))
        nn.init.zeros_(self.last.weight)
        self.last.bias.data.copy_(begin)
        self.last.weight.requires_grad_(hidden is not None)
        self.offset = nn.Parameter(torch.zeros(len(begin)))
        self.log_temperature = nn.Parameter(torch.tensor(0.05).log())

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the logits."""
        return cast(nn.Linear, self.net[-1] if isinstance(self.net, nn.Sequential) else self.net)

    def logits(self, h: Tensor) -> Tensor:
        """(Q, D) -> (Q, M)."""
        logits: Tensor = self.net((h - self.mean) * self.scale)
        return logits

    @torch.no_grad()
    def folded(self) -> nn.Module:
        """The net that computes the logits of vectors as they are."""
        first = cast(nn.Linear, self.net[0] if isinstance(self.net, nn.Sequential) else self.net)
        first.weight.mul_(self.scale)
        first.bias.sub_(first.weight @ self.mean)
        return self.net


def fit_gate(
    parts: Sequence[HeldOut],
    missing: Missing,
    seed: int,
    begin: Tensor | None = None,
    kinds: Sequence[int | None] = KINDS,
) -> Gate:
    """The gate that wins, fitted on all the parts; one part chooses nothing, and gets a constant.

    `begin`: (M,) logits before the first step; none: 0.
    """
    kinds = kinds if len(parts) > 1 else ()
    begin = torch.zeros(parts[0].similarity.shape[2]) if begin is None else begin
    losses = [
        fmean(_loss(parts, number, kind, missing, seed, begin) for number in range(len(parts))) for kind in kinds
    ]
    limit = (1 + DIFFERS) * min(losses, default=0.0)
    chosen, loss = next((pair for pair in zip(kinds, losses) if pair[1] <= limit), (None, 0.0))
    gate = _fit(parts, chosen, missing, seed, begin)
    gate.loss = loss
    if missing == "evidence":
        generator = torch.Generator().manual_seed(seed)
        _descend(gate, parts, [gate.offset, gate.log_temperature], OFFSET_STEPS, missing, HIDE, generator)
    gate.zero_grad()  # its layers go on to learn in a model
    unknown = ~torch.cat([part.available for part in parts]).any(0)  # no clip has it: nothing is known of it
    with torch.no_grad():
        gate.last.weight[unknown], gate.last.bias[unknown] = 0.0, NEVER
    return gate


@torch.no_grad()
def least_loss(parts: Sequence[HeldOut], missing: Missing, seed: int) -> float:
    """The same loss of similarities that nothing is fitted to, with the temperature that suits them best."""
    gate, losses = Gate(parts[0].h, torch.zeros(parts[0].similarity.shape[2]), None), []
    for temperature in TEMPERATURES:
        gate.log_temperature.fill_(math.log(temperature))
        losses.append(fmean(_drawn(part, gate, missing, seed) for part in parts))
    return min(losses)


def _loss(
    parts: Sequence[HeldOut], number: int, kind: int | None, missing: Missing, seed: int, begin: Tensor
) -> float:
    """The loss of one part by a gate fitted on the others, the mean over some draws of captions."""
    gate = _fit([*parts[:number], *parts[number + 1 :]], kind, missing, seed, begin)
    return _drawn(parts[number], gate, missing, seed)


@torch.no_grad()
def _drawn(part: HeldOut, gate: Gate, missing: Missing, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    return fmean(float(part.loss(gate, missing, 0.0, generator)) for _ in range(DRAWS))


def _fit(parts: Sequence[HeldOut], kind: int | None, missing: Missing, seed: int, begin: Tensor) -> Gate:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gate = Gate(torch.cat([part.h for part in parts]), begin, kind)
    learn = [
        parameter for parameter in gate.parameters() if parameter.requires_grad and parameter is not gate.offset
    ]
    _descend(gate, parts, learn, STEPS, missing, 0.0, generator)
    return gate


@torch.enable_grad()
def _descend(
    gate: Gate,
    parts: Sequence[HeldOut],
    parameters: Sequence[nn.Parameter],
    steps: int,
    missing: Missing,
    hide: float,
    generator: torch.Generator,
) -> None:
    """AdamW, the parts in turn; the rate falls in the second half of the steps."""
    matrices, others = ([p for p in parameters if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, RATE, fused=True)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, 2 * (1 - step / steps))
        loss = parts[step % len(parts)].loss(gate, missing, hide, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
