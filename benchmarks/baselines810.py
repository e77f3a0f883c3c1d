"""What the mixture is compared with on the 810 clips: the plainest method that works, and simpler ways to fuse.

ridge   min over B of |T B - V|^2 + lambda |B|^2, T the captions' vectors, V the clips' mean streams side by side,
        standardised or not, the mean where one is missing; the clip of the largest cosine with T B
fused   all streams as one: pooled, standardised, side by side, zeros where one is missing, into a single expert
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.msrvtt810_data import Clips810, GivenVectors, Streams810
from mee.evaluation.metrics import expected_ranks, retrieval_metrics
from mee.text.config import TextConfig

LAMBDAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def ridge(
    data: Clips810, train: Sequence[int], test: Sequence[int], inner: tuple[Sequence[int], Sequence[int]]
) -> dict[str, float]:
    """Figures on `test`; penalty and scaling are those that rank best on an inner split of the training clips.

    Args:
        data: everything.
        train: rows to fit.
        test: rows to rank.
        inner: rows to fit and to rank for choosing; every caption of the latter is a query.
    """
    table = GivenVectors.learn(TextConfig(encoder=data.source.name), [])
    every = [(row, caption) for row in inner[1] for caption in data.captions[row]]
    choices = product(LAMBDAS, (False, True))
    best = max(choices, key=lambda choice: _ridge(data, table, *inner, every, *choice)["MRR"])
    return _ridge(data, table, train, test, [(row, data.sentences[row]) for row in test], *best)


def _ridge(
    data: Clips810,
    table: GivenVectors,
    train: Sequence[int],
    test: Sequence[int],
    queries: Sequence[tuple[int, str]],
    penalty: float,
    standardise: bool,
) -> dict[str, float]:
    everything = [*train, *test]
    streams = torch.cat(
        [_mean_stream(data.source, modality, everything) for modality in data.source.streams], dim=1
    )
    known = streams[: len(train)]
    streams = streams - known.mean(0)
    if standardise:
        streams = streams / known.std(0).clamp(min=1e-6)
    captions = [caption for row in train for caption in data.captions[row]]
    owner = torch.tensor([place for place, row in enumerate(train) for _ in data.captions[row]])
    text = torch.cat(table.read(captions))
    query = torch.cat(table.read([sentence for _, sentence in queries]))
    mean = text.mean(0)
    text, query = text - mean, query - mean
    gram = text.T @ text / len(text)
    gram += penalty * gram.diagonal().mean() * torch.eye(len(gram))
    map_text = torch.linalg.solve(gram, text.T @ streams[owner] / len(text))
    scores = F.normalize(query @ map_text, dim=1) @ F.normalize(streams[len(train) :], dim=1).T
    right = torch.tensor([row for row, _ in queries])[:, None] == torch.tensor(list(test))
    return retrieval_metrics(expected_ranks(scores, right))


def _mean_stream(source: Streams810, modality: str, rows: Sequence[int]) -> Tensor:
    """(n, D) means over time; the mean of all for a clip without the stream."""
    streams = [source.streams[modality][row] for row in rows]
    means = torch.stack(
        [
            torch.zeros(source.dims[modality]) if s is None else torch.from_numpy(s.astype("f4")).mean(0)
            for s in streams
        ]
    )
    there = torch.tensor([s is not None for s in streams])
    return torch.where(there[:, None], means, means[there].mean(0))


def fused(source: Streams810, train: Sequence[int]) -> Streams810:
    """The same clips with one stream `fused`: mean and max of every stream, standardised on the training clips."""
    parts = []
    for modality, streams in source.streams.items():
        pooled = np.stack(
            [
                np.full(2 * source.dims[modality], np.nan) if s is None else np.concatenate([s.mean(0), s.max(0)])
                for s in (None if s is None else s.astype("f4") for s in streams)
            ]
        )
        known = pooled[list(train)]
        scaled = (pooled - np.nanmean(known, 0)) / np.maximum(np.nanstd(known, 0), 1e-6)
        parts.append(np.nan_to_num(scaled))
    rows = np.concatenate(parts, axis=1).astype(np.float32)
    return Streams810(source.name, {"fused": [row[None] for row in rows]}, {"fused": rows.shape[1]}, source.clips)
