"""How fast the index answers, how well, and how far it is from what the machine could do at all.

examples:
  python -m benchmarks.index --clips 100000                            # 4 x 512, 30 % missing, one thread
  python -m benchmarks.index --clips 10000 --sizes 256 256 256 256 --missing 0 0.3 --json
  python -m benchmarks.index --clips 1000000 --rivals mapped --work /large/disk
  python -m benchmarks.index --grid                                    # 10k, 100k, 1M x two sizes x 0, 30 %
  python -m benchmarks.index --quick                                   # 10,000 clips, two rounds: does it run

Ours (flat, certified, graph, fastscan; many queries in float32 and bfloat16) and rivals (index_baselines.py,
index_shortcuts.py) on the same made clips (index_data.py), each beside the reference: raw FAISS flat, one index an
availability pattern. Sides take turns. A ratio is how many times less CPU time a side takes than the reference in
its block of the same round (above 1: faster). Recall is that of the true ten best, which index_truth.py finds by
itself. Floors: see index_floors.py. Ours weights its queries within the time; the reference has had them weighted
before.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

KINDS = ("flat", "certified", "graph", "fastscan")
RIVALS = ("mapped", "numpy", "torch", "naive", "one", "one-reranked", "fusion", "fusion-reranked")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    args = _arguments(argv)
    for name in THREADS:  # read when the libraries are loaded
        os.environ[name] = str(args.threads)
    from benchmarks.index_data import Made
    from benchmarks.index_report import Report
    from benchmarks.index_run import run

    report = Report(args.json)
    report.machine(_machine(args))
    sizes = [(256,) * 4, (512,) * 4] if args.grid else [tuple(args.sizes)]
    for clips, its, missing in product(args.clips, sizes, args.missing):
        made = Made(clips, its, missing, args.data, args.seed)
        report.case(made)
        with tempfile.TemporaryDirectory(dir=args.work, prefix="mee-index-") as work:
            for row in run(made, args, Path(work)):
                report.row(row)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="index", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=[100_000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512] * 4, help="of the experts")
    parser.add_argument("--missing", type=float, nargs="+", default=[0.3], help="share of the streams")
    parser.add_argument("--data", choices=("latent", "uniform"), default="latent")
    parser.add_argument("--queries", type=int, default=1000, help="how many there are, and together in a batch")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=RIVALS)
    parser.add_argument("--recall-fastscan", type=float, default=0.995, help="to tune for")
    parser.add_argument("--recall-graph", type=float, default=0.985, help="to tune for")
    parser.add_argument("--rounds", type=int, default=10, help="of single queries")
    parser.add_argument("--calls", type=int, default=20, help="single queries a side and round")
    parser.add_argument("--batch-rounds", type=int, default=3, help="of all queries together")
    parser.add_argument("--threads", type=int, default=1, help="of every side")
    parser.add_argument("--build-threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, help="where the files go meanwhile; five times the vectors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", action="store_true", help="all sizes, instead of one case")
    parser.add_argument("--quick", action="store_true", help="few clips, few rounds")
    parser.add_argument("--json", action="store_true", help="one object a line instead of tables")
    args = parser.parse_args(argv)
    if args.grid:
        args.clips, args.missing = [10_000, 100_000, 1_000_000], [0.0, 0.3]
    if args.quick:
        args.clips, args.queries, args.rounds, args.calls, args.batch_rounds = [10_000], 200, 2, 10, 1
    if min(args.clips) < 1 or min(args.sizes) < 1 or not all(0 <= share < 1 for share in args.missing):
        parser.error("clips and sizes are at least 1, and of the streams a share from 0 to below 1 is missing")
    if min(args.queries, args.rounds, args.calls, args.batch_rounds, args.threads, args.build_threads) < 1:
        parser.error("queries, rounds, calls and threads are at least 1")
    return args


def _machine(args: argparse.Namespace) -> dict[str, Any]:
    import faiss
    import torch

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": args.threads,
        "torch": torch.__version__,
        "faiss": faiss.__version__,
        "commit": commit.stdout.strip(),
        "seed": args.seed,
        "queries": args.queries,
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
