"""How fast the index answers, how well, and how far it is from what the machine could do at all.

examples:
  python -m benchmarks.index --clips 100000                            # 4 x 512, 30 % missing, one thread
  python -m benchmarks.index --clips 10000 --sizes 256 256 256 256 --missing 0 0.3
  python -m benchmarks.index --quick                                   # 10,000 clips, two rounds: does it run

Ours (flat, certified, fastscan; many queries in float32 and bfloat16) and rivals on the same made clips
(data/index_data.py), each beside the reference: raw FAISS flat, one index a pattern (index_sides.py). A ratio is
how many times less CPU time a side takes than the reference in its block of the same round. Recall is of the true
ten best. A floor is the time to read a side's bytes once, for one query, or that of the matrix products alone, for
many; both are measured in the same run.

Groups of sides are made, timed beside the reference and dropped again, so that one rival at a time is in memory. A
side whose copies would push the mapped vectors out of memory is left out, and named.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import faiss
import numpy as np
import threadpoolctl
import torch

from benchmarks import index_sides
from benchmarks.data.index_data import Case, Data, Made, Numbers, recall
from benchmarks.index_sides import CLIPS, EVERY, Precision, Side
from benchmarks.timing import Times, apart, arguments, in_turns, print_table, ratios, say
from index import Queries
from mee.products import pays

Kind = Literal["flat", "certified", "fastscan"]
Rival = Literal["mapped", "numpy", "torch", "naive", "one", "one-reranked", "fusion", "fusion-reranked"]
RIVALS: dict[Rival, tuple[float, Callable[[Case], Side]]] = {  # copies of the dense vectors that it makes
    "mapped": (0, index_sides.by_faiss_mapped),
    "numpy": (0, index_sides.by_numpy),
    "torch": (0, index_sides.by_torch),
    "naive": (1, index_sides.naive),
    "one": (2, partial(index_sides.one_flat, reranked=False)),
    "one-reranked": (2, partial(index_sides.one_flat, reranked=True)),
    "fusion": (1.25, partial(index_sides.late_fusion, reranked=False)),
    "fusion-reranked": (1.25, partial(index_sides.late_fusion, reranked=True)),
}
IN_TURN = ("naive", "torch", "numpy")  # rivals that many queries of ours are timed beside
PREFIXES = ("certified", "fastscan")  # kinds that do not multiply everything
RECALL_SECONDS = 10  # for counting hits of single queries
MEMORY = 0.85  # of what is available
WARM_UP = 5  # single queries that do not count
RATIO = {head: f"{{ratio[{head}]:.2f}}" for head in ("min", "median", "max")}
TABLES = {
    "build": {
        "put clips/s": "{puts_a_second:.0f}", "one put ms": "{single_ms:.1f}", "refresh ms": "{refresh_ms:.2f}",
        "compact s": "{compact_s:.1f}", "bytes a clip": "{bytes_a_clip:.0f}", "open ms": "{open_ms:.1f}",
        "first answer ms": "{first_answer_ms:.1f}", "own MB": "{memory_mb:.0f}", "mapped MB": "{mapped_mb:.0f}",
    },
    "one": {
        "p50 ms": "{p50_ms:.2f}", "   p99": "{p99_ms:.2f}", "   CPU": "{processor_ms:.2f}", **RATIO,
        "recall": "{recall:.4f}", "held B/clip": "{held_a_clip:.0f}", "read bytes": "{bytes:.2e}",
        "floor ms": "{floor_ms:.2f}", "x floor": "{times_floor:.2f}", "bytes/s": "{bandwidth:.2e}",
    },
    "many": {
        "wall s": "{p50_s:.3f}", "CPU s": "{processor_s:.3f}", "queries/s": "{queries_a_second:.0f}", **RATIO,
        "recall": "{recall:.4f}", "floor s": "{floor_s:.3f}", "x floor": "{times_floor:.2f}",
        "FLOP/s": "{operations_a_second:.2e}",
    },
}  # fmt: skip
Row = dict[str, Any]
Rows = Iterator[Row]
Group = Callable[[], list[Side]]
Calls = Callable[[Side, int], list[Callable[[], Any]]]  # what a side does in a round; round 0 warms up
Facts = Callable[[Side, dict[str, Times]], Row]  # what else there is to say, from the times of all in its group


@dataclass(frozen=True)
class Args:
    clips: tuple[int, ...] = (100_000,)
    sizes: tuple[int, ...] = (512,) * 4  # of the experts
    missing: tuple[float, ...] = (0.3,)  # share of the streams
    data: Data = "latent"
    queries: int = 1000  # how many there are, and together in a batch
    kinds: tuple[Kind, ...] = get_args(Kind)
    rivals: tuple[Rival, ...] = get_args(Rival)
    rounds: int = 10  # of single queries
    calls: int = 20  # single queries a side and round
    batch_rounds: int = 3  # of all queries together
    threads: int = 1  # of every side
    build_threads: int = len(os.sched_getaffinity(0))
    work: Path | None = None  # where the files go meanwhile; five times the vectors
    seed: int = 0
    quick: bool = False  # few clips, few rounds


def main() -> None:
    args = arguments(Args, __doc__)
    if args.quick:
        args = replace(args, clips=(10_000,), queries=200, rounds=2, calls=10, batch_rounds=1)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # of the processes that open an index
    print(f"faiss: {faiss.__version__}, seed: {args.seed}")
    for clips, missing in product(args.clips, args.missing):
        made = Made(clips, args.sizes, missing, args.data, args.seed)
        with tempfile.TemporaryDirectory(dir=args.work, prefix="mee-index-") as work:
            print(f"\n{made.clips:,} clips, sizes {made.sizes}, {made.missing:.0%} missing, {made.data}")
            for table, rows in _tables(made, args, Path(work)):
                print()
                ms = (
                    row | {f"{key[:-1]}ms": 1000 * row[key] for key in row if key.endswith("_s")} for row in rows
                )
                print_table({table: "{side}", **TABLES[table]}, ms, 36)


def _tables(made: Made, args: Args, work: Path) -> Iterator[tuple[str, Rows]]:
    """Measure a case: the name of each table, and a row a side."""
    _use_threads(args.build_threads)
    built = {}
    for kind in args.kinds:
        say(f"building {kind}")
        built[kind] = index_sides.build(made, kind, work / kind)
    say("vectors by pattern, and the true best")
    case = Case(made.parts(work / "parts"), made.queries(args.queries), made.layout, made.clips)
    true = case.truth()
    _use_threads(args.threads)
    query = Queries.of(case.queries).part(slice(0, 1))
    opened = (apart(index_sides.opened, work / kind, query) for kind in built)
    yield "build", ({"side": f"ours, {kind}", **built[kind], **facts} for kind, facts in zip(built, opened))
    yield "one", _singles(case, true, args, work)
    yield "many", _batches(case, true, args, work)


def _use_threads(count: int) -> None:
    """So many for everything that follows."""
    torch.set_num_threads(count)
    faiss.omp_set_num_threads(count)
    threadpoolctl.threadpool_limits(count)


def _singles(case: Case, true: Numbers, args: Args, work: Path) -> Rows:
    shared = [_reference(case), index_sides.reading(case.size)]
    groups: list[Group] = [lambda: [index_sides.ours(case, kind, work / kind) for kind in args.kinds]]
    groups += [partial(_rivals, case, [name]) for name in args.rivals]

    def calls(side: Side, turn: int) -> list[Callable[[], Any]]:
        count = args.calls if turn else WARM_UP
        numbers = [(turn * args.calls + number) % args.queries for number in range(count)]
        return [partial(side.find, slice(number, number + 1)) for number in numbers]

    def facts(side: Side, times: dict[str, Times]) -> Row:
        bandwidth = shared[1].scanned / times[shared[1].name].quantile(0.5, "processor")
        if side is shared[1]:
            return {"bytes": side.scanned, "bandwidth": bandwidth}
        found = {"floor_s": side.scanned / bandwidth, "recall": _recall_of_singles(side, true)}
        return {"bytes": side.scanned, **found}

    return _timed(case, shared, groups, args.rounds, calls, facts)


def _batches(case: Case, true: Numbers, args: Args, work: Path) -> Rows:
    width, reduced = case.layout.total, pays(torch.bfloat16, torch.device("cpu"))
    kinds = (torch.float32, torch.bfloat16) if reduced else (torch.float32,)
    floors = [index_sides.products(args.queries, width, kind) for kind in kinds]
    share = case.size / (4 * CLIPS * width)  # how many times a floor's products a search has to do
    own: list[tuple[Kind, Precision]] = [(kind, "auto") for kind in args.kinds if kind != "flat"]
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    own += [("flat", precision) for precision in precisions[: len(kinds)] if "flat" in args.kinds]
    beside = [name for name in IN_TURN if name in args.rivals]
    groups: list[Group] = [
        lambda: _rivals(case, beside) + [index_sides.ours(case, kind, work / kind, p) for kind, p in own]
    ]
    groups += [partial(_rivals, case, [name]) for name in args.rivals if name not in IN_TURN]

    def facts(side: Side, times: dict[str, Times]) -> Row:
        taken = [times[floor.name].quantile(0.5, "processor") for floor in floors]
        if side in floors:
            return {"operations_a_second": 2 * args.queries * CLIPS * width / taken[floors.index(side)]}
        row = {"queries_a_second": args.queries / times[side.name].quantile(0.5)}
        row["recall"] = recall(side.numbers(EVERY), true)
        if not side.name.endswith(PREFIXES):
            row["floor_s"] = share * taken[side.name.endswith("bfloat16")]
        return row

    shared = [_reference(case), *floors]
    return _timed(case, shared, groups, args.batch_rounds, lambda side, turn: [partial(side.find, EVERY)], facts)


def _timed(
    case: Case, shared: list[Side], groups: Iterable[Group], rounds: int, calls: Calls, facts: Facts
) -> Rows:
    """A row a side; those of `shared` are timed beside every group, the first of them is the reference."""
    known = 0  # sides that have a row already
    for group in groups:
        sides = [*shared, *(side for side in group() if side.name != shared[0].name)]
        if len(sides) == len(shared):
            continue
        say("; ".join(side.name for side in sides))
        times = {side.name: Times() for side in sides}
        for turn, side in in_turns(sides, rounds + 1):
            (times[side.name] if turn else Times()).time(calls(side, turn))
        reference = times[shared[0].name].processor
        for side in sides[known:]:
            own = times[side.name]
            row: Row = {"side": side.name, "held_a_clip": side.held / case.clips}
            row |= {"p50_s": own.quantile(0.5), "p99_s": own.quantile(0.99)}
            row["processor_s"] = own.quantile(0.5, "processor")
            row |= {"ratio": ratios(reference, own.processor), **facts(side, times)}
            if "floor_s" in row:
                row["times_floor"] = row["processor_s"] / row["floor_s"]
            yield row
        known = len(shared)
        del sides, side  # their memory is free before the next group is made


def _recall_of_singles(side: Side, true: Numbers) -> float:
    found: list[Numbers] = []
    begun = perf_counter()
    while len(found) < len(true) and perf_counter() - begun < RECALL_SECONDS:
        found.append(side.numbers(slice(len(found), len(found) + 1)))
    return recall(np.concatenate(found), true[: len(found)])


def _reference(case: Case) -> Side:
    return index_sides.by_faiss(case) if _fits(case, case.size) else index_sides.by_faiss_mapped(case)


def _rivals(case: Case, names: Iterable[Rival]) -> list[Side]:
    made = []
    for name in names:
        copies, maker = RIVALS[name]
        if name == "naive" and len(set(case.layout.sizes)) > 1:
            say("left out, as it stacks experts of one size: naive")
        elif _fits(case, int(copies * 4 * case.clips * case.layout.total)):
            made.append(maker(case))
        else:
            say(f"left out, for want of memory: {name}")
    return made


def _fits(case: Case, size: int) -> bool:
    """Whether so much more leaves room for the vectors that we and a rival have mapped."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return size + 2 * case.size < MEMORY * available


if __name__ == "__main__":
    main()
