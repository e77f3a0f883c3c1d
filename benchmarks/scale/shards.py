"""Whether an index in shards answers as one index of the same clips does, and what it costs.

examples:
  python -m benchmarks.scale.shards           # 100,000 clips, 4 x 128, 30 % missing, 4 shards, 500 requests
  python -m benchmarks.scale.shards --quick   # does it run

Made clips (data/index_data.py), 20 to a video, with a column of text, one of numbers and a date. Requests are
drawn of every kind: by sentences, a clip, a video, vectors of an example, marks, with filters, weights and words,
of clips, videos and sequences, folded, sorted, paged; each with its facets, its arrangement, and what is known of
its last clip. Two answers are equal if all of this is: ids, their order, scores and contributions to the last bit.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import faiss
import numpy as np
import pyarrow as pa
import threadpoolctl
import torch

from benchmarks.data.index_data import Made
from benchmarks.sequences.cost import Given
from benchmarks.timing import Times, arguments, in_turns, print_table, say
from index import Entries, Origin, Queries, Request, Searcher, VideoIndex, arranged, facets
from index.request.request import Sort
from index.scanners import Settings
from index.storage.sharded import create_writer
from index.text_side import Text
from mee.errors import InputError

TABLE = {"index": "{side}", "opened in s": "{opened:.2f}", "p50 ms": "{p50_ms:.1f}", "p99": "{p99_ms:.1f}"}


@dataclass(frozen=True)
class Args:
    clips: int = 100_000
    sizes: tuple[int, ...] = (128,) * 4  # of the experts
    missing: float = 0.3  # share of the streams
    shards: int = 4
    requests: int = 500
    rounds: int = 2
    threads: int = 1
    seed: int = 0
    work: Path | None = None  # where the files go meanwhile
    quick: bool = False


def main() -> None:
    args = arguments(Args, __doc__)
    if args.quick:
        args = replace(args, clips=5_000, requests=50)
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    threadpoolctl.threadpool_limits(args.threads)
    made = Made(args.clips, args.sizes, args.missing, seed=args.seed)
    queries = Queries.of(made.queries(1000))
    with tempfile.TemporaryDirectory(dir=args.work, prefix="mee-shards-") as work:
        sides, opened = {}, {}
        for side, shards in (("one", 0), (f"{args.shards} shards", args.shards)):
            say(f"building {side}")
            build(made, Path(work) / side, shards)
            began = time.perf_counter()
            sides[side] = Searcher(VideoIndex.open(Path(work) / side), Text(None, Given(queries)))  # type: ignore[arg-type]
            opened[side] = time.perf_counter() - began
        rng = np.random.default_rng(args.seed)
        requests = [asked(rng, *sides.values()) for _ in range(args.requests)]
        answers = [[answered(each, its) for its in sides.values()] for each in requests]
        different = [request for request, each in zip(requests, answers) if len({*each}) > 1]
        refused = sum(each[0].startswith("InputError") for each in answers)
        print(f"{args.clips:,} clips in {args.shards} shards, seed {args.seed}: of {args.requests} requests")
        print(f"{args.requests - len(different)} are answered alike to the last bit, {refused} by an error\n")
        for request in different[:5]:
            print(request)
        times = {side: Times() for side in sides}
        for turn, side in in_turns(sides, args.rounds + 1):
            sentences = range(100 * turn, 100 * turn + 100)
            calls = [partial(sides[side].search, [Request(sentence=str(each))]) for each in sentences]
            (times[side] if turn else Times()).time(calls)
        rows = ({"side": its, "opened": opened[its]} | quantiles(times[its]) for its in sides)
        print_table(TABLE, rows)


def quantiles(times: Times) -> dict[str, float]:
    return {"p50_ms": 1000 * times.quantile(0.5), "p99_ms": 1000 * times.quantile(0.99)}


def build(made: Made, directory: Path, shards: int, kind: str = "auto") -> None:
    """Make an index of made clips."""
    origin, first, rng = Origin("made", "made", "made"), 0, np.random.default_rng((made.seed, 7))
    settings = Settings(kind=kind)  # type: ignore[arg-type]
    with create_writer(
        directory, made.layout, origin, settings=settings, overwrite=False, shards=shards
    ) as writer:
        for packed, available in made.chunks():
            at = np.arange(first, first + len(packed))
            columns = {
                "clip_id": [f"clip{number:08}" for number in at],
                "video": [f"video{number // 20:06}" for number in at],
                "start_s": 10.0 * (at % 20),
                "end_s": 10.0 * (at % 20) + rng.integers(5, 11, len(at)),
                "split": rng.choice(["train", "val", "test"], len(at)),
                "views": rng.integers(1000, size=len(at)),
                "file_modified": [f"2024-{number:02}-01" for number in rng.integers(1, 13, len(at))],
                "file_seconds": rng.integers(100, 200, len(at)).astype(float),
            }
            writer.put(Entries(pa.table(columns), packed, available))
            first += len(packed)
        writer.compact(settings=settings)


def asked(rng: np.random.Generator, *searchers: Searcher) -> Request:
    """A request of any kind for indexes of the same clips; an example of it is given to all of them."""
    index, chance = searchers[0].video_index, rng.random
    names = index.layout.names

    def clips(count: int) -> list[str]:
        tables = [segment.table.arrow for segment in index.snapshot.segments]
        some = (tables[rng.integers(len(tables))] for _ in range(count))
        return [table["clip_id"][int(rng.integers(len(table)))].as_py() for table in some]

    def sentence() -> str:
        return str(rng.integers(1000))

    fields: dict[str, Any] = {"top": int(rng.integers(1, 30))}
    way = rng.choice(
        ["sentence", "like", "video", "example", "good", "then", "list"], p=[0.3, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1]
    )
    if way in ("sentence", "then") or chance() < 0.3:
        fields["sentence"] = sentence()
    if way == "then":
        fields |= {"then": tuple(sentence() for _ in range(rng.integers(1, 4))), "within": float(rng.integers(60))}
    if way == "like":
        fields["like"] = clips(1)[0]
    if way == "video":
        fields["like"] = index.moments(clips(1))[0].video
    if way == "example":
        vectors = index.clip_query(clips(1)[0])
        fields["example"] = f"example {rng.integers(1 << 40)}"
        for searcher in searchers:
            searcher.meaning.examples[fields["example"]] = vectors
    if way == "good" or chance() < 0.2:
        marked = clips(5)
        fields |= {"good": tuple(marked[:2]), "bad": tuple(marked[2:3]), "closer": ((marked[3], marked[4]),)}
    if way == "list" and not {"sentence", "good"} & fields.keys():
        fields["where" if index.layout.words == () else "said"] = "views >= 0" if index.layout.words == () else "1"
    if chance() < 0.3 and "sentence" in fields:
        fields["also"] = ((float(rng.choice([0.5, 1.0, -0.5])), sentence()),)
    if chance() < 0.3:
        fields["where"] = str(rng.choice(["views < 300", "split == 'val'", "duration > 6 and views > 500"]))
    if chance() < 0.05:
        fields["video"] = index.moments(clips(1))[0].video
    if chance() < 0.2:
        fields["only"] = tuple(rng.choice(names, 2, replace=False).tolist())
    elif chance() < 0.2:
        fields["weights"] = {str(name): float(rng.integers(1, 4)) for name in names}
    if chance() < 0.3 and "then" not in fields:
        fields |= {"by_video": True, "moments": int(rng.integers(1, 4))}
    elif chance() < 0.2:
        fields["fold"] = True
    if chance() < 0.2:
        fields["offset"] = int(rng.integers(20))
    if chance() < 0.1:
        fields["min_score"] = float(chance() / 2)
    fields["sort"] = str(rng.choice(get_args(Sort))) if chance() < 0.2 else "score"
    try:
        return Request(**fields)
    except InputError:  # they make no sense together
        return Request(sentence=sentence(), top=fields["top"])


def answered(request: Request, searcher: Searcher) -> str:
    """All that a searcher says to a request, as text in which different numbers differ."""
    return "\n".join(_answered(request, searcher))


def _answered(request: Request, searcher: Searcher) -> Iterator[str]:
    try:
        (found,) = searcher.search([request])
    except InputError as error:
        yield f"InputError: {error}"
        return
    yield from (repr(each.to_dict()) for each in found)
    yield repr(searcher.weights(request))
    yield repr([each.to_dict() for each in facets(searcher.video_index, request)])
    hits = [hit for each in found for hit in each.hits]
    if hits:
        index, last = searcher.video_index, hits[-1].clip_id
        ids: Sequence[str] = list(dict.fromkeys(hit.clip_id for hit in hits))
        yield repr([each.tolist() for each in arranged(ids, searcher.weights(request), index.snapshot)])
        yield repr(searcher.explain(request, last).to_dict())
        yield repr((index.facts(last), index.clips_of(hits[0].video)))


if __name__ == "__main__":
    main()
