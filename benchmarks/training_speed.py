"""Training steps per second of the paper preset, beside the reference network fed as its repository feeds it.

example:
  python -m benchmarks.training_speed
  python -m benchmarks.training_speed --clips 9000 --blocks 5 --steps 20 --json

Random features in the paper's shapes, batch 128, both sides in the same run on the same device: each side has a
process of its own, and they take turns, block by block, so that what else the machine does meets all. A ratio is
that of two blocks of one round. Sides:

  reference         torch's DataLoader, its best of 0 workers and one a core; torch's Adam; stock settings
  reference, pages  the same with large memory pages (THP_MEM_ALLOC_ENABLE=1), in which ours runs too
  ours              the Trainer, float32
  ours, bf16        the Trainer with --mixed-precision bf16
  products, ...     the matrix products of a step alone: the floor
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch's own switch; read before its first large tensor
WARM_UP = 3  # steps


@dataclass(frozen=True)
class Side:
    """One thing that is timed."""

    name: str
    what: str  # reference, ours, products
    variant: str = ""  # workers of the reference, precision of ours, library of the products
    large_pages: bool = True


@dataclass(frozen=True)
class Block:
    """Some steps of a side."""

    seconds: float  # per step, of the clock
    processor_seconds: float  # per step, of this process's threads
    busy: float  # share of the time in which a GPU computes, over a few more steps; 0 on a CPU


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    args = _arguments(argv)
    cores = len(os.sched_getaffinity(0))
    threads = args.threads or cores
    stock = [Side(f"reference, {n} workers", "reference", str(n), False) for n in (0, cores)]
    rival = _best_of(stock, args, threads)
    sides = [
        Side("reference", "reference", rival.variant, False),
        Side("ours", "ours", "no"),
        Side("reference, pages", "reference", rival.variant),
        Side("ours, bf16", "ours", "bf16"),
        Side("products, torch", "products", "torch"),
        Side("products, ours", "products", "onednn"),
        Side("products, bf16", "products", "bf16"),
    ]
    blocks = _take_turns(sides, args, threads, args.blocks)
    report = _report(blocks, args, threads, rival)
    if args.json:
        print(json.dumps(report))
    else:
        _print(report)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="training_speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20, help="steps a block")
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each side")
    parser.add_argument("--threads", type=int, default=0, help="of torch, for each side; 0: all cores")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    return parser.parse_args(argv)


def _best_of(sides: list[Side], args: argparse.Namespace, threads: int) -> Side:
    """The side that is fastest in its median block of three."""
    blocks = _take_turns(sides, args, threads, 3)
    return min(sides, key=lambda side: statistics.median(block.seconds for block in blocks[side.name]))


def _take_turns(sides: list[Side], args: argparse.Namespace, threads: int, rounds: int) -> dict[str, list[Block]]:
    """Start a process for each side, and let them run a block in turn."""
    context = multiprocessing.get_context("spawn")
    blocks: dict[str, list[Block]] = {side.name: [] for side in sides}
    ends, processes = {}, []
    try:
        for side in sides:
            ends[side.name], theirs = context.Pipe()
            os.environ[LARGE_PAGES] = str(int(side.large_pages))
            process = context.Process(target=_serve, args=(theirs, side, args, threads))
            process.start()
            processes.append(process)
            theirs.close()
            ends[side.name].recv()  # ready
        for number in range(rounds):
            for side in sides:
                ends[side.name].send(args.steps)
                blocks[side.name].append(ends[side.name].recv())
                print(f"round {number + 1} of {rounds}: {side.name}", file=sys.stderr)
    finally:
        for end in ends.values():
            end.close()  # which ends its process
        for process in processes:
            process.join()
    return blocks


def _serve(end: Connection, side: Side, args: argparse.Namespace, threads: int) -> None:
    """A side's process: build, say so, then time blocks until the other end is closed."""
    import torch

    torch.set_num_threads(threads)
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as work:
        training = _build(side, args, device, Path(work))
        training.run(WARM_UP)
        end.send("ready")
        while True:
            try:
                steps = end.recv()
            except EOFError:
                return
            _synchronise(device)
            clock, processor = time.perf_counter(), time.process_time()
            training.run(steps)
            _synchronise(device)
            seconds, used = time.perf_counter() - clock, time.process_time() - processor
            end.send(Block(seconds / steps, used / steps, _busy(training, device)))


