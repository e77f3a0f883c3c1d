"""NNN: an offset for every clip of an index, against clips that score high for every sentence.

    score'(q, v) = score(q, v) - c_v,   c_v = alpha * mean of the k largest scores of v over a bank of captions

As in mee.ranking.normalise, which names the source; here the clips of an index are scored chunk by chunk, so that
memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from index.queries import Queries, pattern_vectors
from index.recall import record_recall
from index.searcher import Searcher
from index.storage import open_writer
from index.video_index import VideoIndex
from mee.data import read_sentences
from mee.encode import encode_captions
from mee.errors import InputError
from mee.products import float32_product

BLOCK = 2**24  # scores in memory at a time
NEIGHBOURS, ALPHA = 128, 0.25  # cautious: as fitted on captions of real clips, in every one of four folds


def normalise(
    directory: Path,
    bank: Path,
    *,
    neighbours: int = NEIGHBOURS,
    alpha: float = ALPHA,
    device: torch.device | None = None,
    model: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compute the offsets of all clips, which replace those that the index has; returns how they were made.

    Args:
        directory: of the index.
        bank: training captions: a table, of which the split train is used where there are splits, or one a line.
        neighbours: k; all of the bank where it holds fewer.
        alpha: weight of their mean.
        device: where captions are encoded.
        model: its directory, if it was moved since the index was made.
        progress: called with how many clips are done, of how many.

    Raises:
        InputError: index, model or bank cannot be used, or there is nothing in the index.
    """
    searcher = Searcher.load(directory, device=device or "auto", model=model)
    if not len(searcher.video_index):
        raise InputError(f"'{directory}' has no clip that could have an offset")
    sentences = read_sentences(bank, ("train",))
    captions = searcher.video_index.scaled(Queries.of(encode_captions(searcher.text.model, sentences)))
    given = nnn_offsets(searcher.video_index, captions, neighbours, alpha)
    if not np.isfinite(np.fromiter(given.values(), np.float32)).all():
        raise InputError("the offsets are not finite; use a smaller --alpha")
    parameters = {"neighbours": min(neighbours, len(sentences)), "alpha": alpha}
    facts = {"method": "nnn", "bank": f"{len(sentences):,} captions of {bank.name}", "parameters": parameters}
    with open_writer(directory) as writer:
        try:
            writer.compact(offsets=given, facts=facts, progress=progress)
        except InputError:
            raise
        except ValueError as error:  # a clip was put meanwhile
            raise InputError(f"'{directory}' was written meanwhile ({error}); run the command again") from error
    record_recall(directory)
    return facts


@torch.no_grad()
def nnn_offsets(video_index: VideoIndex, bank: Queries, neighbours: int, alpha: float) -> dict[str, float]:
    """The offset of every clip that can be found; offsets that the clips have already are ignored."""
    offsets: dict[str, float] = {}
    step = max(1, BLOCK // len(bank))
    for partition in video_index.snapshot.partitions:
        vectors = pattern_vectors(bank, video_index.layout, [partition], subtract=False)
        captions = torch.from_numpy(vectors[partition.pattern].rounded)
        added_by_words = vectors[partition.pattern].added_by_words
        constant = torch.from_numpy(vectors[partition.pattern].constant[:, None]).float()
        for start in range(0, partition.count, step):
            some = partition.found[start : start + step]
            clips = torch.from_numpy(np.ascontiguousarray(partition.vectors[some]))
            scores = float32_product(captions, clips) if clips.shape[1] else torch.zeros(len(captions), len(some))
            scores = scores + constant + torch.from_numpy(added_by_words(partition, some)).float()  # (B, c)
            largest = scores.topk(min(neighbours, len(bank)), dim=0).values
            offsets.update(zip(partition.ids(some), (alpha * largest.double().mean(0)).float().tolist()))
    return offsets
