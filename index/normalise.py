"""NNN: an offset for every clip of an index, against clips that score high for every sentence.

    score'(q, v) = score(q, v) - c_v,   c_v = alpha * mean of the k largest scores of v over a bank of captions

As in mee.ranking.normalise, which names the source; here the clips of an index are scored chunk by chunk, so that
memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from index.queries import Queries, pattern_vectors
from index.recall import record_recall
from index.searcher import Searcher
from index.storage import IndexWriter
from index.video_index import VideoIndex
from mee.checkpoint import read_training
from mee.data import Pairs, match_captions, read_captions, read_sentences
from mee.encode import encode_captions
from mee.errors import InputError
from mee.evaluation import NormaliseConfig
from mee.ranking import float32_product

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 2**24  # scores in memory at a time
FIRST = 100  # clips of each held-out caption that offsets may put in another order


def normalise(
    directory: Path,
    bank: Path,
    *,
    neighbours: int | None = None,
    alpha: float | None = None,
    device: torch.device | None = None,
    model: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compute the offsets of all clips, which replace those that the index has; returns how they were made.

    Where alpha or neighbours is not given, it is fitted on held-out captions of the bank's file: of split val or,
    where there is none, of the videos that training held out. Where alpha is then 0, nothing is written.

    Args:
        directory: of the index.
        bank: training captions: a table, of which the split train is used where there are splits, or one a line.
        neighbours: k; all of the bank where it holds fewer; None: fitted.
        alpha: weight of their mean; None: fitted.
        device: where captions are encoded.
        model: its directory, if it was moved since the index was made.
        progress: called with how many clips are done, of how many.

    Raises:
        InputError: index, model or bank cannot be used, there is nothing in the index, or nothing to fit on.
    """
    searcher = Searcher.load(directory, device=device or torch.device("cpu"), model=model)
    if not len(searcher.video_index):
        raise InputError(f"'{directory}' has no clip that could have an offset")
    sentences = read_sentences(bank, ("train",))
    config, facts = NormaliseConfig(method="nnn", neighbours=neighbours, alpha=alpha), dict[str, Any]()
    if config.unknown:
        record = read_training(model or Path(searcher.video_index.origin.model))
        pairs, facts["fitted_on"] = _held_out(searcher.video_index, bank, record)
        config = fitted(searcher, config, pairs, sentences)
    neighbours, alpha = min(config.neighbours or 1, len(sentences)), config.alpha or 0.0
    parameters = {"neighbours": neighbours, "alpha": alpha}
    facts |= {"method": "nnn", "bank": f"{len(sentences):,} captions of {bank.name}", "parameters": parameters}
    if config.alpha == 0:
        return facts
    captions = Queries.of(encode_captions(searcher.model, sentences))
    given = nnn_offsets(searcher.video_index, captions, neighbours, alpha)
    if not np.isfinite(np.fromiter(given.values(), np.float32)).all():
        raise InputError("the offsets are not finite; use a smaller --alpha")
    with IndexWriter.open(directory) as writer:
        try:
            writer.compact(offsets=given, facts=facts, progress=progress)
        except InputError:
            raise
        except ValueError as error:  # a clip was put meanwhile
            raise InputError(f"'{directory}' was written meanwhile ({error}); run the command again") from error
    record_recall(directory)
    return facts


class _Clips(NamedTuple):
    """The clips of an index; fits `mee.data.ClipNames`."""

    name: str
    clips: pd.DataFrame
    failed: Mapping[str, str] = {}


def _held_out(video_index: VideoIndex, bank: Path, record: Mapping[str, Any]) -> tuple[Pairs, str]:
    """Captions that the model was not trained on, with their clips in the index; and in words which these are."""
    named, pairs = False, Pairs((), (), ())
    names = [segment.table.arrow.select(["clip_id", "video"]) for segment in video_index.snapshot.segments]
    clips = _Clips("the index", pa.concat_tables(names).to_pandas().set_index("clip_id"))
    with suppress(InputError):  # it is a text, or has no clip that is in the index
        table = read_captions(bank)
        if "split" in table:
            named = bool((table["split"] == "val").any())
            table = table[table["split"] == ("val" if named else "train")]
        pairs, _ = match_captions(table, clips, partial=True)
        pairs = pairs if named else pairs.of_videos(set(record.get("videos", {}).get("val", [])))
    if not len(pairs):
        raise InputError(
            f"'{bank}' has no captions to fit --alpha and --neighbours on: of split 'val', with clips in the "
            "index; add some, or give both (--alpha 0.25 --neighbours 128 are cautious values)"
        )
    return pairs, f"{len(pairs):,} captions of {'split val' if named else 'videos that training held out'}"


def fitted(searcher: Searcher, config: NormaliseConfig, pairs: Pairs, sentences: Sequence[str]) -> NormaliseConfig:
    """NNN's parameters by the ranks of held-out captions among all clips, of which the first may change places."""
    held, video_index = set(pairs.captions), searcher.video_index
    rest = [sentence for sentence in sentences if sentence not in held]
    if not rest:
        raise InputError("every caption of the bank is also one to fit --alpha and --neighbours on; add others")
    bank, asked = (Queries.of(encode_captions(searcher.model, some)) for some in (rest, pairs.captions))
    found = video_index.rank(asked, FIRST, plain=True)

    @cache
    def means(neighbours: int) -> dict[str, float]:
        return nnn_offsets(video_index, bank, neighbours, 1.0)

    def ranks(config: NormaliseConfig) -> NDArray[np.float64]:
        mean, alpha, places = means(config.neighbours or 1), config.alpha or 0.0, []
        for own, ids, scores in zip(pairs.clip_ids, found.ids, found.scores):
            right = np.isin(ids, own)
            shifted = scores[: len(ids)] - alpha * np.array([mean[clip_id] for clip_id in ids])
            best, wrong = shifted[right].max(initial=-np.inf), shifted[~right]
            places.append(1 + (wrong > best).sum() + (wrong == best).sum() / 2)
        return np.array(places)

    return config.fitted(ranks, [clip_ids[0] for clip_ids in pairs.clip_ids])


@torch.no_grad()
def nnn_offsets(video_index: VideoIndex, bank: Queries, neighbours: int, alpha: float) -> dict[str, float]:
    """The offset of every clip that can be found; offsets that the clips have already are ignored."""
    offsets: dict[str, float] = {}
    step = max(1, BLOCK // len(bank))
    for partition in video_index.snapshot.partitions:
        rows = np.arange(len(partition.vectors)) if partition.allowed is None else partition.allowed.rows
        vectors = pattern_vectors(bank, video_index.layout, [partition], subtract=False)
        captions = torch.from_numpy(vectors[partition.pattern].rounded)
        constant = torch.from_numpy(vectors[partition.pattern].constant[:, None]).float()
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            clips = torch.from_numpy(np.ascontiguousarray(partition.vectors[some]))
            scores = float32_product(captions, clips) + constant  # (B, c)
            largest = scores.topk(min(neighbours, len(bank)), dim=0).values
            offsets.update(zip(partition.ids(some), (alpha * largest.double().mean(0)).float().tolist()))
    return offsets
