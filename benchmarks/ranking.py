"""The cost of ranking both ways: ours, in blocks by pattern, against materialising (queries, gallery, experts).

examples:
  python -m benchmarks.ranking --threads 2
  python -m benchmarks.ranking --threads 2 --huge          # slices of 1,000,000 x 100,000

59,800 queries x 2,990 clips x 4 experts, 30 % of the streams missing (MSR-VTT's full test), random embeddings. The
baseline scores with the textbook's (queries, gallery, experts) weights in blocks of queries, keeps the scores, and
ranks both ways, by counting or, as published evaluators do, by sorting; "products" are the matrix products of ours
alone. Sides take turns, each in its own process (for its peak memory) with as many threads. Seconds are the
processor's, medians over the rounds.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import apart, apart_in_turns, arguments, print_table
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.products import float32_product
from mee.ranking.mixture import MixtureScores
from mee.ranking.rank import rank_queries
from mee.ranking.scores import Positives
from mee.scoring import group_by_pattern

EXPERTS = ("appearance", "motion", "audio", "face")
BLOCK = 128  # queries of the baseline's blocks
ROWS = 500  # of ours, with nearly 3,000 clips in a gallery
COLUMNS = {
    "size of an expert": "{size}", "counting s": "{counting:.1f}", "sorting s": "{sorting:.1f}",
    "products s": "{products:.2f}", "ours s": "{ours:.2f}", "ratio: counting": "{by_counting:.1f}",
    "sorting": "{by_sorting:.1f}", "products": "{by_products:.2f}",
    "peak MB": "{peak:.0f}", "before it": "{before:.0f}", " MeanR": "{mean_rank:.2f}",
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    queries: int = 59_800
    gallery: int = 2_990
    embed_dim: tuple[int, ...] = (64, 128, 256, 512)
    rounds: int = 3
    threads: int = len(os.sched_getaffinity(0))
    huge: bool = False  # slices of 1,000,000 x 100,000


class Problem(NamedTuple):
    """Captions that are near to their clip, several a clip, side by side."""

    text: Tensor  # (Q, M, E)
    video: Tensor  # (G, M, E)
    logits: Tensor
    available: Tensor  # (G, M)
    owner: Tensor  # (Q,)

    @classmethod
    def make(cls, queries: int, gallery: int, size: int) -> Problem:
        generator = torch.Generator().manual_seed(0)
        video = F.normalize(torch.randn(gallery, len(EXPERTS), size, generator=generator), dim=-1)
        owner = torch.arange(queries) * gallery // queries
        text = torch.randn(queries, len(EXPERTS), size, generator=generator).mul_(3 / size**0.5)
        for start in range(0, queries, 4096):
            rows = slice(start, start + 4096)
            text[rows] = F.normalize(text[rows] + video[owner[rows]], dim=-1)
        available = torch.rand(gallery, len(EXPERTS), generator=generator) >= 0.3
        available[~available.any(1), 0] = True
        patterns = (available.long() * torch.tensor([8, 4, 2, 1])).sum(1)
        available = available[patterns.argsort()]  # as Gallery.by_pattern has them
        return cls(text, video, torch.randn(queries, len(EXPERTS), generator=generator), available, owner)

    def materialised(self) -> Tensor:
        """The score as it is written down: (Q, G), its weights and similarities block by block."""
        present = self.video.masked_fill(~self.available[..., None], 0)
        scores = torch.empty(len(self.text), len(self.video))
        for start in range(0, len(self.text), BLOCK):
            rows = slice(start, start + BLOCK)
            similarity = torch.einsum("qme,gme->qgm", self.text[rows], present)
            weights = self.logits[rows, None].masked_fill(~self.available, -torch.inf).softmax(-1)
            scores[rows] = (weights * similarity).sum(-1)
        return scores

    def best(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(Q, 1) score of each query's clip, (G,) and of each clip's best query."""
        best = scores.gather(1, self.owner[:, None])
        return best, torch.full((len(self.video),), -torch.inf).scatter_reduce(0, self.owner, best[:, 0], "amax")


