"""What removing streams at test costs: every single one, and a random share of all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.msrvtt810_data import Streams810
from mee.data.pairs import Pairs
from mee.encode import encode_gallery
from mee.evaluation.evaluate import evaluate
from mee.model import MEE

SHARES = (0.2, 0.4, 0.6, 0.8)


def dropped(model: MEE, source: Streams810, queries: Pairs, seed: int) -> dict[str, dict[str, float]]:
    """Text-to-video figures with streams removed; a clip that would lose all keeps one of those it has.

    Args:
        model: trained.
        source: with all streams.
        queries: what is ranked.
        seed: of what is removed.
    """
    rng = np.random.default_rng(seed)
    available = np.array([[s is not None for s in rows] for rows in source.streams.values()]).T  # (N, M)
    cases = {}
    for column, modality in enumerate(source.streams):
        kept = available.copy()
        kept[:, column] = False
        cases[f"no {modality}"] = kept
    for share in SHARES:
        cases[f"{share:.0%} removed"] = available & (rng.random(available.shape) >= share)
    figures = {}
    for name, kept in cases.items():
        lost = ~kept.any(1)
        order = np.where(available, rng.random(available.shape), -1).argmax(1)
        kept[lost, order[lost]] = True
        streams = {
            modality: [s if there else None for s, there in zip(rows, kept[:, column])]
            for column, (modality, rows) in enumerate(source.streams.items())
        }
        removed = replace(source, streams=streams)
        gallery = encode_gallery(model, removed, queries.gallery)
        figures[name] = evaluate(model, gallery, queries).t2v
    return figures
