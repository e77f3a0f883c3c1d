"""Training steps per second of the paper preset, beside the reference network fed as its repository feeds it.

example:
  python -m benchmarks.training_speed
  python -m benchmarks.training_speed --json --device cuda

Random features in the paper's shapes, batch 128, all sides in the same run on the same device, each in its own
process, taking turns block by block. A ratio is that of two blocks of one round. Sides:

  reference         a dataset gives one clip at a time as a dict of numpy arrays: streams and a flag each, zeros
                    where one is missing; audio padded or cut to 30 rows; a random caption of the clip, its words
                    looked up one by one in a dict of vectors and padded with zeros to 30. Stock DataLoader (the
                    better of 0 workers and one a core) and Adam.
  reference, pages  the same with large memory pages (THP_MEM_ALLOC_ENABLE=1), in which ours runs too
  ours              the Trainer itself with the paper preset, float32
  ours, bf16        the same with --mixed-precision bf16, where the processor computes in it faster
  products, ...     the floor, the matrix products of a step alone, once forward and twice backward:
                    3 * 2 * B * (sum over linear maps of inputs * outputs) operations, less the first maps' dL/dx
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import chain, count, islice, repeat
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset

from benchmarks.data.reference_network import ReferenceNetwork, reference_loss
from benchmarks.data.training_data import MAX_WORDS, SHAPES, WORD_DIM, RandomClips
from benchmarks.timing import arguments, in_turns, machine, own_process, print_table, ratios, say, seconds_of
from mee.config import ModelConfig
from mee.products import pays
from mee.training.config import PRESETS
from mee.training.trainer import Trainer

Block = dict[str, float]  # of some steps: seconds of the clock and of the process a step, share of a GPU's time
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch's own switch; read before its first large tensor
WARM_UP = 3  # steps
PAPER = PRESETS["paper"]
MODALITY = {"visual": "appearance", "motion": "motion", "audio": "audio", "face": "face"}  # theirs -> ours
SIZES = {"face": (128, 128), "audio": (128 * 16, 128), "visual": (2048, 2048), "motion": (1024, 1024)}
TEXT = 32 * WORD_DIM
COLUMNS = {
    "side": "{side}", "steps/s": "{steps_per_second:.2f}", "    ms": "{milliseconds:.0f}",
    "ratio: min": "{ratio[min]:.2f}", "median": "{ratio[median]:.2f}", " max": "{ratio[max]:.2f}",
    "CPU ms": "{processor_milliseconds:.0f}", "ratio": "{processor_ratio[median]:.2f}",
    "GPU busy": "{device_busy:.0%}",
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    clips: int = 9000
    batch: int = 128
    steps: int = 20  # steps a block
    blocks: int = 5  # blocks of each side
    threads: int = len(os.sched_getaffinity(0))  # of torch, for each side; default: all cores
    device: str = "cpu"  # cpu or cuda
    seed: int = 0
    json: bool = False  # one object instead of the table


class Side(NamedTuple):
    """One thing that is timed."""

    what: str  # reference, ours, products
    variant: str  # workers of the reference, precision of ours, library of the products
    large_pages: bool = True


def main() -> None:
    args = arguments(Args, __doc__)
    cores = len(os.sched_getaffinity(0))
    stock = {str(workers): Side("reference", str(workers), large_pages=False) for workers in (0, cores)}
    tried = take_turns(stock, args, 3)
    workers = min(stock, key=lambda number: median(block["seconds"] for block in tried[number]))
    sides = {
        "reference": stock[workers],
        "ours": Side("ours", "no"),
        "reference, pages": Side("reference", workers),
        "products, torch": Side("products", "torch"),
    }
    if pays(torch.bfloat16, torch.device(args.device)):
        sides |= {"ours, bf16": Side("ours", "bf16"), "products, bf16": Side("products", "bf16")}
    blocks = take_turns(sides, args, args.blocks)
    facts = {**asdict(args), "reference_workers": int(workers)}
    facts["gigaflop_a_step"] = operations(args.batch) / 1e9
    rows = [_row(name, blocks["reference"], own) for name, own in blocks.items()]
    if args.json:
        print(json.dumps({**machine(args.threads), **facts, "sides": rows}))
    else:
        print(*(f"{key}: {value}" for key, value in facts.items()), "", sep="\n")
        print_table(COLUMNS, rows, threads=args.threads)


def take_turns(sides: dict[str, Side], args: Args, rounds: int) -> dict[str, list[Block]]:
    """Start a process for each side, and let them run a block in turn."""
    blocks: dict[str, list[Block]] = {name: [] for name in sides}
    with ExitStack() as stack:
        processes = {}
        for name, side in sides.items():
            os.environ[LARGE_PAGES] = str(int(side.large_pages))  # for the process, which starts now
            processes[name] = stack.enter_context(own_process())
            processes[name].submit(_prepare, side, args).result()
        for number, name in in_turns(sides, rounds):
            blocks[name].append(processes[name].submit(_block, args).result())
            say(f"round {number + 1} of {rounds}: {name}")
    return blocks


_prepared: list[Ours | Reference | Products] = []  # of a side's process: what it runs


def _prepare(side: Side, args: Args) -> None:
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if side.what == "products":
        _prepared.append(Products(args.batch, side.variant, device))
    else:
        kind = Reference if side.what == "reference" else Ours
        _prepared.append(kind(RandomClips.make(args.clips, args.seed), args, side.variant, device))
    _run(args, WARM_UP)


def _block(args: Args) -> Block:
    seconds, used = seconds_of(lambda: _run(args, args.steps))
    block = {"seconds": seconds / args.steps, "processor_seconds": used / args.steps, "busy": 0.0}
    if args.device != "cpu":  # time of kernels and copies by the clock's; the profiler makes it a little too low
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            seconds, _ = seconds_of(lambda: _run(args, WARM_UP))
        block["busy"] = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / seconds
    return block


def _run(args: Args, steps: int) -> None:
    _prepared[0].run(steps)
    if args.device != "cpu":
        torch.cuda.synchronize()


def _row(name: str, reference: list[Block], own: list[Block]) -> dict[str, Any]:
    (theirs, clock), (their_use, use) = (
        [[block[key] for block in side] for side in (reference, own)] for key in ("seconds", "processor_seconds")
    )
    return {
        "side": name,
        "steps_per_second": 1 / median(clock),
        "milliseconds": 1000 * median(clock),
        "ratio": ratios(theirs, clock),
        "processor_milliseconds": 1000 * median(use),
        "processor_ratio": ratios(their_use, use),
        "device_busy": median(block["busy"] for block in own),
        "blocks": own,
    }


@final
class Ours:
    """A run is an epoch of n steps, as `Trainer.run` does them."""

    def __init__(self, clips: RandomClips, args: Args, precision: str, device: torch.device) -> None:
        changes: dict[str, Any] = {"batch_size": args.batch, "mixed_precision": precision, "seed": args.seed}
        experts = tuple(PAPER.expert(m, dim, clips.source.fingerprints[m]) for m, dim in clips.source.dims.items())
        with tempfile.TemporaryDirectory() as work:
            text = replace(PAPER.text, vectors=str(clips.write_vectors(Path(work) / "vectors.txt")))
            model = ModelConfig(experts=experts, text=text, dropout=PAPER.dropout)
            config = replace(PAPER.training, **changes)
            pairs = clips.pairs(len(clips.captions))
            self.trainer = Trainer(clips.source, pairs, clips.pairs(1), model, config, device)
        whole = self.trainer.data.batches
        self.endless = chain.from_iterable(whole(self.trainer.config, self.trainer.generator) for _ in count())

    def run(self, steps: int) -> None:
        data = self.trainer.data
        data.batches = lambda config, generator: islice(self.endless, steps)  # type: ignore[method-assign]
        data.steps = lambda config: steps  # type: ignore[method-assign]
        self.trainer._train_epoch()


@final
class Reference:
    """The baseline."""

    def __init__(self, clips: RandomClips, args: Args, workers: str, device: torch.device) -> None:
        torch.manual_seed(args.seed)
        random.seed(args.seed)
        self.device = device
        self.network = ReferenceNetwork(SIZES, WORD_DIM, 32, 16).to(device).train()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=4e-4)
        self.loader = DataLoader(ClipDataset(clips), batch_size=args.batch, shuffle=True, num_workers=int(workers))
        self.batches = chain.from_iterable(repeat(self.loader))

    def run(self, steps: int) -> None:
        for batch in islice(self.batches, steps):
            text = batch["text"].to(self.device)
            video = {name: stream.to(self.device) for name, stream in batch["video"].items()}
            available = {name: flag.to(self.device) for name, flag in batch["available"].items()}
            self.optimizer.zero_grad()
            loss = reference_loss(self.network(text, video, available))
            loss.backward()
            self.optimizer.step()
            loss.item()  # as its repository does


class ClipDataset(Dataset[dict[str, Any]]):
    """One random caption a clip."""

    def __init__(self, clips: RandomClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips.captions)

    def __getitem__(self, number: int) -> dict[str, Any]:
        caption = random.choice(self.clips.captions[number])
        words = [self.clips.vectors[word] for word in caption.split() if word in self.clips.vectors]
        text = np.zeros((MAX_WORDS, WORD_DIM), dtype=np.float32)
        for place, vector in enumerate(words[:MAX_WORDS]):
            text[place] = vector
        video, available = {}, {}
        for theirs, ours in MODALITY.items():
            length, dim = SHAPES[ours]
            stream = self.clips.source.streams[ours][number]
            available[theirs] = np.float32(stream is not None)
            padded = np.zeros((length, dim), dtype=np.float32)
            if stream is not None:
                kept = min(length, len(stream))
                padded[:kept] = stream[:kept]
            video[theirs] = padded if length > 1 else padded[0]
        return {"text": text, "video": video, "available": available}


@final
class Products:
    """Matrix products, and nothing else."""

    def __init__(self, batch: int, library: str, device: torch.device) -> None:
        kind = torch.bfloat16 if library == "bf16" else torch.float32
        self.parts = []
        for inputs, outputs, passes_on in linear_maps():
            x = torch.randn(batch, inputs, device=device, dtype=kind, requires_grad=passes_on)
            upstream = torch.randn(batch, outputs, device=device, dtype=kind)
            layer = torch.nn.Linear(inputs, outputs, bias=False, device=device, dtype=kind)
            self.parts.append((layer, x, upstream))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            for layer, x, upstream in self.parts:
                layer(x).backward(upstream)
                layer.weight.grad = x.grad = None


def linear_maps() -> list[tuple[int, int, bool]]:
    """Inputs, outputs and whether the inputs get a gradient, of every large linear map of the network."""
    maps = []
    for name, (size, embedded) in SIZES.items():
        maps += [(size, embedded, name == "audio"), (TEXT, embedded, True), *[(embedded, embedded, True)] * 2]
    return maps


def operations(batch: int) -> int:
    """Floating point operations of one step's products."""
    return sum((3 if passes_on else 2) * 2 * batch * i * o for i, o, passes_on in linear_maps())


if __name__ == "__main__":
    main()
