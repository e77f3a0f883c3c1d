"""How short the prefixes of real clips' codes are, and how many clips their bounds leave.

example:
  python -m benchmarks.prefixes DATA

DATA is a folder as for msrvtt810, on which a model is trained (fold 0 left out). All of its clips are coded; the
queries are captions of the left out. "in 127" is the share of second moments, or of squared norms, in the leading
127 directions of the clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tyro.conf import Positional

from benchmarks.msrvtt810 import split, train
from benchmarks.timing import arguments, print_table
from index.queries import Queries
from index.scanners import Certified
from index.storage.entries import by_pattern
from mee.encode import encode_captions, encode_gallery

BEST, QUERIES, LEADING = 10, 300, 127


@dataclass(frozen=True)
class Args:
    data: Positional[Path]  # the folder
    seed: int = 0


def main() -> None:
    args = arguments(Args, __doc__)
    torch.set_num_threads(1)
    part = split(args.data, 0, names=True)
    source, captions = part.data.source, part.data.captions
    model = train(part, args.seed, source)
    video = encode_gallery(model, source, list(source.clips.index)).video
    packed, available, sizes = video.packed.float().numpy(), video.available.numpy(), model.layout.sizes
    groups = [(pattern, packed[rows][:, np.repeat(pattern, sizes)]) for pattern, rows in by_pattern(available)]
    scanners = list(Certified.built([(pattern, rows) for pattern, rows in groups if any(pattern)], sizes))
    sentences = list(dict.fromkeys(caption for row in part.test for caption in captions[row]))[:QUERIES]
    queries = Queries.of(encode_captions(model, sentences))
    exact, most = [], []
    for its in scanners:
        factors = queries.factors(np.array(its.pattern), model.layout.missing)[:, 0]
        weighted = (queries.packed[:, 0] * np.repeat(factors, sizes, 1))[:, np.repeat(its.pattern, sizes)]
        constant = -(factors * queries.offsets[:, 0]).sum(1, keepdims=True)
        estimates, rows = its.scan(asked := weighted.astype(np.float32), len(its.vectors))
        found = np.empty_like(estimates)
        np.put_along_axis(found, rows, estimates, axis=1)
        exact.append(weighted @ its.vectors.T + constant)
        most.append(found + its.bound(asked)[:, None] + constant)
    least = np.sort(np.concatenate(exact, axis=1), axis=1)[:, -BEST, None]
    reached = (np.concatenate(most, axis=1) >= least).mean()
    size = [sum(getattr(its, name).nbytes for its in scanners) / len(packed) for name in ("codes", "vectors")]
    print(f"{len(packed)} clips, {size[0]:.0f} bytes each of {size[1]:.0f}; {reached:.1%} reach the best {BEST}\n")
    shown = []
    for m, (name, columns) in enumerate(zip(model.layout.names, model.layout.slices)):
        clips = packed[available[:, m], columns]
        leading = np.linalg.eigh(clips.T @ clips).eigenvectors[:, -LEADING:]
        sides = {"clips": clips, "sentences": queries.packed[:, 0, columns]}
        shares = {side: np.square(its @ leading).sum() / np.square(its).sum() for side, its in sides.items()}
        shown.append({"expert": name, "kept": scanners[0].coding.kept[m], "of": sizes[m], **shares})
    print_table({head: f"{{{head}:.3}}" if head in sides else f"{{{head}}}" for head in shown[0]}, shown)


if __name__ == "__main__":
    main()