def counting(given: Problem) -> Tensor:
    """Ranks of the queries; those of the clips are found too."""
    scores = given.materialised()
    best, closest = given.best(scores)
    _ = sum((part > closest).sum(0) for part in scores.split(BLOCK)) + 1
    return torch.cat([1 + (part > own).sum(1) for part, own in zip(scores.split(BLOCK), best.split(BLOCK))])


def sorting(given: Problem) -> Tensor:
    def place(scores: Tensor, best: Tensor) -> Tensor:
        return 1 + (scores.sort(dim=1, descending=True).values == best).int().argmax(1)

    scores = given.materialised()
    best, closest = given.best(scores)
    _ = [place(part, own) for part, own in zip(scores.T.split(BLOCK), closest[:, None].split(BLOCK))]
    return torch.cat([place(part, own) for part, own in zip(scores.split(BLOCK), best.split(BLOCK))])


def ours(given: Problem) -> Tensor:
    """The same by `mee.ranking`."""
    queries, gallery = len(given.text), len(given.video)
    text = TextEmbedding(given.text.flatten(1), given.logits, torch.zeros_like(given.logits))
    video = VideoEmbedding(given.video.flatten(1), given.available)
    scores = MixtureScores(text, video, Layout(EXPERTS, (given.text.shape[-1],) * len(EXPERTS), "renormalise"))
    return rank_queries(scores, Positives(torch.arange(queries), given.owner, queries, gallery)).t2v.rank


def products(given: Problem) -> Tensor:
    """The floor of ours: its matrix products, a pattern at a time, and nothing else."""
    groups = []
    for pattern, rows in group_by_pattern(given.available):
        experts = list(compress(range(len(EXPERTS)), pattern))
        groups.append((experts, given.video[rows][:, experts].flatten(1)))
    weighted = {tuple(experts): given.text[:ROWS, experts].flatten(1) for experts, _ in groups}
    for _ in range(0, len(given.text), ROWS):
        for experts, clips in groups:
            float32_product(weighted[tuple(experts)], clips)
    return torch.ones(1)


SIDES: dict[str, Callable[[Problem], Tensor]] = {
    "counting": counting, "sorting": sorting, "products": products, "ours": ours
}  # fmt: skip


def measure(side: str, shape: tuple[int, int, int], threads: int) -> dict[str, float]:
    """Rank once, in a process of its own."""
    torch.set_num_threads(threads)
    given = Problem.make(*shape)
    before = _memory()
    begun = time.process_time()
    ranks = SIDES[side](given)
    seconds = time.process_time() - begun
    return {"seconds": seconds, "peak": _memory(), "before": before, "mean_rank": ranks.double().mean().item()}


def _memory() -> float:
    """MB at the most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    args = arguments(Args, __doc__)
    if args.huge:
        for queries in (2_000, 4_000, 8_000):
            cost = apart(measure, "ours", (queries, 100_000, 64), args.threads)
            hours = cost["seconds"] / queries * 1_000_000 / 3600
            print(f"{queries:,} x 100,000, 4 x 64: {cost['seconds']:.1f} CPU s, a million queries {hours:.1f} h")
            print(f"  peak memory {cost['peak']:.0f} MB, {cost['before']:.0f} of it before ranking", flush=True)
        return
    print(f"{args.queries:,} queries x {args.gallery:,} clips x 4 experts, 30 % missing\n")
    print_table(COLUMNS, (_row(args, size) for size in args.embed_dim), threads=args.threads)


def _row(args: Args, size: int) -> dict[str, float]:
    shape = (args.queries, args.gallery, size)
    costs = apart_in_turns(measure, {side: (side, shape, args.threads) for side in SIDES}, args.rounds)
    seconds = {side: median(cost["seconds"] for cost in of_side) for side, of_side in costs.items()}
    times = {f"by_{side}": seconds[side] / seconds["ours"] for side in SIDES if side != "ours"}
    return {"size": size, **seconds, **times, **costs["ours"][0]}


if __name__ == "__main__":
    main()
