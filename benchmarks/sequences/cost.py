"""What a search for moments in order costs, beside a plain search of the same index.

examples:
  python -m benchmarks.sequences.cost           # 100,000 clips in 5,000 videos, 4 x 512, 30 % missing, one thread
  python -m benchmarks.sequences.cost --quick   # does it run

Made clips (data/index_data.py) of ten seconds, in random order, in videos of equal length. `planted`: each part of
a sequence is asked like a clip of one video, 20 seconds after each other, so that there is something to find;
`unrelated`: the parts have nothing to do with each other, and the best sequences are poor. A search is what
`Searcher.search` does for one request, without the sentences' encoding. A ratio is the CPU time of the sequences
of a round by that of as many plain searches in it, for their first sentences.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import faiss
import numpy as np
import pyarrow as pa
import threadpoolctl
import torch

from benchmarks.data.index_data import QUERIES, Made, Numbers
from benchmarks.timing import Times, arguments, in_turns, print_table, ratios, say
from index import Entries, IndexWriter, Origin, Queries, Request, Searcher, VideoIndex
from index.scanners.kinds import Settings
from index.text_side import Text

Kind = Literal["flat", "certified", "fastscan"]
PARTS = 4  # of the longest sequence
SECONDS, APART = 10.0, 3  # of a clip; from one planted clip to the next, in clips
TABLE = {
    "search": "{side}", "p50 ms": "{p50_ms:.1f}", "   p99": "{p99_ms:.1f}", "   CPU": "{cpu_ms:.1f}",
    "min": "{ratio[min]:.2f}", "median": "{ratio[median]:.2f}", "max": "{ratio[max]:.2f}",
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    clips: int = 100_000
    videos: int = 5_000
    sizes: tuple[int, ...] = (512,) * 4  # of the experts
    missing: float = 0.3  # share of the streams
    kinds: tuple[Kind, ...] = get_args(Kind)[:2]
    within: float = 60.0
    top: int = 10
    rounds: int = 6
    calls: int = 10  # searches a side and round
    threads: int = 1
    seed: int = 0
    work: Path | None = None  # where the files go meanwhile
    quick: bool = False


class Given:
    """In the place of a text side: sentences are numbers of queries."""

    readers = ()

    def __init__(self, queries: Queries) -> None:
        self.queries = queries

    def encode(self, sentences: Sequence[str]) -> Queries:
        return self.queries.part(np.array([int(sentence) for sentence in sentences]))


def main() -> None:
    args = arguments(Args, __doc__)
    if args.quick:
        args = replace(args, clips=5_000, videos=250, rounds=2, calls=3)
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    threadpoolctl.threadpool_limits(args.threads)
    made = Made(args.clips, args.sizes, args.missing, seed=args.seed)
    chains = (args.rounds + 1) * args.calls
    queries = Queries.of(made.queries(2 * chains * PARTS))  # the second half is asked `unrelated`
    place = places(made, args.videos, chains)
    print(
        f"{args.clips:,} clips, {args.videos:,} videos, within {args.within:g} s, top {args.top}, seed {args.seed}"
    )
    for kind in args.kinds:
        with tempfile.TemporaryDirectory(dir=args.work, prefix="mee-sequences-") as work:
            say(f"building {kind}")
            build(made, place, args.videos, kind, Path(work))
            searcher = Searcher(VideoIndex.open(Path(work)), Text(None, Given(queries)))  # type: ignore[arg-type]
            print(f"\n{kind}\n")
            print_table(TABLE, timed(searcher, args, chains))


def places(made: Made, videos: int, chains: int) -> Numbers:
    """(G,) where each clip lies: video times clips of a video plus place in it. Clips of a sequence are moved."""
    rng, each = np.random.default_rng((made.seed, 99)), made.clips // videos
    place = rng.permutation(made.clips)
    near = made._generator(QUERIES, 0).integers(made.clips, size=2 * chains * PARTS)  # as Made.queries draws them
    for chain, video in enumerate(rng.permutation(videos)[:chains].tolist()):
        for part in range(PARTS):
            clip, wanted = near[chain * PARTS + part], video * each + APART * part
            other = int(np.flatnonzero(place == wanted)[0])
            place[[clip, other]] = place[[other, clip]]
    return place


def build(made: Made, place: Numbers, videos: int, kind: Kind, directory: Path) -> None:
    """Make an index of a kind."""
    each, first = made.clips // videos, 0
    with IndexWriter.create(
        directory, made.layout, Origin("made", "made", "made"), settings=Settings(kind="flat")
    ) as writer:
        for packed, available in made.chunks():
            at = place[first : first + len(packed)]
            start = SECONDS * (at % each)
            columns = {
                "clip_id": [f"clip{number:08}" for number in at],
                "video": [f"video{number:06}" for number in at // each],
                "start_s": start,
                "end_s": start + SECONDS,
            }
            writer.put(Entries(pa.table(columns), packed, available))
            first += len(packed)
        writer.compact(settings=Settings(kind=kind))


def timed(searcher: Searcher, args: Args, chains: int) -> Iterator[dict[str, Any]]:
    """A row for a plain search, and for sequences of each length."""
    base = Request(sentence="0", top=args.top, within=args.within)

    def request(chain: int, parts: int) -> Request:
        first, *later = (str(chain * PARTS + part) for part in range(max(parts, 1)))
        return replace(base, sentence=first, then=tuple(later))

    sides = {"a plain search": (0, 0)}
    for kind, start in (("planted", 0), ("unrelated", chains)):
        sides |= {f"{kind}, {parts} moments": (start, parts) for parts in range(2, PARTS + 1)}
    times = {side: Times() for side in sides}
    for turn, side in in_turns(sides, args.rounds + 1):
        start, parts = sides[side]
        some = range(turn * args.calls, (turn + 1) * args.calls)
        calls = [partial(searcher.search, [request(start + chain, parts)]) for chain in some]
        (times[side] if turn else Times()).time(calls)
    plain = times["a plain search"]
    for side, own in times.items():
        found = {
            "p50_ms": own.quantile(0.5),
            "p99_ms": own.quantile(0.99),
            "cpu_ms": own.quantile(0.5, "processor"),
        }
        yield {"side": side, "ratio": ratios(own.processor, plain.processor)} | {
            n: 1000 * s for n, s in found.items()
        }


if __name__ == "__main__":
    main()
