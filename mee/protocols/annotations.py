"""Captions to train on: your own table, or the annotation files of a public benchmark.

    folder             your own table: video_id, caption[, split][, query_id]   (mee.data.tables)
    a named protocol   its annotation files, as published                       (mee.protocols.table)

To train, a table without a split, and a protocol without a validation split, have videos held out by seed. To
evaluate (`read_folder`), a table without a split is all test, and captions without an id are called 1, 2, …
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mee.data import SPLITS, read_captions
from mee.errors import InputError
from mee.protocols.files import AnnotationFiles
from mee.protocols.protocol import COLUMNS, FOLDER, Protocol, Reading
from mee.protocols.table import load_benchmark

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT = 1000  # training videos held out for validation where a named protocol has no such split


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Captions, and what training.json records of them."""

    table: pd.DataFrame  # video_id, caption and perhaps split; a row a caption
    protocol: str = FOLDER
    train_list: str | None = None  # which of the protocol's training lists
    files: Mapping[str, str] = field(default_factory=dict)  # what was read: role -> name and SHA-256
    gallery: tuple[str, ...] = ()  # a benchmark's test videos, captioned or not
    shortfalls: tuple[str, ...] = ()  # how they fall short of the protocol, a sentence each

    @property
    def is_named(self) -> bool:
        """Whether they are of a public benchmark, whose splits are what they are."""
        return self.protocol != FOLDER

    @property
    def measured_ids(self) -> set[str]:
        """A benchmark's own ids of its validation and test videos, which mean the same in every store."""
        if not self.is_named:
            return set()
        return {*self.table.loc[self.table["split"] != "train", "video_id"], *self.gallery}


def read_annotations(
    path: Path, *, protocol: str = FOLDER, train_list: str | None = None, partial: bool = False
) -> Annotations:
    """Read captions to train on.

    Args:
        path: a caption table; of a named protocol, the directory with its files, or the one that suffices.
        protocol: its name.
        train_list: one of the protocol's training lists; None takes its usual one.
        partial: go on where the files fall short of the protocol.

    Raises:
        InputError: the files cannot be used, are not the protocol's, or hold nothing to train on.
    """
    if protocol == FOLDER:
        if train_list is not None:
            raise InputError(
                f"--train-list {train_list} goes with --protocol NAME: your own table says in its column 'split' "
                "what is trained on"
            )
        if path.is_dir():
            raise InputError(
                f"'{path}' is a directory; name the caption table in it, or with --protocol the benchmark whose "
                "files it holds"
            )
        return Annotations(table=read_captions(path), files={"captions": file_stamp(path)})
    benchmark = load_benchmark(protocol, path, train_list=train_list, partial=partial)
    if not (benchmark.table["split"] == "train").any():
        raise InputError(
            f"'{path}' holds no training captions of {benchmark.protocol.name}; training needs all of its files: "
            f"{benchmark.protocol.files}"
        )
    return Annotations(
        table=benchmark.table,
        protocol=benchmark.protocol.name,
        train_list=benchmark.train_list,
        files={role: file_stamp(file) for role, file in benchmark.files.items()},
        gallery=benchmark.gallery,
        shortfalls=benchmark.shortfalls,
    )


def read_folder(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """The reader of `folder`: the captions of your own table, as a benchmark."""
    if path.is_dir():
        path = AnnotationFiles(path, protocol).need("captions.csv", "captions.parquet", "captions.jsonl")
    table = read_captions(path)
    if "query_id" not in table:
        table = table.assign(query_id=[str(number) for number in range(1, len(table) + 1)])
    table = table.astype({"query_id": "string"})[[column for column in COLUMNS if column in table]]
    if "split" in table:
        of_split = {split: tuple(table["video_id"][table["split"] == split].unique()) for split in SPLITS}
        ids = {split: videos for split, videos in of_split.items() if videos}
    else:
        ids = {"test": tuple(table["video_id"].unique())}
    return Reading(table=table, ids=ids, files={"captions": path})


def file_stamp(path: Path) -> str:
    """A file's name and the SHA-256 of its content: "captions.csv sha256:…"."""
    with path.open("rb") as file:
        return f"{path.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
