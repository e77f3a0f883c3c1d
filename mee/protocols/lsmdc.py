"""LSMDC: clips of films, one sentence each, under a licence; the files are the challenge's of 2016.

    LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv
        clip_id, start_aligned, end_aligned, start_extracted, end_extracted, sentence
    LSMDC16_multiple_choice_test_randomized.csv
        the same five fields, five sentences, and the right one's number, 1 to 5
    LSMDC16_multiple_choice_train.csv, …_valid.csv
        the same five fields, the right sentence, and four wrong ones

Tabs between fields, no header (some copies have one), quotes are letters like others. 101,079 / 7,408 / 1,000
rows, 10,053 of multiple choice. Clip ids of the training file repeat, and five of its rows have no sentence, which
are left out. Source of the multiple choice's fields and counts: the README that comes with the challenge's files.

The video is `<clip_id>.avi`, as shipped in a folder of its film: the id without its trailing time stamps.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mee.errors import InputError, name_id
from mee.protocols.files import AnnotationFiles, read_tab_rows
from mee.protocols.protocol import SENTENCES, Protocol, Reading, Row, caption_table

if TYPE_CHECKING:
    import pandas as pd

_FOLDERS = ("lsmdc2016", "LSMDC")
_BEFORE = 5  # fields before the first sentence: the clip id and four times
_HEADER = ("clip_id", "video_id", "clip", "video", "id", "key", "name")
_ONE = ((_BEFORE, _BEFORE + 1, _BEFORE + len(SENTENCES)), "6: clip_id, four times, sentence")
_FIVE = ((_BEFORE + len(SENTENCES) + 1,), "11: clip_id, four times, five sentences, the right one's number")
_CLIP = re.compile(r".+_\d+(\.\d+)+-\d+(\.\d+)+")
_TEST = ("LSMDC16_challenge_1000_publictect.csv", "LSMDC16_challenge_1000_publictest.csv")  # as it is, and meant
_TRAINING = {
    "train": ("LSMDC16_annos_training.csv", "LSMDC16_multiple_choice_train.csv"),
    "val": ("LSMDC16_annos_val.csv", "LSMDC16_multiple_choice_valid.csv"),
}


def read_retrieval(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """1,000 sentences among 1,000 clips."""
    files = AnnotationFiles(path, protocol, _FOLDERS)
    rows = _rows(files.need(*_TEST, role="test", alone=True), "test")
    return _reading(files, rows, tuple(row[1] for row in rows))


def read_choices(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """10,053 clips with five sentences each; the caption of a row is the right one."""
    files = AnnotationFiles(path, protocol, _FOLDERS)
    choices = _choices(files.need("LSMDC16_multiple_choice_test_randomized.csv", role="test", alone=True))
    rows = [
        (str(query), str(video), str(sentences[answer]), "test")
        for query, video, *sentences, answer in choices.itertuples(index=False)
    ]
    return _reading(files, rows, tuple(dict.fromkeys(row[1] for row in rows)), choices)


def _reading(
    files: AnnotationFiles, rows: list[Row], test: tuple[str, ...], choices: pd.DataFrame | None = None
) -> Reading:
    """With training and validation rows, where their files exist."""
    ids, counted = {"test": test}, {}
    for split, names in _TRAINING.items():
        if found := files.find(*names, role=split):
            of_split = _rows(found, split)
            captioned = [row for row in of_split if row[2]]
            rows = [*rows, *captioned]
            ids[split] = tuple(dict.fromkeys(row[1] for row in captioned))
            counted[split] = len(of_split)
    return Reading(table=caption_table(rows), ids=ids, files=files.read, counted=counted, choices=choices)


def _rows(path: Path, split: str) -> list[Row]:
    return [
        (query, video, fields[_BEFORE].strip() if len(fields) > _BEFORE else "", split)
        for _, query, video, fields in _lines(path, *_ONE)
    ]


def _choices(path: Path) -> pd.DataFrame:
    import pandas as pd

    rows: list[tuple[str | int, ...]] = []
    for number, query, video, fields in _lines(path, *_FIVE):
        *sentences, answer = map(str.strip, fields[_BEFORE:])
        if answer not in {"1", "2", "3", "4", "5"}:
            raise InputError(
                f"{path}: line {number} has {name_id(answer)} for the right sentence, which is one of 1 to 5"
            )
        rows.append((query, video, *sentences, int(answer) - 1))
    return pd.DataFrame(rows, columns=["query_id", "video_id", *SENTENCES, "answer"])


def _lines(path: Path, lengths: tuple[int, ...], wanted: str) -> Iterator[tuple[int, str, str, list[str]]]:
    """Number, query id, video id and fields of each line; a clip's second sentence is called clip_id#2."""
    times: Counter[str] = Counter()
    for number, fields in read_tab_rows(path):
        if len(fields) not in lengths:
            raise InputError(
                f"{path}: line {number} has {len(fields)} fields between tabs where there should be {wanted}; "
                "give the file as it was shipped"
            )
        clip_id = fields[0].strip()
        if number == 1 and clip_id.lower().lstrip("#") in _HEADER:
            continue
        if not _CLIP.fullmatch(clip_id):
            raise InputError(
                f"{path}: line {number} begins with {name_id(clip_id)}, which is no clip id such as "
                "0001_American_Beauty_00.00.51.926-00.00.54.129; give the file as it was shipped"
            )
        times[clip_id] += 1
        query = clip_id if times[clip_id] == 1 else f"{clip_id}#{times[clip_id]}"
        yield number, query, clip_id, fields
