"""What it costs to rank both ways: ours, in blocks by pattern, against materialising (queries, gallery, experts).

usage: python -m benchmarks.ranking [--queries N] [--gallery N] [--embed-dim N ...] [--rounds N] [--huge]

59,800 queries x 2,990 clips x 4 experts, 30 % of the streams missing (MSR-VTT's full test), random embeddings. The
baseline scores with the textbook's (queries, gallery, experts) weights in blocks of queries, keeps the scores, and
ranks both ways, by counting or, as published evaluators do, by sorting. Sides take turns, each in a process of its
own (for its peak memory) with as many threads; medians over the rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from statistics import median

import torch
from torch.nn import functional as F

from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.mixture import MixtureScores
from mee.ranking.rank import rank
from mee.ranking.scores import Positives

EXPERTS = ("appearance", "motion", "audio", "face")
BLOCK = 128  # queries of the baseline's blocks


def problem(queries, gallery, size, device="cpu"):
    """Captions that are near to their clip, several a clip, side by side."""
    generator = torch.Generator().manual_seed(0)
    video = F.normalize(torch.randn(gallery, len(EXPERTS), size, generator=generator), dim=-1)
    owner = torch.arange(queries) * gallery // queries
    text = torch.randn(queries, len(EXPERTS), size, generator=generator).mul_(3 / size**0.5)
    for start in range(0, queries, 4096):
        rows = slice(start, start + 4096)
        text[rows] = F.normalize(text[rows] + video[owner[rows]], dim=-1)
    available = torch.rand(gallery, len(EXPERTS), generator=generator) >= 0.3
    available[~available.any(1), 0] = True
    patterns = (available.long() * torch.tensor([8, 4, 2, 1])).sum(1)
    available = available[patterns.argsort()]  # as Gallery.by_pattern has them
    logits = torch.randn(queries, len(EXPERTS), generator=generator)
    return text.to(device), video.to(device), logits.to(device), available.to(device), owner


def materialised(text, video, logits, available, owner):
    """The score as it is written down: (queries, gallery), its weights and similarities block by block."""
    present = video.masked_fill(~available[..., None], 0)
    scores = torch.empty(len(text), len(video))
    for start in range(0, len(text), BLOCK):
        rows = slice(start, start + BLOCK)
        similarity = torch.einsum("qme,gme->qgm", text[rows], present)
        weights = logits[rows, None].masked_fill(~available, -torch.inf).softmax(-1)
        scores[rows] = (weights * similarity).sum(-1)
    return scores


def counting(text, video, logits, available, owner):
    scores = materialised(text, video, logits, available, owner)
    best = scores.gather(1, owner[:, None])
    ranks = [1 + (part > own).sum(1) for part, own in zip(scores.split(BLOCK), best.split(BLOCK))]
    closest = torch.full((len(video),), -torch.inf).scatter_reduce(0, owner, best[:, 0], "amax")
    _ = sum((part > closest).sum(0) for part in scores.split(BLOCK)) + 1
    return torch.cat(ranks)


def sorting(text, video, logits, available, owner):
    scores = materialised(text, video, logits, available, owner)
    best = scores.gather(1, owner[:, None])
    ranks = [_place(part, own) for part, own in zip(scores.split(BLOCK), best.split(BLOCK))]
    closest = torch.full((len(video),), -torch.inf).scatter_reduce(0, owner, best[:, 0], "amax")
    _ = [_place(part, own) for part, own in zip(scores.T.split(BLOCK), closest[:, None].split(BLOCK))]
    return torch.cat(ranks)


def _place(scores, best):
    return 1 + (scores.sort(dim=1, descending=True).values == best).int().argmax(1)


def ours(text, video, logits, available, owner):
    layout = Layout(EXPERTS, (text.shape[-1],) * len(EXPERTS))
    scores = MixtureScores(
        TextEmbedding(text.flatten(1), logits), VideoEmbedding(video.flatten(1), available), layout
    )
    return rank(scores, Positives(torch.arange(len(text)), owner, len(text), len(video))).t2v.rank


SIDES = {"ours": ours, "counting": counting, "sorting": sorting}


def measure(side, settings, threads, answer):
    """In a process of its own: seconds, peak memory, memory before, mean rank."""
    torch.set_num_threads(threads)
    given = problem(*settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.perf_counter()
    ranks = SIDES[side](*given)
    took = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.send((took, peak, before, ranks.double().mean().item()))


def apart(side, settings, threads):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(side, settings, threads, there))
    process.start()
    found = here.recv()
    process.join()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=59_800)
    parser.add_argument("--gallery", type=int, default=2_990)
    parser.add_argument("--embed-dim", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--huge", action="store_true", help="slices of 1,000,000 x 100,000")
    args = parser.parse_args()
    if args.huge:
        return huge(args.threads)
    print(f"{args.queries:,} queries x {args.gallery:,} clips x 4 experts, 30 % missing, {args.threads} threads")
    print("embed-dim   counting    sorting       ours   ratios            peak MB (before it)   MeanR")
    for size in args.embed_dim:
        settings = (args.queries, args.gallery, size)
        taken = {side: [] for side in SIDES}
        for _ in range(args.rounds):
            for side in SIDES:
                taken[side].append(apart(side, settings, args.threads))
        seconds = {side: median(each[0] for each in found) for side, found in taken.items()}
        peak, before, mean = taken["ours"][0][1:]
        ratios = "".join(f"{seconds[side] / seconds['ours']:7.1f}x" for side in ("counting", "sorting"))
        shown = "".join(f"{seconds[side]:9.1f} s" for side in ("counting", "sorting", "ours"))
        print(f"{size:9}{shown}{ratios} {peak:10.0f} ({before:.0f}) {mean:10.2f}", flush=True)
    return None


def huge(threads):
    """A slice of 1,000,000 queries against 100,000 clips: its seconds and memory, and what follows for all."""
    gallery, size = 100_000, 64
    for queries in (2_000, 4_000, 8_000):
        took, peak, before, _ = apart("ours", (queries, gallery, size), threads)
        hours = took / queries * 1_000_000 / 3600
        print(f"{queries:,} x {gallery:,}, 4 x {size}: {took:.1f} s, so 1,000,000 queries take {hours:.1f} h")
        print(f"  peak memory {peak:.0f} MB, {before:.0f} of it before ranking", flush=True)


if __name__ == "__main__":
    main()
