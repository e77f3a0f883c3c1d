"""Captions to train on: your own table, or the annotation files of a public benchmark.

    folder             your own table: video_id, caption[, split][, query_id]   (mee.data.tables)
    a named protocol   its annotation files, as published                       (mee.protocols.table)

To train, a table without a split, and a protocol without a validation split, have videos held out by seed. To
evaluate (`read_folder`), a table without a split is all test, and captions without an id are called 1, 2, …
"""

from __future__ import annotations

from pathlib import Path

from mee.data import SPLITS, read_captions
from mee.errors import InputError
from mee.protocols.files import AnnotationFiles
from mee.protocols.protocol import COLUMNS, FOLDER, Benchmark, Protocol, Reading, file_stamp
from mee.protocols.table import find_protocol, load_benchmark

HELD_OUT = 1000  # training videos held out for validation where a named protocol has no such split


def read_annotations(
    path: Path, *, protocol: str = FOLDER, train_list: str | None = None, partial: bool = False
) -> Benchmark:
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
            own = "your own table says in its column 'split' what is trained on"
            raise InputError(f"--train-list {train_list} goes with --protocol NAME: {own}")
        if path.is_dir():
            advice = "name the caption table in it, or with --protocol the benchmark whose files it holds"
            raise InputError(f"'{path}' is a directory; {advice}")
        table, files = read_captions(path), {"captions": file_stamp(path)}
        return Benchmark(protocol=find_protocol(FOLDER), train_list=None, table=table, files=files)
    benchmark = load_benchmark(protocol, path, train_list=train_list, partial=partial)
    if not (benchmark.table["split"] == "train").any():
        needed = f"training needs all of its files: {benchmark.protocol.files}"
        raise InputError(f"'{path}' holds no training captions of {benchmark.protocol.name}; {needed}")
    return benchmark


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
