"""The reference network (benchmarks.reference_network) trained on the 810 clips, as its authors train it.

Adam at 4e-4 times 0.95 an epoch, batches of 64 videos with one random caption each, margin 0.2 averaged over all
2 B^2 terms, 100 epochs, no dropout, no weight decay; embeddings as large as the streams. Sentence vectors go
straight into the gated units. Missing faces are zeros that count in the batch statistics, as published. There is
no audio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.msrvtt810_data import Clips810, GivenVectors
from benchmarks.reference_network import ReferenceLoss, ReferenceMixture
from mee.evaluation.metrics import expected_ranks, retrieval_metrics
from mee.layers.pooling import Pool
from mee.streams import Ragged
from mee.text.config import TextConfig

NAMES = {"visual": "appearance", "motion": "motion", "face": "face"}
POOLING = "mean"  # better on inner splits than the maximum that the authors take for appearance and motion
RATE, DECAY, EPOCHS, BATCH = 4e-4, 0.95, 100, 64


def reference(
    data: Clips810, train: Sequence[int], test: Sequence[int], seed: int, epochs: int = EPOCHS
) -> dict[str, float]:
    """Figures on `test` after training on `train`.

    Args:
        data: everything.
        train: rows to train on.
        test: rows to rank.
        seed: of weights and order.
        epochs: of training.
    """
    torch.manual_seed(seed)
    table = GivenVectors.learn(TextConfig(encoder=data.source.name), [])
    video, available = _inputs(data)
    sizes = {name: (streams.shape[1], streams.shape[1]) for name, streams in video.items()}
    network, loss = ReferenceMixture(sizes, table.dim), ReferenceLoss()
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    captions = torch.stack([torch.cat(table.read(data.captions[row])) for row in train])  # (n, 20, 384)
    rows = torch.tensor(list(train))
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = RATE * DECAY**epoch
        for chosen in torch.randperm(len(rows)).split(BATCH):
            if len(chosen) > 1:
                text = captions[chosen, torch.randint(captions.shape[1], (len(chosen),))]
                some = rows[chosen]
                scores = network(text, _take(video, some), _take(available, some))
                optimiser.zero_grad()
                loss(scores).backward()
                optimiser.step()
    network.eval()
    ranked = torch.tensor(list(test))
    with torch.no_grad():
        query = torch.cat(table.read([data.sentences[row] for row in test]))
        scores = network(query, _take(video, ranked), _take(available, ranked))
    return retrieval_metrics(expected_ranks(scores, torch.eye(len(test), dtype=torch.bool)))


def _inputs(data: Clips810) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Pooled streams of all clips, zeros where missing, and flags, under the network's names."""
    video, available = {}, {}
    for name, modality in NAMES.items():
        rows = data.source.streams[modality]
        like = torch.empty(0, data.source.dims[modality])
        streams = Ragged.of([None if s is None else torch.from_numpy(s.astype("f4")) for s in rows], like).all()
        pooled = Pool((POOLING,), like.shape[1])(streams.padded, streams.lengths)
        there = streams.available
        video[name], available[name] = pooled * there[:, None], there
    video["audio"] = torch.zeros(len(data.sentences), 1)
    available["audio"] = torch.zeros(len(data.sentences), dtype=torch.bool)
    return video, available


def _take(tensors: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: tensor[rows] for name, tensor in tensors.items()}
