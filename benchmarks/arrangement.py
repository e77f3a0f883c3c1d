"""How well the map puts alike clips side by side, and how long that takes.

example:
  python -m benchmarks.arrangement
  python -m benchmarks.arrangement INDEX --count 200

    DPQ = |D(grid)|_16 / |D(best)|_16,   D_k = max(0, 1 - mean distance to the k nearest of each / mean distance)

nearest: on the grid, equally far ones by their mean; best: of the vectors themselves. It is the distance
preservation quality of Barthel et al. (2023): 1 where each has its nearest around it. Beside it the mean cosine of
neighbours. Without an index the vectors are made: clusters with noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist
from tyro.conf import Positional

from benchmarks.timing import Times, arguments, print_table
from index import VideoIndex
from index.arrange import arrange, weighted


@dataclass(frozen=True)
class Args:
    index: Positional[Path | None] = None  # clips of it, drawn at random; by default vectors are made
    count: int = 256  # vectors
    seeds: int = 5


def main(argv: Sequence[str] | None = None) -> int:
    args, times = arguments(Args, __doc__, argv), Times()
    found: dict[str, list[tuple[float, float]]] = {}
    for rng in map(np.random.default_rng, range(args.seeds)):
        vectors = _vectors(args, rng)
        width = ceil(sqrt(len(vectors)))
        left = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[0]
        by_two = np.lexsort((left[:, 1], np.argsort(np.argsort(left[:, 0])) // width))
        times.time([lambda vectors=vectors: arrange(vectors)] * 9)
        sides = {"random": rng.permutation(len(vectors)), "two main directions": by_two}
        for name, order in (sides | {"arranged": np.lexsort(arrange(vectors)[::-1])}).items():
            found.setdefault(name, []).append(_quality(vectors[order].astype(np.float64), width))
    rows = []
    for name, its in found.items():
        figures = np.concatenate([np.mean(its, axis=0), np.std(its, axis=0, ddof=1) / sqrt(len(its))])
        rows.append({"what": name, **dict(zip(("dpq", "cosine", "dpq_se", "cosine_se"), figures))})
    rows[-1] |= {"half": 1000 * times.quantile(0.5, "processor"), "most": 1000 * times.quantile(0.95, "processor")}
    columns = {f"{args.count} vectors": "{what}", "   DPQ": "{dpq:.3f}", "    ±": "{dpq_se:.3f}"}
    columns |= {
        "cosine": "{cosine:.3f}",
        "   ± ": "{cosine_se:.3f}",
        "p50 CPU ms": "{half:.0f}",
        "p95 CPU ms": "{most:.0f}",
    }
    print_table(columns, rows)
    return 0


def _vectors(args: Args, rng: np.random.Generator) -> np.ndarray:
    if args.index is not None:
        snapshot = VideoIndex.open(args.index).snapshot
        ids = [name for segment in snapshot.segments for name in segment.live_table()["clip_id"].to_pylist()]
        return weighted([ids[n] for n in rng.permutation(len(ids))[: args.count]], {}, snapshot)
    kinds = rng.standard_normal((20, 512))[rng.integers(20, size=args.count)]
    made = kinds + 0.8 * rng.standard_normal(kinds.shape)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def _quality(vectors: np.ndarray, width: int) -> tuple[float, float]:
    """DPQ, and the mean cosine of cells beside each other, of vectors row by row."""
    count, cells = len(vectors), np.stack(np.divmod(np.arange(len(vectors)), width), axis=1)
    apart, gains = cdist(vectors, vectors), []
    on_grid = cdist(cells, cells, "sqeuclidean")
    for far in (on_grid, apart):
        nearest = np.empty((count, count - 1))
        for row, others in enumerate(~np.eye(count, dtype=bool)):
            _, group, sizes = np.unique(far[row, others], return_inverse=True, return_counts=True)
            nearest[row] = np.repeat(np.bincount(group, apart[row, others]) / sizes, sizes)
        mean_of_k = (np.cumsum(nearest, axis=1) / np.arange(1, count)).mean(0)
        gains.append(np.linalg.norm(np.maximum(1 - mean_of_k / nearest.mean(), 0), 16))
    return float(gains[0] / gains[1]), float(1 - cdist(vectors, vectors, "cosine")[on_grid == 1].mean())


if __name__ == "__main__":
    raise SystemExit(main())
