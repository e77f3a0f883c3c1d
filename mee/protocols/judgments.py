"""Judgments: the right videos of each query, any number of them, apart from the captions.

    query_id 0 video_id grade       qrels of TREC, between blanks or tabs
    query_id video_id grade         the same of BEIR, perhaps with a header

A video of grade 1 or more is right; of grade 0 or less it was judged and is wrong, and is ranked with the others.
Queries of the captions that are not of split test keep the videos of their rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mee.data import meet, read_text
from mee.errors import InputError, count, name_id, name_ids

if TYPE_CHECKING:
    import pandas as pd

Grades = dict[str, dict[str, int]]  # query -> video -> grade
Names = tuple[str, ...]


def read_judgments(path: Path) -> Grades:
    """The grades of a file.

    Raises:
        InputError: a line is no judgment, or judges a video a second time.
    """
    found: Grades = {}
    for number, line in enumerate(read_text(path, "file of judgments").split("\n"), 1):
        fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split())]
        if not any(fields) or (number == 1 and len(fields) == 3 and fields[2].isalpha()):
            continue
        if len(fields) not in (3, 4) or not fields[-1].removeprefix("-").isdecimal():
            wanted = "query_id 0 video_id grade, the grade a whole number; put tabs between fields with blanks"
            raise InputError(f"{path}: line {number} is no judgment: {wanted}")
        grades = found.setdefault(fields[0], {})
        if fields[-2] in grades:
            again = f"judges {name_id(fields[-2])} for query {name_id(fields[0])} a second time"
            raise InputError(f"{path}: line {number} {again}; keep one of the lines")
        grades[fields[-2]] = int(fields[-1])
    return found


def judged(table: pd.DataFrame, path: Path, captions: str) -> tuple[pd.DataFrame, Names, Names]:
    """Give each test query a row for each of its right videos.

    Returns:
        The table; the videos to rank: those of the test rows, and all that were judged; and what falls short.

    Raises:
        InputError: a judged query is not among the captions.
    """
    import pandas as pd

    grades = read_judgments(path)
    if unknown := [query for query in grades if query not in set(table["query_id"])]:
        raise InputError(f"{path} judges {name_ids(unknown)}, which {captions} has no caption of; add them")
    is_test = table["split"] == "test" if "split" in table else pd.Series(True, table.index)
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
