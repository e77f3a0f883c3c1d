"""How well folded hits tell copies of a video from other videos: what is folded, by the rule of index/hit.py.

example:
  python -m benchmarks.serve.folding INDEX

The index is of a folder with videos NAME.mp4 and versions of them, NAME.VERSION.mp4, cut into clips at the same
times. Half of the names, drawn by a seed, are counted apart: the thresholds were chosen on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from benchmarks.timing import arguments, print_table
from index import VideoIndex
from index.hit import ALIKE, Folds

NEAR_S = 0.3  # between the starts of the same moment of two versions


@dataclass(frozen=True)
class Args:
    index: Positional[Path]
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(Args, __doc__, argv)
    snapshot = VideoIndex.open(args.index).snapshot
    columns = ["clip_id", "video", "start_s"]
    clips = [row for segment in snapshot.segments for row in segment.live_table().select(columns).to_pylist()]
    folds = Folds(snapshot)
    vectors = folds.centred([clip["clip_id"] for clip in clips])
    alike = folds.nearest(*vectors, *vectors) >= ALIKE
    videos, starts = (np.array([clip[name] for clip in clips]) for name in ("video", "start_s"))
    parts = [str(video).rsplit(".", 2) for video in videos]
    names, versions = (
        np.array([its[n] if len(its) == 3 else ("", its[0])[n == 0] for its in parts]) for n in (0, 1)
    )
    mixed = np.random.default_rng(args.seed).permutation(np.unique(names))
    chosen = np.isin(names, mixed[: len(mixed) // 2])
    same, first = names[:, None] == names, np.triu(np.ones_like(alike), 1)
    moment = np.abs(starts[:, None] - starts) <= NEAR_S
    groups = {"other videos": ~same, "other moments of versions": same & (videos[:, None] != videos) & ~moment}
    for version in sorted({*versions} - {""}):
        of_it = (versions[:, None] == "") & (versions == version)
        groups[f"the video and {version}"] = same & moment & (of_it | of_it.T)
    rows = []
    for what, pairs in groups.items():
        row = {"what": what}
        for half, its in (("chosen", chosen), ("rest", ~chosen)):
            found = alike[pairs & first & its[:, None] & its]
            error = sqrt(found.mean() * (1 - found.mean()) / len(found))
            row |= {f"{half}_pairs": len(found), half: 100 * found.mean(), f"{half}_se": 100 * error}
        rows.append(row)
    shown = {"clips of": "{what}"}
    for half in ("chosen", "rest"):
        shown |= {
            f"pairs, {half}": f"{{{half}_pairs:,}}",
            f"% {half}": f"{{{half}:.2f}}",
            f"± {half}": f"{{{half}_se:.2f}}",
        }
    print_table(shown, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
