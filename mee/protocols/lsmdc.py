"""LSMDC: clips of films, one sentence each, under a licence; the files are the challenge's of 2016.

    LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv
        clip_id, start_aligned, end_aligned, start_extracted, end_extracted, sentence
    LSMDC16_multiple_choice_test_randomized.csv
        the same five fields, five sentences, and the right one's number, 1 to 5
    LSMDC16_multiple_choice_train.csv, …_valid.csv
        the same five fields, the right sentence, and four wrong ones

Tabs between fields, no header, quotes are letters like others. 101,079 / 7,408 / 1,000 rows, 10,053 of multiple
choice. Clip ids of the training file repeat, and five of its rows have no sentence, which are left out. Source of
the multiple choice's fields and counts: the README that the challenge ships with its files.

The video is `<film>/<clip_id>.avi`, the film being the id without its trailing time stamps.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mee.errors import InputError
from mee.protocols.files import AnnotationFiles, name_id, read_tab_rows
from mee.protocols.protocol import SENTENCES, Protocol, Reading, caption_table

if TYPE_CHECKING:
    import pandas as pd

_FOLDERS = ("lsmdc2016", "LSMDC")
_TIMES = 4  # fields between the clip id and the first sentence
_CLIP = re.compile(r"(?P<film>.+)_\d+(\.\d+)+-\d+(\.\d+)+")
_TRAIN = ("LSMDC16_annos_training.csv", "LSMDC16_multiple_choice_train.csv")
_VAL = ("LSMDC16_annos_val.csv", "LSMDC16_multiple_choice_valid.csv")
Row = tuple[str, str, str, str]


def read_retrieval(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """1,000 sentences among 1,000 clips."""
    files = AnnotationFiles(path, protocol, _FOLDERS)
    test_file = files.need("LSMDC16_challenge_1000_publictect.csv", alone=True)
    test = _rows(test_file, "test")
    rows, ids, counted, read = _training(files)
    return Reading(
        table=caption_table(test + rows),
        ids={"test": tuple(row[1] for row in test), **ids},
        files={"test": test_file, **read},
        counted=counted,
    )


def read_choices(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """10,053 clips with five sentences each; the caption of a row is the right one."""
    files = AnnotationFiles(path, protocol, _FOLDERS)
    test_file = files.need("LSMDC16_multiple_choice_test_randomized.csv", alone=True)
    choices = _choices(test_file)
    rows, ids, counted, read = _training(files)
    test = [
        (str(query), str(video), str(sentences[answer]), "test")
        for query, video, *sentences, answer in choices.itertuples(index=False)
    ]
    return Reading(
        table=caption_table(test + rows),
        ids={"test": tuple(dict.fromkeys(row[1] for row in test)), **ids},
        files={"test": test_file, **read},
        counted=counted,
        choices=choices,
    )


def _training(
    files: AnnotationFiles,
) -> tuple[list[Row], dict[str, tuple[str, ...]], dict[str, int], dict[str, Path]]:
    """Rows, videos, counts and files of training and validation, where they are there."""
    rows: list[Row] = []
    ids: dict[str, tuple[str, ...]] = {}
    counted: dict[str, int] = {}
    read: dict[str, Path] = {}
    for split, names in (("train", _TRAIN), ("val", _VAL)):
        found = files.find(*names)
        if found is not None:
            of_split = _rows(found, split)
            captioned = [row for row in of_split if row[2]]
            rows += captioned
            ids[split] = tuple(dict.fromkeys(row[1] for row in captioned))
            counted[split] = len(of_split)
            read[split] = found
    return rows, ids, counted, read


def _rows(path: Path, split: str) -> list[Row]:
    """query_id, video_id, sentence, split of each line; a clip's second sentence is called clip_id#2."""
    times: Counter[str] = Counter()
    rows = []
    for number, fields in read_tab_rows(path):
        if len(fields) not in (1 + _TIMES, 2 + _TIMES, 1 + _TIMES + len(SENTENCES)):
            raise InputError(_wrong_length(path, number, fields, "6: clip_id, four times, sentence"))
        sentence = fields[1 + _TIMES] if len(fields) > 1 + _TIMES else ""
        query, video = _names(path, number, fields[0], times)
        rows.append((query, video, sentence.strip(), split))
    return rows


def _choices(path: Path) -> pd.DataFrame:
    import pandas as pd

    times: Counter[str] = Counter()
    rows: list[tuple[str | int, ...]] = []
    for number, fields in read_tab_rows(path):
        if len(fields) != 2 + _TIMES + len(SENTENCES):
            raise InputError(
                _wrong_length(
                    path, number, fields, "11: clip_id, four times, five sentences, the right one's number"
                )
            )
        *sentences, answer = (text.strip() for text in fields[1 + _TIMES :])
        if answer not in {"1", "2", "3", "4", "5"}:
            raise InputError(
                f"{path}: line {number} has {name_id(answer)} for the right sentence, which is one of 1 to 5"
            )
        rows.append((*_names(path, number, fields[0], times), *sentences, int(answer) - 1))
    return pd.DataFrame(rows, columns=["query_id", "video_id", *SENTENCES, "answer"])


def _names(path: Path, number: int, text: str, times: Counter[str]) -> tuple[str, str]:
    """A line's query id and video id."""
    clip_id = text.strip()
    match = _CLIP.fullmatch(clip_id)
    if match is None:
        raise InputError(
            f"{path}: line {number} begins with {name_id(clip_id)}, which is no clip id such as "
            "0001_American_Beauty_00.00.51.926-00.00.54.129; give the file as it was shipped, without a header"
        )
    times[clip_id] += 1
    query = clip_id if times[clip_id] == 1 else f"{clip_id}#{times[clip_id]}"
    return query, f"{match['film']}/{clip_id}"


def _wrong_length(path: Path, number: int, fields: list[str], wanted: str) -> str:
    return (
        f"{path}: line {number} has {len(fields)} fields between tabs where there should be {wanted}; give the "
        "file as it was shipped"
    )
