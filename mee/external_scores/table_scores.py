"""Scores of two embedding tables of another system.

    S(q, g) = <t_q, v_g>        or, with unit norm, <t_q / |t_q|, v_g / |v_g|>

`pairs` defines the score: products in float64, added up by halves in an order that depends on E alone, and the sum
rounded to float32. It is the same number in every block and on every device.

`block` multiplies in float32. The margin is the bound of mee.ranking.scores for the longest rows of both tables,
and what products may lose where they are less than the least normal float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Final, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mee.errors import InputError
from mee.external_scores.named_scores import NamedScores, run_or_rows
from mee.external_scores.stored_array import StoredArray
from mee.ranking.scores import full_products, summation_margin

_TINY: Final = 2.0**-126  # the least normal float32: what a product may lose where it underflows
_LARGEST: Final = float(np.finfo(np.float32).max) / 2
_NUMBERS: Final = 1 << 21  # held at a time


@final
class TableScores(NamedScores):
    """Inner products; the gallery's table is held in float32, the queries' is read block by block."""

    def __init__(
        self,
        text: StoredArray,
        video: StoredArray,
        query_ids: Sequence[str],
        clip_ids: Sequence[str],
        *,
        device: torch.device | None = None,
        unit_norm: bool = False,
        rows: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
        norms: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    ) -> None:
        """Of two tables.

        Args:
            text: (Q', E) embeddings.
            video: (G', E) embeddings.
            query_ids: Q ids.
            clip_ids: G ids.
            device: where products are made; None: the CPU.
            unit_norm: divide every embedding by its norm.
            rows: the row of each query in `text` and of each clip in `video`; None: as they come.
            norms: |t| of each query and |v| of each clip, where they are known.

        Raises:
            InputError: sizes differ, an embedding is not finite, too large for float32, or zero and to be divided
                by its norm.
        """
        super().__init__(query_ids, clip_ids, device)
        if text.shape[1] != video.shape[1]:
            raise InputError(
                f"{text.where} has {text.shape[1]} numbers a row and {video.where} {video.shape[1]}; embeddings "
                "whose inner product is the score have one size"
            )
        self.unit_norm = unit_norm
        self.rule = (
            "inner product of two tables" + (" of unit norm" if unit_norm else "") + ", compared as float32"
        )
        self._text, self._video = text, video
        self._rows = (np.arange(self.queries), np.arange(self.candidates)) if rows is None else rows
        if norms is None:
            norms = (
                _norms(text, "query", self.query_ids, self._rows[0], unit_norm),
                _norms(video, "clip", self.clip_ids, self._rows[1], unit_norm),
            )
        self._norms = norms
        longest = (1.0, 1.0) if unit_norm else (float(norms[0].max()), float(norms[1].max()))
        if max(longest[0] * longest[1], *longest) > _LARGEST:
            raise InputError(
                f"{text.where} and {video.where} give scores up to {longest[0] * longest[1]:.2g}, more than "
                "float32 holds; scale them down"
            )
        self.margin = _margin(text.shape[1], *longest)

    def take(self, queries: NDArray[np.int64], clips: NDArray[np.int64]) -> Self:
        return type(self)(
            self._text,
            self._video,
            [self.query_ids[query] for query in queries],
            [self.clip_ids[clip] for clip in clips],
            device=self.device,
            unit_norm=self.unit_norm,
            rows=(self._rows[0][queries], self._rows[1][clips]),
            norms=(self._norms[0][queries], self._norms[1][clips]),
        )

    def block(self, rows: slice) -> Tensor:
        """(q, G) float32 products."""
        asked = np.arange(self.queries)[rows]
        text = torch.from_numpy(self._read(0, asked).astype(np.float32)).to(self.device)
        with full_products(self.device):
            return text @ self._gallery.T

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) float32, as defined above."""
        scores = torch.empty(len(queries), device=self.device)
        step = max(1, _NUMBERS // self._text.shape[1])
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            text, video = (
                torch.from_numpy(self._read(side, numbers[part].cpu().numpy())).to(self.device)
                for side, numbers in enumerate((queries, candidates))
            )
            scores[part] = _sums(text * video).float()
        return scores

    @cached_property
    def _gallery(self) -> Tensor:
        table = torch.empty((self.candidates, self._video.shape[1]), device=self.device)
        step = max(1, _NUMBERS // self._video.shape[1])
        for start in range(0, self.candidates, step):
            part = np.arange(start, min(start + step, self.candidates))
            table[start : start + step] = torch.from_numpy(self._read(1, part).astype(np.float32))
        return table

    def _read(self, side: int, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, E) embeddings of queries (side 0) or clips (side 1)."""
        table = (self._text, self._video)[side]
        values: NDArray[np.float64] = table.block(run_or_rows(self._rows[side][numbers])).astype(np.float64)
        if self.unit_norm:
            values /= self._norms[side][numbers, None]
        return values


def _margin(size: int, text: float, video: float) -> float:
    """How far a float32 product may be from the score, where |t| <= text and |v| <= video."""
    underflow = _TINY * (2 * size + math.sqrt(size) * (text + video))
    return 1.001 * (summation_margin(size, text * video) + underflow)  # norms are rounded themselves


def _sums(terms: Tensor) -> Tensor:
    """(N, E) -> (N,) float64: neighbours are added in halves, which every device does alike and rounds alike."""
    while (width := terms.shape[1]) > 1:
        half = width // 2
        added = terms[:, :half] + terms[:, half : 2 * half]
        terms = torch.cat([added, terms[:, 2 * half :]], 1)
    return terms[:, 0]


def _norms(
    table: StoredArray, side: str, ids: Sequence[str], rows: NDArray[np.int64], divided: bool
) -> NDArray[np.float64]:
    """(N,) the norm of each row, all of them usable."""
    norms = np.empty(len(ids))
    step = max(1, _NUMBERS // table.shape[1])
    for start in range(0, len(ids), step):
        values = table.block(run_or_rows(rows[start : start + step])).astype(np.float64)
        finite = np.isfinite(values).all(1)
        if not finite.all():
            name = ids[start + int(finite.argmin())]
            raise InputError(f"{table.where}: the embedding of {side} {name!r} has NaN or infinite numbers")
        # scaled by its largest number, so that squares neither overflow nor vanish
        largest = np.abs(values).max(1)
        values /= np.where(largest, largest, 1)[:, None]
        norms[start : start + step] = largest * np.sqrt(_sums(torch.from_numpy(values * values)).numpy())
    if divided and not norms.all():
        name = ids[int(norms.argmin())]
        raise InputError(
            f"{table.where}: the embedding of {side} {name!r} is zero, so it has no direction; leave it out, or "
            "do without --unit-norm"
        )
    return norms
