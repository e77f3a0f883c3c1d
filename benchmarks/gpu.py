"""What a GPU reaches, in six minutes: its tests, extraction, training, the index, each beside what binds it.

examples:
  python -m benchmarks.gpu
  python -m benchmarks.gpu --parts limits index
  python -m benchmarks.gpu --quick --device cpu        # tiny sizes, to see that it runs

Limits are measured first, on the same device: matrix products in each precision, copies within its memory, copies
from the host. "of the limit" is a part's operations, or bytes, a second by those; one core decodes.
Each part is a process of its own with a time limit. One that fails or takes too long leaves the rows that it has
printed, and the others run; the exit code is then 1. Random weights and made clips: nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import torch

from benchmarks.timing import arguments, print_table, say, seconds_of
from mee.products import pays

Part = Literal["limits", "tests", "extraction", "training", "index"]
SECONDS: dict[Part, int] = {"limits": 30, "tests": 80, "extraction": 70, "training": 70, "index": 110}  # at most
HALF, FULL, MEMORY, HOST = "bfloat16 products", "float32 products", "copies", "copies from the host"
COLUMNS = {
    "part": "{part}", "what                          ": "{what}", "         figure": "{figure}",
    "  a second": "{rate:.2e}", "of the limit": "{share:.0%}", "limit": "{limit}",
}  # fmt: skip
Row = dict[str, Any]  # what, figure; rate: operations, bytes or frames a second; limit: what it is compared with


@dataclass(frozen=True)
class Args:
    parts: tuple[Part, ...] = get_args(Part)
    device: Literal["cuda", "cpu"] = "cuda"
    quick: bool = False  # tiny sizes
    lines: bool = False  # one object a line, in this process: how the parts are run


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(Args, __doc__, argv)
    if args.lines:
        for part in args.parts:
            for row in RUN[part](args):
                print(json.dumps(row), flush=True)
        return 0
    done = [(part, *_apart(part, args)) for part in args.parts]
    rows = [{"part": part, **row} for part, found, _ in done for row in found]
    known = {row["what"]: row["rate"] for row in rows if row["part"] == "limits"}
    shares = ({"share": row["rate"] / known[row["limit"]]} if row.get("limit") in known else {} for row in rows)
    print_table(COLUMNS, [row | share for row, share in zip(rows, shares)], 10)
    failures = [f"{part}: {failure}" for part, _, failure in done if failure]
    print(*failures, sep="\n")
    return int(bool(failures))


def _apart(part: Part, args: Args) -> tuple[list[Row], str]:
    """What a part finds in a process of its own, and why it stopped, if it did."""
    say(part)
    options = ["--parts", part, "--device", args.device, "--lines", *["--quick"] * args.quick]
    command = [sys.executable, "-m", "benchmarks.gpu", *options]
    shared: dict[str, Any] = {"cwd": Path(__file__).parents[1], "text": True, "start_new_session": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **shared) as child:
        try:
            said, errors = child.communicate(timeout=SECONDS[part])
            failure = "" if not child.returncode else " / ".join(errors.splitlines()[-3:]) or str(child.returncode)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # pytest and the processes of sides, too
            said, errors = child.communicate()
            failure = f"stopped after {SECONDS[part]} s"
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")], failure


def _limits(args: Args) -> Iterator[Row]:
    device, size = torch.device(args.device), 256 if args.quick else 8192
    for name, kind in ((HALF, torch.bfloat16), (FULL, torch.float32)):
        x = torch.randn(size, size, device=device, dtype=kind)
        yield _limit(name, 2 * size**3 / _fastest(partial(torch.mm, x, x), device), "flop/s")
    count = 2**20 if args.quick else 2**30  # bytes
    x = torch.zeros(count, dtype=torch.uint8, device=device)
    y = torch.zeros(count, dtype=torch.uint8, pin_memory=device.type == "cuda")
    yield _limit(MEMORY, 2 * count / _fastest(x.clone, device), "B/s")  # read and written
    yield _limit(HOST, count / _fastest(partial(x.copy_, y), device), "B/s")


def _limit(name: str, rate: float, unit: str) -> Row:
    return {"what": name, "figure": f"{rate / 1e12:.3f} T{unit}", "rate": rate}


def _fastest(call: Callable[[], object], device: torch.device, count: int = 5) -> float:
    """Seconds of the fastest call; the first one warms up."""

    def whole() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return min([seconds_of(whole)[0] for _ in range(count + 1)][1:])


def _tests(args: Args) -> Iterator[Row]:
    """Those marked gpu; where there is none they skip."""
    files = [str(file) for file in sorted(Path("tests").rglob("test_*.py")) if "mark.gpu" in file.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout.splitlines()
    yield {"what": "tests marked gpu", "figure": re.sub(" in .*", "", said[-1].strip("= ")) if said else "none"}
    for line in said:
        if line.startswith(("FAILED", "ERROR")):
            yield {"what": line[:100], "figure": "failed"}
    if done.returncode:
        raise SystemExit(f"pytest: exit code {done.returncode}")


def _extraction(args: Args) -> Iterator[Row]:
    """The forward pass alone, then decoded frames through the extractor; ViT-B/16."""
    from benchmarks import token_merging
    from benchmarks.readers import make_files
    from features.extractors.registry import make_extractor
    from features.extractors.spec import RunConfig
    from features.media.reader import read_clips

    batch, fps, repeats, rounds = (1, 0.25, 1, 1) if args.quick else (256, 30, 8, 3)
    cuda = args.device == "cuda"
    base = token_merging.BASES["vit"]
    shown = token_merging.Args(models=("vit",), rounds=rounds, batch=batch, device=args.device)
    limit, merges = HALF if cuda else FULL, ("0", "13")
    for merge, row in token_merging.speed_of("vit", shown, merges).items():
        if merge in merges:
            rate = batch * base.operations(merge) / row["seconds"]
            frames = f"{batch / row['seconds']:.1f} frames/s"
            yield {"what": f"forward pass, r = {merge}", "figure": frames, "rate": rate, "limit": limit}
    with tempfile.TemporaryDirectory() as work:
        made = Path(work) / "videos"
        made.mkdir()
        (file,) = make_files(made, 1)
        source = token_merging.save_random("vit", Path(work) / "vit", 0)
        run = RunConfig(device=args.device, precision="bf16" if cuda else "fp32", batch_size=batch)
        for merge in merges:
            extractor = make_extractor(f"x={source}:fps={fps},merge={merge}", run)
            (need,), clips = extractor.needs, list[Any]()
            decoding, _ = seconds_of(lambda: clips.extend(read_clips(file, file.name, (need,))))  # noqa: B023
            frames = sum(len(clip.frames[need].times) for clip in clips)
            taken = (
                _fastest(partial(extractor.extract, clips * repeats), torch.device(args.device), rounds) / repeats
            )
            yield {"what": f"decoding for r = {merge}, one core", "figure": f"{frames / decoding:.1f} frames/s"}
            figure, rate = f"{frames / taken:.1f} frames/s", base.operations(merge) * frames / taken
            yield {"what": f"extractor, r = {merge}", "figure": figure, "rate": rate, "limit": limit}
            yield {"what": "... as fast as so many cores decode", "figure": f"{decoding / taken:.1f} cores"}


def _training(args: Args) -> Iterator[Row]:
    """The paper preset, through the Trainer."""
    from benchmarks import training_speed

    sizes = {"clips": 40, "batch": 8, "steps": 1, "blocks": 1} if args.quick else {"clips": 3000, "blocks": 3}
    given = training_speed.Args(device=args.device, **sizes)
    sides = {"float32": training_speed.Side("ours", "no")}
    if pays(torch.bfloat16, torch.device(args.device)) and not args.quick:
        sides["bf16"] = training_speed.Side("ours", "bf16")
    for name, blocks in training_speed.take_turns(sides, given, given.blocks).items():
        seconds, busy = (median(block[key] for block in blocks) for key in ("seconds", "busy"))
        figure = f"{1 / seconds:.2f} steps/s" + (f", busy {busy:.0%}" if busy else "")
        rate = training_speed.operations(given.batch) / seconds
        yield {"what": name, "figure": figure, "rate": rate, "limit": HALF if name == "bf16" else FULL}


def _index(args: Args) -> Iterator[Row]:
    """A flat index of 1M x 4 x 128: torch's products, and one query by faiss where it is built for GPUs."""
    from benchmarks import index_sides
    from benchmarks.data.index_data import BEST, Made
    from index import VideoIndex

    made = Made(5_000, (16,) * 4, 0.3) if args.quick else Made(1_000_000, (128,) * 4, 0.3)
    device, count = torch.device(args.device), 50 if args.quick else 1000
    queries = made.queries(count)
    with tempfile.TemporaryDirectory(prefix="mee-index-") as work:
        built = index_sides.build(made, "flat", Path(work) / "flat")
        yield {"what": "built on the CPU", "figure": f"{built['puts_a_second']:.0f} clips/s"}
        ours, cpu = VideoIndex.open(Path(work) / "flat", device=device), VideoIndex.open(Path(work) / "flat")
        numbers = sum(partition.vectors.size for partition in ours.snapshot.partitions)
        few, one = queries[torch.arange(min(20, count))], queries[torch.arange(1)]
        first, _ = seconds_of(lambda: ours.rank(few, BEST).ids)
        copied = {"rate": 4 * numbers / first, "limit": HOST} if device.type == "cuda" else {}
        yield {"what": "first answers, with the copy", "figure": f"{first:.3f} s", **copied}
        same = all(ours.rank(some, BEST).ids == cpu.rank(some, BEST).ids for some in (few, one))
        yield {"what": "the same as on the CPU", "figure": "yes" if same else "NO"}
        for name, limit in (("float32", FULL), ("bfloat16", HALF)):
            if name == "float32" or pays(torch.bfloat16, device):
                seconds = _fastest(lambda: ours.rank(queries, BEST, precision=name).ids, device, 3)  # noqa: B023
                figure, rate = f"{count / seconds:.0f} queries/s", 2 * count * numbers / seconds
                yield {"what": f"{count} queries, {name}", "figure": figure, "rate": rate, "limit": limit}
        seconds = _fastest(lambda: ours.rank(one, BEST).ids, device, 20)
        figure, rate = f"{1000 * seconds:.2f} ms", 4 * numbers / seconds
        yield {"what": "one query", "figure": figure, "rate": rate, "limit": MEMORY}
        if not same:
            raise SystemExit("the index ranks differently on this device")


RUN: dict[Part, Callable[[Args], Iterator[Row]]] = {
    "limits": _limits, "tests": _tests, "extraction": _extraction, "training": _training, "index": _index
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
