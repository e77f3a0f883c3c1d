"""MSR-VTT: 10,000 videos, `video0` to `video9999`, 20 captions each; three ways to divide them.

    msrvtt-full   by number: train 0-6512, validation 6513-7009, test 7010-9999; every caption is a query
    msrvtt-1ka    the test of MSRVTT_JSFUSION_test.csv, key, vid_key, video_id, sentence: its sentence is the query
    msrvtt-1kb    the test that test_list_miech.txt lists; the first caption of each video is the query

A query's id is its `sen_id`, and for 1k-A its `key`.
"""

from __future__ import annotations

from pathlib import Path

from mee.protocols.annotation_files import AnnotationFiles
from mee.protocols.annotation_text import read_csv
from mee.protocols.msrvtt_captions import MsrvttCaptions, check_ids, find_captions
from mee.protocols.msrvtt_lists import (
    FILES,
    FOLDERS,
    FULL,
    TEST_1KA,
    find_list,
    read_list,
    refuse_foreign_list,
)
from mee.protocols.protocol import Protocol
from mee.protocols.reading import Reading, caption_table


def read_full(protocol: Protocol, path: Path, train_list: str | None) -> Reading:
    """The full test."""
    files = AnnotationFiles(path, protocol, FOLDERS)
    refuse_foreign_list(files, train_list, FULL["test"])
    captions = _needed_captions(files, alone=True)
    ids = {}
    for split, names in FULL.items():
        known = set(names)
        ids[split] = tuple(video for video in captions.videos if video in known)
        if not ids[split] and split != "test":  # test_videodatainfo.json has the test only
            del ids[split]
    rows = [row for split, names in ids.items() for row in captions.of(names, split)]
    return Reading(table=caption_table(rows), ids=ids, files=captions.files, expected=FULL)


def read_1ka(protocol: Protocol, path: Path, train_list: str | None) -> Reading:
    """The test of 1,000 fixed captions; training videos, and their captions where a file has them."""
    files = AnnotationFiles(path, protocol, FOLDERS)
    test_file = files.need(TEST_1KA, alone=True)
    queries = read_csv(test_file, ("key", "video_id", "sentence"))
    ids = {"test": tuple(query["video_id"] for query in queries)}
    check_ids(ids["test"], test_file)
    refuse_foreign_list(files, train_list, ids["test"])
    captions = find_captions(files, alone=False)
    read = {"test": test_file, **captions.files}
    name = train_list if train_list in FILES and train_list is not None else next(iter(protocol.train))
    train = find_list(files, name, ids["test"])
    if train is None and name == train_list:
        train = read_list(files.need(*FILES[name]))
    if train is not None:
        ids["train"] = train.videos
        if train.path is not None:
            read[f"train list {name}"] = train.path
    rows = [(query["key"], query["video_id"], query["sentence"], "test") for query in queries]
    rows += captions.of(ids.get("train", ()), "train")
    return Reading(table=caption_table(rows), ids=ids, files=read)


def read_1kb(protocol: Protocol, path: Path, train_list: str | None) -> Reading:
    """The test of 1,000 first captions."""
    files = AnnotationFiles(path, protocol, FOLDERS)
    test_file = files.need("test_list_miech.txt")
    ids = {"test": read_list(test_file).videos}
    refuse_foreign_list(files, train_list, ids["test"])
    captions = _needed_captions(files, alone=False)
    read = {"test list": test_file, **captions.files}
    train = find_list(files, "1kb", ())
    if train is not None and train.path is not None:
        ids["train"] = train.videos
        read["train list"] = train.path
    rows = captions.first_of(ids["test"], "test") + captions.of(ids.get("train", ()), "train")
    return Reading(table=caption_table(rows), ids=ids, files=read)


def _needed_captions(files: AnnotationFiles, *, alone: bool) -> MsrvttCaptions:
    captions = find_captions(files, alone=alone)
    if not captions.files:
        files.need("MSRVTT_data.json", "MSR_VTT.json", "test_videodatainfo.json")
    return captions
