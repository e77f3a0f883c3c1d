"""One case of the benchmark of the index: build, find the truth, let sides take turns, report.

Groups of sides are made, timed beside the reference and dropped again, so that one rival at a time is in memory. A
side whose copies would push the mapped vectors out of memory is left out, and named.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
import threadpoolctl
import torch

from benchmarks.index_baselines import BruteForce, FaissFlat, FaissMapped, Naive
from benchmarks.index_case import Case
from benchmarks.index_data import Made
from benchmarks.index_floors import Products, Reading
from benchmarks.index_shortcuts import LateFusion, OneFlat
from benchmarks.index_timing import Numbers, Side, Times, one_by_one, together
from benchmarks.index_truth import recall, true_best

RIVALS: dict[str, tuple[float, Callable[[Case], Side]]] = {  # copies of the dense vectors that it makes
    "mapped": (0, FaissMapped),
    "numpy": (0, partial(BruteForce, library="numpy")),
    "torch": (0, partial(BruteForce, library="torch")),
    "naive": (1, Naive),
    "one": (2, partial(OneFlat, reranked=False)),
    "one-reranked": (2, partial(OneFlat, reranked=True)),
    "fusion": (1.25, partial(LateFusion, reranked=False)),
    "fusion-reranked": (1.25, partial(LateFusion, reranked=True)),
}
IN_TURN = ("naive", "torch", "numpy")  # rivals that many queries of ours are timed beside
APPROXIMATE = ("graph", "fastscan")  # kinds that answer many queries as they answer one; certified ones as flat
RECALL_SECONDS = 10  # for counting hits of single queries
MEMORY = 0.85  # of what is available

Row = dict[str, Any]


def run(made: Made, args: Namespace, work: Path) -> Iterator[Row]:
    """Measure a case, and give a row a side."""
    case_of = {"clips": made.clips, "sizes": made.sizes, "missing": made.missing, "data": made.data}
    use_threads(args.build_threads)
    built = {kind: _build(made, kind, args, work) for kind in args.kinds}
    say("vectors by pattern")
    case = Case(made.parts(work / "parts"), made.sentences(args.queries), made.layout, made.clips)
    say("the true best")
    true = true_best(case.parts, case.sentences, case.layout)
    use_threads(args.threads)
    for kind, facts in built.items():
        yield {**case_of, "table": "build", "side": f"ours, {kind}", **facts, **_opened(work / kind, case)}
    for row in chain(_singles(case, true, args, work), _batches(case, true, args, work)):
        yield {**case_of, **row}


def use_threads(count: int) -> None:
    """So many for everything that follows."""
    torch.set_num_threads(count)
    faiss.omp_set_num_threads(count)
    threadpoolctl.threadpool_limits(count)


def say(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)


def _build(made: Made, kind: str, args: Namespace, work: Path) -> Row:
    from benchmarks.index_ours import build

    say(f"building {kind}")
    target = {"graph": args.recall_graph}.get(kind, args.recall_fastscan)
    return build(made, kind, work / kind, target, args.queries)


def _opened(directory: Path, case: Case) -> dict[str, float]:
    from benchmarks.index_ours import opened
    from index.queries import Queries

    return opened(directory, Queries.of(case.sentences.text()).part(slice(0, 1)))


def _ours(args: Namespace, work: Path, case: Case, kind: str, precision: str = "auto") -> list[Side]:
    if kind not in args.kinds:
        return []
    from benchmarks.index_ours import Ours
    from index.queries import Queries

    return [Ours(kind, work / kind, Queries.of(case.sentences.text()), precision)]


def _singles(case: Case, true: Numbers, args: Namespace, work: Path) -> Iterator[Row]:
    reference = _reference(case)
    own = [side for kind in args.kinds for side in _ours(args, work, case, kind)]
    groups: list[Callable[[], list[Side]]] = [lambda: own]
    first = True  # the group that shows the reference and the floor
    groups += [partial(_rivals, case, [name]) for name in args.rivals]
    for group in groups:
        sides = [reference, Reading(case.size), *(side for side in group() if side.name != reference.name)]
        if len(sides) == 2:
            continue
        say("one query: " + "; ".join(side.name for side in sides[2:]))
        times = one_by_one(sides, args.queries, args.rounds, args.calls)
        speed = sides[1].scanned / times[sides[1].name].processor_median
        for side in sides if first else sides[2:]:
            row = _row(side, times, reference, case) | {"table": "one", "bytes": side.scanned, "bandwidth": speed}
            if side is not sides[1]:
                row |= {"floor_s": side.scanned / speed, **_recall_of_singles(side, true)}
            yield row
        first = False


def _batches(case: Case, true: Numbers, args: Namespace, work: Path) -> Iterator[Row]:
    reference = _reference(case)
    width = case.layout.total
    kinds = [torch.float32, torch.bfloat16]
    floors = [Products(args.queries, width, kind) for kind in kinds]
    operations = 2 * args.queries * case.size // 4
    plain = next((kind for kind in ("flat", "certified") if kind in args.kinds), "")
    own = [side for p in ("float32", "bfloat16") for side in _ours(args, work, case, plain, p)]
    own += [side for kind in APPROXIMATE for side in _ours(args, work, case, kind)]
    groups = [[name for name in IN_TURN if name in args.rivals]]
    groups += [[name] for name in args.rivals if name not in IN_TURN]
    first = True  # the group that shows the reference and the floors
    for group in groups:
        rivals = [side for side in _rivals(case, group) if side.name != reference.name]
        sides = [reference, *floors, *rivals, *(own if group is groups[0] else [])]
        if len(sides) == 1 + len(floors):
            continue
        say("many queries: " + "; ".join(side.name for side in sides[1 + len(floors) :]))
        times = together(sides, args.batch_rounds)
        rates = {floor.name: floor.operations / times[floor.name].processor_median for floor in floors}
        for side in sides if first else rivals:
            row = _row(side, times, reference, case) | {"table": "many", "queries": args.queries}
            if side.name in rates:
                yield row | {"operations_a_second": rates[side.name]}
                continue
            row["recall"] = recall(side.numbers(side.many()), true)
            if not side.name.endswith(APPROXIMATE):  # these do not multiply everything
                floor = floors[1] if side.name.endswith("bfloat16") else floors[0]
                row |= {"floor_s": operations / rates[floor.name], "floor": floor.name}
            yield row
        first = False


def _reference(case: Case) -> Side:
    return FaissFlat(case) if _fits(case, case.size) else FaissMapped(case)


def _rivals(case: Case, names: list[str]) -> list[Side]:
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


def _row(side: Side, times: dict[str, Times], reference: Side, case: Case) -> Row:
    own = times[side.name]
    return {
        "side": side.name,
        "reference": reference.name,
        "p50_s": own.quantile(0.5),
        "p99_s": own.quantile(0.99),
        "processor_s": own.processor_median,
        "ratio": own.faster_than(times[reference.name]),
        "held_a_clip": side.held / case.clips,
    }


def _recall_of_singles(side: Side, true: Numbers) -> Row:
    found: list[Numbers] = []
    begun = perf_counter()
    while len(found) < len(true) and perf_counter() - begun < RECALL_SECONDS:
        answer = side.numbers(side.one(len(found)))[:, : true.shape[1]]
        found.append(np.pad(answer, ((0, 0), (0, true.shape[1] - answer.shape[1])), constant_values=-1))
    return {"recall": recall(np.concatenate(found), true[: len(found)]), "recall_queries": len(found)}
