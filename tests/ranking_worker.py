"""What tests/test_distributed_ranking.py starts in one, two and three processes: each leaves the ranks it got.

usage: python -m torch.distributed.run --standalone --nproc_per_node N ranking_worker.py OUT

OUT/ranks.<process>.safetensors    ranks, gains and first answers under every convention
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from mee.distributed import process_number
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.mixture import MixtureScores
from mee.ranking.positives import Positives
from mee.ranking.rank import CONVENTIONS, rank
from mee.training.accelerator import joined_processes

QUERIES, CLIPS, SIZE = 61, 17, 8  # neither divides by two or three


def main():
    with joined_processes(torch.device("cpu")):
        save_file(ranks(), Path(sys.argv[1]) / f"ranks.{process_number()}.safetensors")


def ranks():
    generator = torch.Generator().manual_seed(0)
    owner = torch.arange(QUERIES) * CLIPS // QUERIES
    video = F.normalize(torch.randn(CLIPS, 2, SIZE, generator=generator), dim=-1)
    video[5] = video[6]  # ties
    text = F.normalize(video[owner] + torch.randn(QUERIES, 2, SIZE, generator=generator), dim=-1)
    text[20:24] = text[19]
    available = torch.rand(CLIPS, 2, generator=generator) < 0.7
    available[~available.any(1), 0] = True
    available[5] = available[6]
    logits = torch.randn(QUERIES, 2, generator=generator)
    logits[20:24] = logits[19]
    scores = MixtureScores(
        TextEmbedding(text.flatten(1), logits),
        VideoEmbedding(video.flatten(1), available),
        Layout(("a", "b"), (SIZE, SIZE)),
        without_stream=1,
    )
    positives = Positives(torch.arange(QUERIES), owner, QUERIES, CLIPS + 1)
    found = {}
    for convention in CONVENTIONS:
        ranking = rank(scores, positives, v2t=convention, top=3, shared=True)
        for way in ("t2v", "v2t"):
            for name in ("query", "rank", "gain"):
                found[f"{convention}/{way}/{name}"] = getattr(getattr(ranking, way), name)
        for name in ("query", "candidate", "score"):
            found[f"{convention}/top/{name}"] = getattr(ranking.top, name)
    return {name: tensor.contiguous() for name, tensor in found.items()}


if __name__ == "__main__":
    main()
