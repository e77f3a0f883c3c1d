"""Whole score matrices, random embeddings, and scores and ranks by plain loops."""

import math

import torch
from torch.nn import functional as F

from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.mixture import UNSCORABLE
from mee.ranking.scores import Positives, Scores
from mee.streams import Ragged


def unit_rows(generator, count, layout):
    """(count, total), of unit length within each expert."""
    return torch.cat(
        [F.normalize(torch.randn(count, size, generator=generator), dim=1) for size in layout.sizes], dim=1
    )


def random_text(generator, count, layout, scale=1.0, offset=0.3):
    """Logits as large as `scale`, and offsets as large as `offset`."""
    logits, offsets = (
        size * torch.randn(count, len(layout.names), generator=generator) for size in (scale, offset)
    )
    return TextEmbedding(unit_rows(generator, count, layout), logits, offsets)


def random_video(generator, count, layout, missing=0.4):
    """Every clip has at least one stream."""
    available = torch.rand(count, len(layout.names), generator=generator) >= missing
    available[torch.arange(count), torch.randint(len(layout.names), (count,), generator=generator)] = True
    return VideoEmbedding(unit_rows(generator, count, layout), available)


def with_words(generator, video, layout, most=4):
    """The same with up to `most` rows for each clip that has an expert of words, and zeros in its columns."""
    packed, words = video.packed.clone(), {}
    for name in layout.words:
        m = layout.names.index(name)
        packed[:, layout.slices[m]] = 0
        counts = torch.randint(1, most + 1, (len(packed),), generator=generator) * video.available[:, m]
        rows = [F.normalize(torch.randn(n, layout.sizes[m], generator=generator), dim=1) for n in counts.tolist()]
        words[name] = Ragged.of(rows, torch.empty(0, layout.sizes[m]))
    return VideoEmbedding(packed, video.available, words)


def fill_missing(packed, available, layout, junk):
    """Junk in the columns of missing streams."""
    columns = torch.repeat_interleave(torch.arange(len(layout.names)), torch.tensor(layout.sizes))
    return torch.where(available[:, columns], packed, torch.as_tensor(junk, dtype=packed.dtype))


def loop_scores(text, video, layout, scheme="mixture", removed=(), nothing=None):
    """(Q, G) float64: the equation of mee.scoring, or another scheme's, in plain floats."""
    reached = [scheme in layout.names or bool((column > -math.inf).any()) for column in text.logits.T]
    rule = layout.missing if scheme in ("mixture", "uniform") else scheme
    nothing = UNSCORABLE - float(text.offsets.abs().max()) if nothing is None else nothing

    def score(t, logit, offset, x, there, said):
        present = [m for m, name in enumerate(layout.names) if there[m] and reached[m] and name not in removed]
        if scheme in layout.names:
            present = [m for m in present if layout.names[m] == scheme]
        if not present:
            return nothing
        counted = range(len(logit)) if rule == "evidence" else present
        weighed = [m for m in counted if logit[m] > -math.inf or scheme in layout.names]
        top = max((logit[m] for m in weighed), default=0.0)
        equal = scheme == "uniform" or scheme in layout.names
        weights = {m: 1.0 if equal else math.exp(logit[m] - top) for m in weighed}
        total = 0.0
        for m in set(weighed) & set(present):
            rows = said.get(layout.names[m], [x[layout.slices[m]]])
            inner = max(sum(a * b for a, b in zip(t[layout.slices[m]], row)) for row in rows)
            total += weights[m] * (inner - offset[m])
        return total / sum(weights.values()) if weights else 0.0

    numbers = range(len(video.packed))
    said = [
        {name: rows.only(torch.tensor([g])).values.tolist() for name, rows in video.words.items()} for g in numbers
    ]
    clips = list(zip(video.packed.tolist(), video.available.tolist(), said))
    queries = zip(text.packed.tolist(), text.logits.tolist(), text.offsets.tolist())
    return torch.tensor([[score(*query, *clip) for clip in clips] for query in queries], dtype=torch.float64)


class WholeScores(Scores):
    """A matrix; blocks are off by as much as the margin allows, up or down."""

    def __init__(self, matrix, margin=0.0, seed=0):
        self.matrix, self.margin = matrix, margin
        self.queries, self.candidates = matrix.shape
        self.device = matrix.device
        noise = torch.rand(matrix.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        self.blurred = self.matrix + 0.9 * margin * noise

    def block(self, rows):
        return self.blurred[rows].clone()

    def pairs(self, queries, candidates):
        return self.matrix[queries, candidates]


def whole_matrix(scores):
    """All pairs, (Q, G)."""
    query, candidate = torch.cartesian_prod(torch.arange(scores.queries), torch.arange(scores.candidates)).T
    return scores.pairs(query, candidate).view(scores.queries, scores.candidates)


def positives_of(right):
    """Of a (Q, G) bool matrix."""
    query, candidate = right.nonzero(as_tuple=True)
    return Positives(query, candidate, *right.shape)


def expected_ranks(scores, positive):
    """(Q,) float64 expected ranks of a (Q, G) matrix; `positive`: (Q, G) bool, at least one True in each row."""
    best = scores.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
    return 1 + ((scores > best) & ~positive).sum(1) + ((scores == best) & ~positive).sum(1).double() / 2
