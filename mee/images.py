"""Still images with captions: clips that only have their appearance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mee.data import FeatureSource
from mee.errors import InputError
from mee.pairs import Pairs, match_captions

if TYPE_CHECKING:
    import pandas as pd


def image_pairs(table: pd.DataFrame, source: FeatureSource, *, partial: bool) -> Pairs:
    """Training captions of images: those of split train, where the table names splits.

    Args:
        table: columns video_id and caption, and perhaps split; video_id is the image.
        source: where the images' appearance is.
        partial: leave out captions whose image is not in the source.

    Raises:
        InputError: captions do not match the source, or none is for training.
    """
    if "split" in table:
        table = table[table["split"] == "train"]
    if not len(table):
        raise InputError("no caption of the images has split 'train'")
    return match_captions(table, source, partial=partial)[0]
