"""Known-item search by two captions in order, on videos that are made of joined clips of 810 real ones.

  python -m benchmarks.sequences.known_item DATA                  DATA as of msrvtt810; all folds, three seeds

A model of the closed form (msrvtt810, row "ours") learns from the other folds. The clips of the fold are joined at
random to videos of three. A video is asked for by a caption of its first clip, then one of its second or third;
each is a target once a seed. `alone`: these videos are the gallery. `with others`: so are the same in reverse
order, and joined to other partners: each clip is in three videos, which only order and company tell apart.

  first, second   each sentence alone, videos by their best moment
  mixture         both sentences as one query (--also), videos by their best moment
  in order        the first, then the second (--then)

R@1 in percent: of videos with equal scores each counts in proportion. Errors are standard errors, clustered by the
first clip over seeds and folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from tyro.conf import Positional

from benchmarks.msrvtt810 import Split810, split, train
from benchmarks.timing import arguments, print_table, say
from index import Entries, IndexWriter, Origin, Request, Searcher, VideoIndex
from mee.encode import Gallery, encode_gallery
from mee.evaluation.metrics import paired_difference
from mee.model import MEE, VideoEmbedding

JOINED, SECONDS = 3, 10.0
FOLDS = 4
TIED = 50  # videos that are looked at for ties
COLUMNS = {
    "gallery": "{gallery}",
    "query": "{query}",
    "R@1": "{mean:.1f} ± {error:.1f}",
    "in order, less this": "{less:.1f} ± {of_less:.1f}",
}


@dataclass(frozen=True)
class Args:
    data: Positional[Path]
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: tuple[int, ...] = tuple(range(FOLDS))


@dataclass(frozen=True)
class Target:
    """A video, and what is asked for it."""

    video: str
    clip: int  # its first
    first: str
    second: str


def main() -> None:
    args = arguments(Args, __doc__)
    values: dict[tuple[str, str], list[float]] = {}
    clips: dict[str, list[int]] = {}
    for fold in args.folds:
        part = split(args.data, fold, True)
        model = train(part, 0, part.data.source)
        for seed in args.seeds:
            say(f"fold {fold}, seed {seed}")
            rng = np.random.default_rng((seed, fold))
            joined = rng.permutation(part.test)[: len(part.test) // JOINED * JOINED].reshape(-1, JOINED)
            others = np.concatenate([joined[:, ::-1], rng.permutation(joined.ravel()).reshape(-1, JOINED)])
            targets = [asked(part, number, video, rng) for number, video in enumerate(joined.tolist())]
            for gallery, videos in {"alone": joined, "with others": np.concatenate([joined, others])}.items():
                clips.setdefault(gallery, []).extend(target.clip for target in targets)
                for query, found in measured(part, model, videos, targets).items():
                    values.setdefault((gallery, query), []).extend(found)
    rows = []
    for (gallery, query), own in values.items():
        mean, error = paired_difference(np.zeros(len(own)), own, clips[gallery])
        less, of_less = paired_difference(own, values[gallery, "in order"], clips[gallery])
        rows.append({"gallery": gallery, "query": query, "mean": mean, "error": error})
        rows[-1] |= {} if query == "in order" else {"less": less, "of_less": of_less}
    print(f"{len(clips['alone'])} queries of {len(args.folds)} folds and {len(args.seeds)} seeds")
    print_table(COLUMNS, rows, 11)


def asked(part: Split810, number: int, video: Sequence[int], rng: np.random.Generator) -> Target:
    """Captions of its first clip and of a later one, at random."""
    later = video[int(rng.integers(1, JOINED))]
    first, second = (str(rng.choice(part.data.captions[clip])) for clip in (video[0], later))
    return Target(f"video{number:04}", video[0], first, second)


def measured(part: Split810, model: MEE, videos: np.ndarray, targets: Sequence[Target]) -> dict[str, list[float]]:
    """R@1 of each target in percent, by each kind of query."""
    with TemporaryDirectory() as work:
        searcher = Searcher(joined_index(part, model, videos, Path(work) / "index"), model)
        found = {}
        for name, fields in QUERIES.items():
            requests = [Request(top=TIED, **fields(target)) for target in targets]
            found[name] = [*map(credit, searcher.search(requests), targets)]
    return found


QUERIES = {
    "first": lambda target: {"sentence": target.first, "by_video": True, "moments": 1},
    "second": lambda target: {"sentence": target.second, "by_video": True, "moments": 1},
    "mixture": lambda target: {
        "sentence": target.first,
        "also": ((1.0, target.second),),
        "by_video": True,
        "moments": 1,
    },
    "in order": lambda target: {"sentence": target.first, "then": (target.second,)},
}


def credit(found: Sequence[Any], target: Target) -> float:
    """100 if the target alone is best, a share of it if others are as good."""
    best = [one.video for one in found if one.score == found[0].score]
    return 100.0 / len(best) if target.video in best else 0.0


def joined_index(part: Split810, model: MEE, videos: np.ndarray, directory: Path) -> VideoIndex:
    """An index of (V, JOINED) videos of rows of the data."""
    source = part.data.source
    gallery = encode_gallery(model, source, [source.clips.index[row] for row in part.test])
    place = {name: row for row, name in enumerate(gallery.clip_ids)}
    rows = torch.tensor([place[source.clips.index[row]] for row in videos.ravel().tolist()])
    ids = [f"clip{number:06}" for number in range(len(rows))]
    start = SECONDS * (np.arange(len(rows)) % JOINED)
    names = [f"video{number // JOINED:04}" for number in range(len(rows))]
    table = pd.DataFrame(
        {"video": names, "start_s": start, "end_s": start + SECONDS}, index=pd.Index(ids, name="clip_id")
    )
    video = VideoEmbedding(gallery.video.packed[rows], gallery.video.available[rows], {})
    entries = Entries.of(Gallery(tuple(ids), video, ()), table, model.layout)
    with IndexWriter.create(directory, model.layout, Origin("made", "made", "made")) as writer:
        writer.put(entries)
    return VideoIndex.open(directory)


if __name__ == "__main__":
    main()
