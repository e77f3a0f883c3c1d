"""Random galleries and queries, and their scores by plain loops over the equation in float64."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from index.storage.entries import Entries
from index.storage.manifest import Origin
from index.storage.segment import of_entries
from index.storage.snapshot import Snapshot
from index.video_index import VideoIndex
from mee.encode import Gallery
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.streams import Ragged

LAYOUT = Layout(("appearance", "motion", "audio", "face"), (6, 3, 4, 2))
RULES = (LAYOUT, replace(LAYOUT, missing="renormalise"))
SPOKEN = tuple(
    replace(layout, words=("motion", "face")) for layout in RULES
)  # two experts of words, sizes 3 and 2
ORIGIN = Origin("/models/m", "0123456789ab", "/stores/s")


def packed_rows(count, generator, layout=LAYOUT):
    parts = [torch.randn(count, size, generator=generator) for size in layout.sizes]
    return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)


def random_gallery(count, seed=0, missing=0.3, first=0, *, doubled=0.0, layout=LAYOUT):
    """Ids are not in order, NaN is where a stream is missing; a share `doubled` differs from another by name."""
    generator = torch.Generator().manual_seed(seed)
    wide = len(layout.sizes)
    available = torch.rand(count, wide, generator=generator) >= missing
    if count:
        available[torch.arange(count), torch.randint(wide, (count,), generator=generator)] = True
    columns = torch.repeat_interleave(torch.arange(wide), torch.tensor(layout.sizes))
    packed = packed_rows(count, generator, layout)
    origin = torch.arange(count)
    for copy in range(int(doubled * count)):
        other = int(torch.randint(count, (), generator=generator))
        packed[copy], available[copy], origin[copy] = packed[other], available[other], origin[other]
    packed = packed.masked_fill(~available[:, columns], torch.nan)
    words = random_words(available, generator, layout, origin)
    for name in words:
        packed[:, layout.slices[layout.names.index(name)]] = 0
    order = torch.randperm(count, generator=generator).tolist()
    return Gallery(
        tuple(f"c{first + number:05d}" for number in order), VideoEmbedding(packed, available, words), ()
    )


def random_words(available, generator, layout, origin=None):
    """1 to 4 rows of each clip; origin: (G,) clips whose rows they are, default: its own."""
    words, count = {}, len(available)
    for name in layout.words:
        m = layout.names.index(name)
        values = F.normalize(torch.randn(count, 4, layout.sizes[m], generator=generator), dim=2)
        counts = torch.randint(1, 5, (count,), generator=generator).tolist()
        own = range(count) if origin is None else origin.tolist()
        rows = [values[n][: counts[n]] if there else None for n, there in zip(own, available[:, m])]
        words[name] = Ragged.of(rows, values.new_empty(0, layout.sizes[m]))
    return words


def random_text(queries=4, seed=1, scale=3.0, layout=LAYOUT, offset=0.3):
    """Logits as large as `scale`, and offsets as large as `offset`."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (queries, len(layout.sizes))
    logits, offsets = (size * torch.randn(sizes, generator=generator) for size in (scale, offset))
    return TextEmbedding(packed_rows(queries, generator, layout), logits, offsets)


def clip_rows(gallery, **columns):
    """Sorted, so that rows of the table are not rows of the gallery; four clips a video."""
    ids = sorted([*gallery.clip_ids, *gallery.without_stream])
    numbers = np.array([int(name[1:]) for name in ids], dtype=float)
    spans = {"video": [f"v{int(n) // 4}.mp4" for n in numbers], "start_s": numbers, "end_s": numbers + 5}
    return pd.DataFrame({**spans, **columns}, index=pd.Index(ids, name="clip_id"))


def texts_of(gallery, name):
    """A second of words for each row: what is said follows from the clip and the row."""
    counts = gallery.video.words[name].offsets.diff().tolist()
    return [
        [(n, n + 1.0, f"{name} {n} of {clip_id}") for n in range(count)] or None
        for clip_id, count in zip(gallery.clip_ids, counts)
    ]


def entries_of(gallery, layout=LAYOUT, **columns):
    words = {name: texts_of(gallery, name) for name in layout.words}
    return Entries.of(gallery, clip_rows(gallery, **columns), layout, words)


def in_memory(entries, layout=LAYOUT, offsets=None):
    """An index of one segment that is not on the disk; offsets: what the clips' offsets are, if they have any."""
    entries = entries.checked(layout, offsets=offsets is not None)
    segments = (of_entries(entries, layout, offsets=offsets is not None),) if len(entries) else ()
    return VideoIndex(Snapshot(layout, ORIGIN, offsets=offsets, segments=segments))


def loop_scores(text, gallery, layout=LAYOUT, *, kept=None, weights=None):
    """(Q, G) float64, one expert at a time; -inf where a clip has none of the experts that are used.

    `kept`: (M,) which experts are used; `weights`: (M,) in place of the model's. Default: all, and the model's.
    """
    t, logits, offsets = (part.double().numpy() for part in (text.packed, text.logits, text.offsets))
    x, available = gallery.video.packed.double().numpy(), gallery.video.available.numpy()
    if weights is not None:
        kept = np.asarray(weights) > 0
        logits = np.broadcast_to(np.log(np.where(kept, weights, 1.0)), logits.shape)
    kept = np.asarray([True] * len(layout.sizes) if kept is None else kept)
    available = available & kept
    some = available.any(1)
    counted = np.broadcast_to(kept, available[some].shape) if layout.missing == "evidence" else available[some]
    masked = np.where(counted[None], logits[:, None], -np.inf)
    shares = np.exp(masked - masked.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    scores = np.where(some, 0.0, np.full((len(t), len(x)), -np.inf))
    for m, columns in enumerate(layout.slices):
        there = available[:, m]
        similarity = t[:, columns] @ x[there][:, columns].T
        if layout.names[m] in layout.words:
            rows = gallery.video.words[layout.names[m]]
            starts = rows.offsets.tolist()
            clips = [rows.values[starts[g] : starts[g + 1]].double().numpy() for g in np.flatnonzero(there)]
            similarity = np.array([(t[:, columns] @ clip.T).max(1) for clip in clips]).reshape(-1, len(t)).T
        scores[:, there] += shares[:, there[some], m] * (similarity - offsets[:, m, None])
    return scores


def assert_best(ranked, reference, names, k, allowed=None):
    """Results are the best k of (Q, G) float64 reference scores, equal ones by id; -inf: cannot be found."""
    reference = np.where(True if allowed is None else allowed, reference, -np.inf)
    row_of = {name: row for row, name in enumerate(names)}
    for wanted, found, scores in zip(reference, ranked.ids, ranked.scores):
        best = np.sort(wanted)[::-1]
        best = best[best > -np.inf][:k]
        assert len(found) == len(set(found)) == len(best)
        of_found = wanted[[row_of[name] for name in found]]
        np.testing.assert_allclose(of_found, best, atol=1e-7, rtol=1e-7)
        np.testing.assert_allclose(scores[: len(found)], best, atol=1e-7, rtol=1e-6)
        assert np.isneginf(scores[len(found) :]).all()
        pairs = list(zip(scores.tolist(), found))
        assert pairs == sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
        if found:  # no clip with the same score, in the reference too, was left out for a later name
            level = [names[row] for row in np.flatnonzero(wanted == of_found[-1])]
            taken = sorted(name for name in found if name in level)
            assert taken == sorted(level)[: len(taken)]
