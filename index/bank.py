"""Constants of QB-Norm and NNN for every clip of an index, from a bank of training captions.

    QB-Norm   c_j = logsumexp over b of beta S(b, j) / beta, active: clips that are the best of some b
    NNN       c_j = alpha * mean of the k largest S(b, j) over the bank

As in mee.ranking.normalise, which has the sources; here clips are taken from the index's units, chunk by chunk,
so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from index.exact.pattern_queries import Weighted
from index.queries import Queries
from index.scanners.unit import Unit
from index.video_index import VideoIndex
from mee.layers.linear import product

BLOCK = 2**24  # scores that are held at a time
OfClips = Callable[[Tensor], Tensor]  # (B, c) scores of the bank -> (c,) constants

Given = dict[str, tuple[float, bool]]  # clip_id -> constant, active


def nnn_constants(video_index: VideoIndex, bank: Queries, neighbours: int, alpha: float) -> Given:
    """NNN's, of every clip that can be found.

    Args:
        video_index: whose clips; constants that they carry already are not looked at.
        bank: B captions of training.
        neighbours: k; all of the bank where it holds fewer.
        alpha: weight of their mean.
    """
    count = min(neighbours, len(bank))
    constants = _of_clips(
        video_index, bank, lambda scores: alpha * scores.topk(count, dim=0).values.double().mean(0)
    )
    return {clip_id: (constant, True) for clip_id, constant in constants.items()}


def qb_norm_constants(video_index: VideoIndex, bank: Queries, beta: float) -> Given:
    """QB-Norm's, of every clip that can be found."""
    constants = _of_clips(video_index, bank, lambda scores: (beta * scores.double()).logsumexp(0) / beta)
    best = {found[0] for found in video_index.rank(bank, 1, plain=True, exact=True)[1] if found}
    return {clip_id: (constant, clip_id in best) for clip_id, constant in constants.items()}


@torch.no_grad()
def _of_clips(video_index: VideoIndex, bank: Queries, constant_of: OfClips) -> dict[str, float]:
    if not len(bank):
        raise ValueError("constants are made of a bank of captions, and this one is empty")
    constants: dict[str, float] = {}
    for unit in video_index.snapshot.units:
        rows = np.arange(len(unit.vectors)) if unit.allowed is None else unit.allowed.rows
        constants.update(zip(unit.ids(rows), _of_unit(unit, rows, bank, video_index, constant_of).tolist()))
    return constants


def _of_unit(
    unit: Unit, rows: NDArray[np.int64], bank: Queries, video_index: VideoIndex, constant_of: OfClips
) -> NDArray[np.float32]:
    plain = np.zeros(len(bank), dtype=np.bool_)
    vectors = Weighted(bank, plain, video_index.layout, [unit])[unit.pattern].rounded
    captions = torch.from_numpy(vectors)
    step = max(1, BLOCK // len(bank))
    constants = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), step):
        clips = torch.from_numpy(np.ascontiguousarray(unit.vectors[rows[start : start + step]]))
        constants[start : start + step] = constant_of(product(captions, clips)).float().numpy()
    return constants
