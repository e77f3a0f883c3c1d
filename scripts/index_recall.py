"""Search parameters of an index from the recall that is asked for, by mee index or mee gallery compact.

Queries are captions that were held out, where a file of them is given; else clips of the index itself, each
looking for what is like it, which says less about sentences.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from index.queries import Queries
from index.storage.held_out_queries import read_queries
from index.storage.manifest import read_manifest
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.errors import InputError
from scripts.console import say

if TYPE_CHECKING:
    from index.exact.recall import Measured
    from mee.model import MEE

ENOUGH = 1000  # queries: recall@10 is then known to a third of a percent
FEW = 20  # fewer say too little
TABLES = (".csv", ".parquet", ".jsonl", ".ndjson")
DEFAULT = 0.99  # recall of graph and fastscan where none was asked for
GROWN = 0.1  # by so much, and what was measured is measured again


def sentences_of(path: Path) -> list[str]:
    """Sentences to tune with: of a table of captions those that are not of training, else one a line.

    Raises:
        InputError: there is no such file, it is no such table or text, or it says nothing.
    """
    from mee.data.tables import read_captions

    if path.suffix.lower() in TABLES:
        table = read_captions(path)
        if "split" in table:
            table = table[table["split"] != "train"]
            if not len(table):
                raise InputError(f"{path} has captions of training only; tune with some that were held out")
        return list(dict.fromkeys(table["caption"]))
    if not path.is_file():
        raise InputError(f"no queries at '{path}'")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error.reason}") from error
    sentences = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not sentences:
        raise InputError(f"{path} holds no sentence; write one a line")
    return sentences


def held_out(path: Path, model: MEE) -> tuple[Queries, str]:
    """Queries of a file, and what to call them."""
    from mee.evaluation.evaluate import encode_captions

    sentences = sentences_of(path)
    chosen = _drawn(len(sentences))
    text = encode_captions(model, [sentences[row] for row in chosen])
    return Queries.of(text), f"{len(chosen):,} sentences of {path.name}"


def own_clips(video_index: VideoIndex) -> tuple[Queries, str]:
    """Clips of the index as queries, each expert of theirs counting the same."""
    units = video_index.snapshot.units
    ends = np.cumsum([unit.count for unit in units])
    packed, available = [], []
    for number in _drawn(len(video_index)):
        place = int(np.searchsorted(ends, number, side="right"))
        unit = units[place]
        row = int(number - (ends[place - 1] if place else 0))
        if unit.allowed is not None:
            row = int(unit.allowed.rows[row])
        vector, has = video_index.embedding(unit.ids(np.array([row]))[0])
        packed.append(vector)
        available.append(has)
    logits = np.where(np.array(available), 0.0, -np.inf)
    queries = Queries(np.array(packed)[:, None], logits[:, None], np.ones((len(packed), 1)))
    return queries, f"{len(packed):,} clips of the index itself"


def tune(directory: Path, given: tuple[Queries, str] | None = None) -> Measured | None:
    """Measure, and record it in the index; says so where the target is out of reach.

    Args:
        directory: of the index, whose settings have the target.
        given: queries, and what to call them; without, clips of the index.

    Returns:
        What was measured; None where every answer is exact anyway.
    """
    video_index = VideoIndex.open(directory)
    if video_index.proven:
        return None
    target = video_index.snapshot.settings.recall or DEFAULT
    queries, source = given or own_clips(video_index)
    if given is not None and len(queries) < FEW:
        say(f"warning: {source} are few to measure recall by; give --queries some hundreds")
    measured = video_index.tune(queries, target, source)
    with IndexWriter.open(directory) as writer:
        writer.set_recall(measured.to_dict(), None if given is None else queries)
    if measured.reached < target:
        say(
            f"warning: recall@10 is {measured.reached:.4f}, and {target:g} was asked for; --kind certified finds "
            "all, at a few times the cost"
        )
    return measured


def of_before(directory: Path) -> tuple[Queries, str] | None:
    """Held-out queries that an index was tuned with, if it was, and what they were called.

    Raises:
        InputError: there is no index, or it is damaged.
    """
    queries, recall = read_queries(directory), read_manifest(directory)[0].recall
    return None if queries is None or recall is None else (queries, str(recall["source"]))


def is_outdated(video_index: VideoIndex) -> bool:
    """Whether what is known of its recall, if anything, was measured on an index of another size."""
    if video_index.proven:
        return False
    measured = video_index.measured
    return measured is None or abs(len(video_index) - measured.clips) > GROWN * measured.clips


def _drawn(count: int) -> list[int]:
    """Some of so many, always the same, in their order."""
    generator = np.random.default_rng(0)
    return sorted(generator.choice(count, min(ENOUGH, count), replace=False).tolist())
