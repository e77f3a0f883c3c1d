"""Scores of another system, whose queries and clips have ids.

A matrix: block and pairs are the file's numbers, float16, bfloat16 and float32 as float32, float64 as float64.
None of these rounds, so scores tie where the system's own numbers do and nowhere else, and the margin is 0.

Two embedding tables:

    S(q, g) = <t_q, v_g>        or, with unit norm, <t_q / |t_q|, v_g / |v_g|>

`pairs` defines the score: products in float64, added up by halves in an order that depends on E alone, and the sum
rounded to float32. It is the same number in every block and on every device. `block` multiplies in float32; the
margin is the bound of mee.ranking.scores for the longest rows of both tables, and what products may lose where
they are less than the least normal float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final, Self, final

import torch
from torch import Tensor

from mee.errors import InputError
from mee.products import full_products
from mee.ranking import Scores, summation_margin

FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TINY: Final = 2.0**-126  # the least normal float32: what a product may lose where it underflows
_LARGEST: Final = torch.finfo(torch.float32).max / 2
_NUMBERS: Final = 1 << 21  # held as float64 at a time


@dataclass(frozen=True)
class Table:
    """Numbers of a file; a memory map is read when rows are taken."""

    where: str  # for messages: the file, and the name in it
    values: Tensor  # (rows, columns) floats

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        if len(shape) != 2 or not self.values.numel():
            wanted = "a table of two axes with something in it, one row an id of its own"
            raise InputError(f"{self.where} has shape {shape}; it must be {wanted}")
        if self.values.dtype not in FLOATS:
            kind = str(self.values.dtype).removeprefix("torch.")
            advice = "save it as float16, float32 or float64, as the system computed them"
            raise InputError(f"{self.where} holds {kind} numbers; {advice}")


class NamedScores(Scores):
    """Scores of `query_ids` x `clip_ids`; the candidates are the clips."""

    rule: str  # in words: what the scores are, and in which precision they are compared

    def __init__(self, query_ids: Sequence[str], clip_ids: Sequence[str], device: torch.device | None) -> None:
        self.query_ids, self.clip_ids = tuple(query_ids), tuple(clip_ids)
        self.queries, self.candidates = len(query_ids), len(clip_ids)
        self.device = device or torch.device("cpu")
        self._rows, self._columns = torch.arange(self.queries), torch.arange(self.candidates)  # in the file

    def take(self, queries: Sequence[int], clips: Sequence[int]) -> Self:
        """The same scores of some queries and clips, in this order; no score is copied."""
        taken = copy(self)
        taken.query_ids = tuple(self.query_ids[query] for query in queries)
        taken.clip_ids = tuple(self.clip_ids[clip] for clip in clips)
        taken.queries, taken.candidates = len(queries), len(clips)
        taken._rows = self._rows[torch.tensor(queries, dtype=torch.int64)]
        taken._columns = self._columns[torch.tensor(clips, dtype=torch.int64)]
        return taken


@final
class MatrixScores(NamedScores):
    """Scores that were computed elsewhere; NaN and infinite ones are refused when they are read."""

    def __init__(
        self, matrix: Table, query_ids: Sequence[str], clip_ids: Sequence[str], device: torch.device | None = None
    ) -> None:
        super().__init__(query_ids, clip_ids, device)
        self.margin = 0.0
        self._matrix = matrix
        self._kind = torch.float64 if matrix.values.dtype == torch.float64 else torch.float32
        self.rule = f"score matrix, compared as {str(self._kind).removeprefix('torch.')}"

    def block(self, rows: slice) -> Tensor:
        """(q, G) of the file's numbers."""
        values = self._matrix.values[self._rows[rows]]
        if not self._columns.equal(torch.arange(values.shape[1])):
            values = values[:, self._columns]
        if not _all_finite(values):
            row, clip = (~values.isfinite()).nonzero()[0].tolist()
            raise self._not_finite(range(self.queries)[rows][row], clip, values[row, clip])
        return values.to(self.device, self._kind)

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) of the same type."""
        queries, candidates = queries.cpu(), candidates.cpu()
        values = self._matrix.values[self._rows[queries], self._columns[candidates]]
        if not _all_finite(values):
            first = (~values.isfinite()).nonzero()[0]
            raise self._not_finite(int(queries[first]), int(candidates[first]), values[first])
        return values.to(self.device, self._kind)

    def _not_finite(self, query: int, clip: int, value: Tensor) -> InputError:
        return InputError(
            f"{self._matrix.where}: the score of query {self.query_ids[query]!r} and clip {self.clip_ids[clip]!r} "
            f"is {value.item()}; a score must be a finite number"
        )


@final
class TableScores(NamedScores):
    """Inner products; the gallery's table is also held in float32."""

    def __init__(
        self,
        text: Table,
        video: Table,
        query_ids: Sequence[str],
        clip_ids: Sequence[str],
        *,
        device: torch.device | None = None,
        unit_norm: bool = False,
    ) -> None:
        """From (Q, E) and (G, E) embeddings; `unit_norm` divides them by their norms."""
        super().__init__(query_ids, clip_ids, device)
        size, other = text.values.shape[1], video.values.shape[1]
        if size != other:
            raise InputError(
                f"{text.where} has {size} numbers a row and {video.where} {other}; embeddings whose inner product "
                "is the score have one size"
            )
        self.unit_norm = unit_norm
        self.rule = f"inner product of two tables{' of unit norm' if unit_norm else ''}, compared as float32"
        self._step = max(1, _NUMBERS // size)
        self._text, self._video = text.values, video.values
        norms = self._checked_norms
        self._norms = norms(text, "query", self.query_ids), norms(video, "clip", self.clip_ids)
        longest = [1.0, 1.0] if unit_norm else [float(norms.max()) for norms in self._norms]
        if max(longest[0] * longest[1], *longest) > _LARGEST:
            raise InputError(
                f"{text.where} and {video.where} give scores up to {longest[0] * longest[1]:.2g}, more than "
                "float32 holds; scale them down"
            )
        underflow = _TINY * (2 * size + math.sqrt(size) * sum(longest))
        self.margin = 1.001 * (summation_margin(size, longest[0] * longest[1]) + underflow)  # norms are rounded
        parts = [self._clips(some).float() for some in self._columns.split(self._step)]
        self._gallery = torch.cat(parts).to(self.device)

    def take(self, queries: Sequence[int], clips: Sequence[int]) -> Self:
        taken = super().take(queries, clips)
        taken._gallery = self._gallery[torch.tensor(clips, dtype=torch.int64, device=self.device)]
        return taken

    def block(self, rows: slice) -> Tensor:
        """(q, G) float32 products."""
        text = self._sentences(self._rows[rows]).float().to(self.device)
        with full_products(self.device):
            return text @ self._gallery.T

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) float32, as defined above."""
        scores = torch.empty(len(queries), device=self.device)
        for start in range(0, len(queries), self._step):
            part = slice(start, start + self._step)
            text = self._sentences(self._rows[queries[part].cpu()]).to(self.device)
            video = self._clips(self._columns[candidates[part].cpu()]).to(self.device)
            scores[part] = _sums(text * video).float()
        return scores

    def _sentences(self, rows: Tensor) -> Tensor:
        return self._text[rows].double() / (self._norms[0][rows, None] if self.unit_norm else 1)

    def _clips(self, rows: Tensor) -> Tensor:
        return self._video[rows].double() / (self._norms[1][rows, None] if self.unit_norm else 1)

    def _checked_norms(self, table: Table, side: str, ids: Sequence[str]) -> Tensor:
        """(N,) float64, all of them usable."""
        norms = torch.cat([_norms(part.double()) for part in table.values.split(self._step)])
        if not norms.isfinite().all():
            name = ids[int(norms.isfinite().byte().argmin())]
            raise InputError(f"{table.where}: the embedding of {side} {name!r} has NaN or infinite numbers")
        if self.unit_norm and not norms.all():
            zero = "is zero, so it has no direction; leave it out, or do without --unit-norm"
            raise InputError(f"{table.where}: the embedding of {side} {ids[int(norms.argmin())]!r} {zero}")
        return norms


def _all_finite(values: Tensor) -> bool:
    """The same as isfinite().all(), in a twentieth of the time."""
    return not values.numel() or bool(torch.stack(values.aminmax()).isfinite().all())


def _norms(values: Tensor) -> Tensor:
    """(N, E) -> (N,), scaled by each row's largest number, so that squares neither overflow nor vanish."""
    largest = values.abs().amax(1)
    values = values / torch.where(largest == 0, 1, largest)[:, None]
    return largest * _sums(values * values).sqrt()


def _sums(terms: Tensor) -> Tensor:
    """(N, E) -> (N,) float64: added pairwise in halves, in the same order and rounding on every device."""
    while (width := terms.shape[1]) > 1:
        half = width // 2
        added = terms[:, :half] + terms[:, half : 2 * half]
        terms = torch.cat([added, terms[:, 2 * half :]], 1)
    return terms[:, 0]
