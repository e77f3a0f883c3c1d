"""Constants of QB-Norm or NNN for every clip of an index, from captions that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from index.bank import Given, nnn_constants, qb_norm_constants
from index.queries import Queries
from index.searcher import Searcher
from index.storage.writer import IndexWriter
from mee.errors import InputError
from mee.evaluation.evaluate import encode_captions
from mee.evaluation.normalisation import NormaliseConfig
from scripts.console import counting_bar
from scripts.index_recall import TABLES, of_before, sentences_of, tune

if TYPE_CHECKING:
    from mee.evaluation.result import Normalisation


def normalise(
    directory: Path, bank: Path, config: NormaliseConfig, *, device: torch.device, model: Path | None = None
) -> Normalisation:
    """Compute them, and put them in the place of those that the index carries.

    Args:
        directory: of the index.
        bank: captions of training: a caption table, of which split train counts where there are splits, or one a
            line.
        config: of method qb-norm or nnn.
        device: where captions are encoded.
        model: if it was moved since the index was made.

    Returns:
        What was done, as the index and results have it.

    Raises:
        InputError: index, model or bank cannot be used, or there is nothing in the index.
    """
    searcher = Searcher.load(directory, device=device, model=model)
    video_index = searcher.video_index
    if not len(video_index):
        raise InputError(f"'{directory}' has no clip that could carry a constant")
    sentences = _training(bank)
    captions = Queries.of(encode_captions(searcher.model, sentences))
    if config.method == "nnn":
        given: Given = nnn_constants(video_index, captions, config.neighbours, config.alpha)
    else:
        given = qb_norm_constants(video_index, captions, config.beta)
    if not np.isfinite(np.array([constant for constant, _ in given.values()], np.float32)).all():
        raise InputError("the constants are larger than numbers can be; take a smaller --alpha")
    facts = config.facts(f"{len(sentences):,} captions of {bank.name}", len(sentences))
    _write(directory, given, facts.model_dump(mode="json"))
    return facts


def _training(path: Path) -> list[str]:
    """Each caption once."""
    if path.suffix.lower() not in TABLES:
        return sentences_of(path)
    from mee.data.tables import read_captions

    table = read_captions(path)
    if "split" in table:
        table = table[table["split"] == "train"]
        if not len(table):
            raise InputError(f"{path} has no captions of split 'train'; a bank is made of training captions")
    return list(dict.fromkeys(table["caption"]))


def _write(directory: Path, given: Given, facts: Mapping[str, Any]) -> None:
    asked = of_before(directory)
    with IndexWriter.open(directory) as writer, counting_bar("constants", "clips") as on_compacted:
        try:
            writer.compact(constants=given, facts=facts, progress=on_compacted)
        except ValueError as error:  # somebody put a clip meanwhile
            raise InputError(f"'{directory}' was written meanwhile ({error}); run the command again") from error
    tune(directory, asked)