def _busy(training: Any, device: Any) -> float:
    """Time that kernels and copies take on the device, by the clock's; the profiler makes it a little too low."""
    from torch.profiler import ProfilerActivity, profile

    if device.type != "cuda":
        return 0.0
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        clock = time.perf_counter()
        training.run(WARM_UP)
        _synchronise(device)
        seconds = time.perf_counter() - clock
    return float(sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / seconds)


def _build(side: Side, args: argparse.Namespace, device: Any, work: Path) -> Any:
    from benchmarks.matrix_products import MatrixProducts
    from benchmarks.our_training import OurTraining
    from benchmarks.random_clips import RandomClips
    from benchmarks.reference_feeding import ReferenceTraining

    if side.what == "products":
        return MatrixProducts(args.batch, side.variant, device)  # type: ignore[arg-type]
    clips = RandomClips.make(args.clips, args.seed)
    if side.what == "reference":
        return ReferenceTraining(clips, args.batch, int(side.variant), device, args.seed)
    return OurTraining(clips, args.batch, side.variant, device, args.seed, work)  # type: ignore[arg-type]


def _synchronise(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def _report(blocks: dict[str, list[Block]], args: argparse.Namespace, threads: int, rival: Side) -> dict[str, Any]:
    import torch

    from benchmarks.matrix_products import operations

    reference = blocks["reference"]
    rows = []
    for name, own in blocks.items():
        ratios = [theirs.seconds / ours.seconds for theirs, ours in zip(reference, own)]
        busy = [theirs.processor_seconds / ours.processor_seconds for theirs, ours in zip(reference, own)]
        rows.append(
            {
                "side": name,
                "steps_per_second": statistics.median(1 / block.seconds for block in own),
                "milliseconds": statistics.median(1000 * block.seconds for block in own),
                "ratio": _spread(ratios),
                "processor_milliseconds": statistics.median(1000 * block.processor_seconds for block in own),
                "processor_ratio": _spread(busy),
                "device_busy": statistics.median(block.busy for block in own),
                "blocks": [asdict(block) for block in own],
            }
        )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    ).stdout.strip()
    return {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {args.device}",
        "threads": threads,
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "commit": commit,
        "seed": args.seed,
        "clips": args.clips,
        "batch": args.batch,
        "steps_a_block": args.steps,
        "reference_workers": int(rival.variant),
        "load": os.getloadavg()[0],
        "gigaflop_a_step": operations(args.batch) / 1e9,
        "sides": rows,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _print(report: dict[str, Any]) -> None:
    for key, value in report.items():
        if key != "sides":
            print(f"{key}: {value:.1f}" if isinstance(value, float) else f"{key}: {value}")
    print(
        f"\n{'side':18}{'steps/s':>9}{'ms':>8}{'ratio: min':>12}{'median':>8}{'max':>7}"
        f"{'CPU ms':>9}{'ratio':>7}{'GPU busy':>10}"
    )
    for row in report["sides"]:
        ratio = row["ratio"]
        print(
            f"{row['side']:18}{row['steps_per_second']:9.2f}{row['milliseconds']:8.0f}{ratio['min']:12.2f}"
            f"{ratio['median']:8.2f}{ratio['max']:7.2f}{row['processor_milliseconds']:9.0f}"
            f"{row['processor_ratio']['median']:7.2f}{row['device_busy']:10.0%}"
        )


if __name__ == "__main__":
    sys.exit(main())
