"""Captions to train on: your own table, or the annotation files of a public benchmark.

    folder             your own table: video_id, caption[, split][, query_id]   (mee.data.tables)
    a named protocol   its annotation files, as published                       (mee.protocols.table)

To train, a table without a split, and a protocol without a validation split, have videos held out by seed. To
evaluate (`read_folder`), a table without a split is all test, and captions without an id are called 1, 2, …; rows
with the same query_id and caption are one query with several right videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mee.data import SPLITS, read_captions
from mee.errors import InputError
from mee.protocols.files import AnnotationFiles
from mee.protocols.judgments import judged
from mee.protocols.protocol import COLUMNS, FOLDER, Benchmark, Protocol, Reading, file_stamp
from mee.protocols.table import find_protocol, load_benchmark

HELD_OUT = 1000  # training videos held out for validation where a named protocol has no such split


def read_annotations(
    path: Path,
    *,
    protocol: str = FOLDER,
    train_list: str | None = None,
    partial: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Benchmark:
    """Read captions to train on.

    Args:
        path: a caption table; of a named protocol, the directory with its files, or the one that suffices.
        protocol: its name.
        train_list: one of the protocol's training lists; None takes its usual one.
        partial: go on where the files fall short of the protocol.
        columns: of your own table: its names of our columns, where it has others.

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
        table, files = read_captions(path, columns), {"captions": file_stamp(path)}
        return Benchmark(protocol=find_protocol(FOLDER), train_list=None, table=table, files=files)
    benchmark = load_benchmark(protocol, path, train_list=train_list, partial=partial, columns=columns)
    if not (benchmark.table["split"] == "train").any():
        needed = f"training needs all of its files: {benchmark.protocol.files}"
        raise InputError(f"'{path}' holds no training captions of {benchmark.protocol.name}; {needed}")
    return benchmark


def read_folder(
    protocol: Protocol,
    path: Path,
    _: str | None,
    columns: Mapping[str, str] | None = None,
    judgments: Path | None = None,
) -> Reading:
    """The reader of `folder`: the captions of your own table, as a benchmark."""
    if path.is_dir():
        endings = ("csv", "tsv", "parquet", "json", "jsonl")
        path = AnnotationFiles(path, protocol).need(*(f"captions.{ending}" for ending in endings))
    table = read_captions(path, columns, judged=judgments is not None)
    files, short, test = {"captions": path}, tuple[str, ...](), tuple[str, ...]()
    if judgments is not None:
        table, test, short = judged(table, judgments, str(path))
        files["judgments"] = judgments
    if "query_id" not in table:
        table = table.assign(query_id=[str(number) for number in range(1, len(table) + 1)])
    table = table.astype({"query_id": "string"})[[column for column in COLUMNS if column in table]]
    of_split = table.assign(split="test") if "split" not in table else table
    ids = {split: tuple(of_split["video_id"][of_split["split"] == split].unique()) for split in SPLITS}
    ids |= {"test": test or ids["test"]}
    ids = {split: videos for split, videos in ids.items() if videos}
    return Reading(table=table, ids=ids, files=files, short=short)
