"""Captions to train on: your own table, or the annotation files of a public benchmark.

    folder             your own table: video_id, caption[, split][, query_id]   (mee.data.tables)
    a named protocol   its annotation files, as published                       (mee.protocols.table)

    judgments          the right videos of your own queries, any number of each, in a file apart from the captions:
                       query_id 0 video_id grade   of TREC (qrels), between blanks or tabs
                       query_id video_id grade     of BEIR, perhaps with a header

To train, a table without a split, and a protocol without a validation split, have videos held out by seed. To
evaluate (`read_folder`), a table without a split is all test, and captions without an id are called 1, 2, …; rows
with the same query_id and caption are one query with several right videos. A video of grade 1 or more is right; of
0 or less it is wrong, and is ranked with the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mee.data import SPLITS, meet, read_captions, read_text
from mee.errors import InputError, count, name_id, name_ids
from mee.protocols.files import AnnotationFiles
from mee.protocols.protocol import COLUMNS, FOLDER, Benchmark, Protocol, Reading, file_stamp
from mee.protocols.table import find_protocol, load_benchmark

if TYPE_CHECKING:
    import pandas as pd

Grades = dict[str, dict[str, int]]  # query -> video -> grade
Names = tuple[str, ...]
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


def read_judgments(path: Path) -> Grades:
    """The grades of a file.

    Raises:
        InputError: a line is no judgment, or judges a video a second time.
    """
    found: Grades = {}
    for number, line in enumerate(read_text(path, "file of judgments").split("\n"), 1):
        fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split())]
        if not any(fields) or (number == 1 and fields[-1].lower() in ("score", "grade", "relevance")):
            continue
        if len(fields) not in (3, 4) or not re.fullmatch(r"-?\d{1,9}", fields[-1]):
            wanted = "query_id 0 video_id grade, the grade a whole number; put tabs between fields with blanks"
            raise InputError(f"{path}: line {number} is no judgment: {wanted}")
        grades = found.setdefault(fields[0], {})
        if fields[-2] in grades:
            again = f"judges {name_id(fields[-2])} for query {name_id(fields[0])} a second time"
            raise InputError(f"{path}: line {number} {again}; keep one of the lines")
        grades[fields[-2]] = int(fields[-1])
    return found


def judged(table: pd.DataFrame, path: Path, captions: str) -> tuple[pd.DataFrame, Names, Names]:
    """Give each test query a row for each of its right videos; without splits, all are of test.

    Returns:
        The table; the videos to rank: those of the test rows, and all that were judged; and what falls short.

    Raises:
        InputError: a judged query is not among the captions.
    """
    import pandas as pd

    grades = read_judgments(path)
    if unknown := sorted(grades.keys() - set(table["query_id"])):
        raise InputError(f"{path} judges {name_ids(unknown)}, which {captions} has no caption of; add them")
    table = table if "split" in table else table.assign(split="test")
    is_test = table["split"] == "test"
    test = table[is_test].drop_duplicates(["query_id", "caption"])
    own = table.loc[is_test, "video_id"].tolist() if "video_id" in table else []
    called = meet((video for its in grades.values() for video in its), own, str(path))
    named = {query: {called.get(video, video): it for video, it in its.items()} for query, its in grades.items()}
    of_query = [named.get(query, {}) for query in test["query_id"]]
    right = [[video for video, grade in its.items() if grade > 0] for its in of_query]
    without = [query for query, videos in zip(test["query_id"], right) if not videos]
    short = [f"{count(len(without), 'test query')} without a right video: {name_ids(without)}"] if without else []
    gallery = dict.fromkeys([*own, *(video for its in of_query for video in its)])
    rows = test.assign(video_id=pd.Series(right, test.index, dtype=object)).explode("video_id")
    rows = rows.dropna(subset="video_id").astype({"video_id": "string"})
    return pd.concat([table[~is_test], rows], ignore_index=True), tuple(gallery), tuple(short)
