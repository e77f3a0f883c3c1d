"""How much faster token merging makes base-size transformers, next to the operations saved, and what it changes.

examples:
  OMP_NUM_THREADS=1 python -m benchmarks.token_merging
  OMP_NUM_THREADS=1 python -m benchmarks.token_merging --models vit --clips FOLDER --rounds 0 \\
      --checkpoint vit=google/vit-base-patch16-224
  python -m benchmarks.token_merging --device cuda --batch 256

Random weights, float32 on one thread of a CPU, or bfloat16 on a GPU. In each round the plain model and every
schedule run one forward pass in turn. Columns: model, merge, seconds, speed-up (lowest to highest), best,
operations, kept. A speed-up is a quotient of times of one round: the process's own seconds on a CPU, CUDA events
on a GPU; "best" is that of the two fastest passes. "operations" is the quotient that the token counts give,
"kept" the share of it that is reached. With --clips, also the cosine between the mean vectors of a clip with and
without merging, mean and lowest over the files of a folder, then the same after taking away the mean over clips:
as mee precompute makes them, with the checkpoint's weights where one is named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

import torch

from benchmarks.merged_models import BASES, Base, random_model
from features.extractors.token_merging.apply import merge_tokens
from features.extractors.token_merging.schedule import MergeSchedule

PLAIN = "none"


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    args = _arguments(argv)
    if args.device == "cpu":
        torch.set_num_threads(1)
    checkpoints = dict(pair.split("=", 1) for pair in args.checkpoint)
    for name in args.models:
        rows = [] if args.rounds == 0 else _time(name, BASES[name], args)
        if args.clips is not None:
            from benchmarks.merged_clips import compare

            cosines = compare(name, BASES[name].schedules[1:], args.clips, checkpoints.get(name), args.seed)
            rows = [{**row, **cosines.get(row["merge"], {})} for row in rows] if rows else _bare(name, cosines)
        for row in rows:
            print(json.dumps(row, default=float) if args.json else _line(row), flush=True)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="token_merging", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=list(BASES), default=list(BASES))
    parser.add_argument("--rounds", type=int, default=5, help="0: no timing")
    parser.add_argument(
        "--batch", type=int, default=0, help="inputs a forward pass; 0: as the table of models says"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--clips", default=None, help="folder of videos")
    parser.add_argument("--checkpoint", nargs="*", default=[], help="MODEL=HUB_ID_OR_DIRECTORY, for the clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one object a line")
    return parser.parse_args(argv)


def _time(name: str, base: Base, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a schedule."""
    device = torch.device(args.device)
    batch, kind = args.batch or base.batch, torch.bfloat16 if args.device == "cuda" else torch.float32
    model = random_model(name, args.seed).to(device, kind)
    inputs = {key: value.to(device, kind) for key, value in base.inputs(batch, args.seed).items()}
    sides = [PLAIN, *base.schedules]
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(args.rounds + 1):  # the first warms up
        for side in sides:
            merging = None if side == PLAIN else merge_tokens(model, MergeSchedule.parse(side))
            used = _seconds(model, inputs, device)
            if merging is not None:
                merging.remove()
            if number:
                seconds[side].append(used)
        print(f"{name}: round {number} of {args.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    plain, rows = seconds[PLAIN], []
    for side in sides:
        ratios = [before / after for before, after in zip(plain, seconds[side], strict=True)]
        saved = base.operations(None) / base.operations(None if side == PLAIN else MergeSchedule.parse(side))
        rows.append(
            {
                "model": name, "merge": side, "batch": batch, "device": args.device,
                "seconds": statistics.median(seconds[side]), "speed_up": statistics.median(ratios),
                "lowest": min(ratios), "highest": max(ratios), "best": min(plain) / min(seconds[side]),
                "operations": saved, "kept": statistics.median(ratios) / saved,
            }
        )  # fmt: skip
    return rows


@torch.inference_mode()
def _seconds(model: Any, inputs: dict[str, Any], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        model(**inputs)
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1000
    begun = time.process_time()
    model(**inputs)
    return time.process_time() - begun


def _bare(name: str, cosines: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"model": name, "merge": merge, **row} for merge, row in cosines.items()]


def _line(row: dict[str, Any]) -> str:
    """A row of a table in Markdown."""
    cells = [str(row["model"]), str(row["merge"])]
    if "seconds" in row:
        span = f"{row['lowest']:.2f} to {row['highest']:.2f}"
        cells += [f"{row['seconds']:.2f} s", f"{row['speed_up']:.2f} ({span})", f"{row['best']:.2f}"]
        cells += [f"{row['operations']:.2f}", f"{row['kept']:.0%}"]
    if "cosine" in row:
        cells += [f"{row[key]:.4f}" for key in ("cosine", "lowest_cosine", "centred", "lowest_centred")]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
