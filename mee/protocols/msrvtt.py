"""MSR-VTT: 10,000 videos, `video0` to `video9999`, 20 captions each; three ways to divide them.

    msrvtt-full   by number: train 0-6512, validation 6513-7009, test 7010-9999; every caption is a query
    msrvtt-1ka    the test of MSRVTT_JSFUSION_test.csv, key, vid_key, video_id, sentence: its sentence is the query
    msrvtt-1kb    the test that test_list_miech.txt lists; the first caption of each video is the query

A query's id is its `sen_id`, and for 1k-A its `key`. Training lists (a file takes precedence over a rule):

    name   of           videos   file                     follows from
    9k     msrvtt-1ka   9,000    MSRVTT_train.9k.csv      all but the 1,000 of the 1k-A test
    7k     msrvtt-1ka   7,010    MSRVTT_train.7k.csv      full train and validation
    1kb    msrvtt-1kb   6,656    train_list_miech.txt     -

Captions circulate in three shapes, whose column `split` is not read: some copies mark every video `train`. Where
two files number their sentences alike, the ids are `video7010:5`.

    MSRVTT_data.json, MSRVTT_v2.json               {videos[]: video_id, …; sentences[]: sen_id, video_id, caption}
    train_val_videodatainfo.json and test_…        the same, in two files
    MSR_VTT.json                                   {annotations[]: image_id, caption[, id]}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mee.data import read_table
from mee.errors import InputError, name_id
from mee.protocols.files import AnnotationFiles, entry, identifier, read_ids, read_json
from mee.protocols.protocol import Protocol, Reading, Row, caption_table, refuse_overlap

VIDEOS = 10_000
FULL: Mapping[str, tuple[str, ...]] = {
    "train": tuple(f"video{number}" for number in range(6_513)),
    "val": tuple(f"video{number}" for number in range(6_513, 7_010)),
    "test": tuple(f"video{number}" for number in range(7_010, VIDEOS)),
}
FOLDERS = ("msrvtt_data", "high-quality/structured-symlinks", "train_val_annotation", "test_annotation")
TEST_1KA = "MSRVTT_JSFUSION_test.csv"
FILES = {
    "9k": ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt", "train_list_9k.txt"),
    "7k": ("MSRVTT_train.7k.csv", "train_list_7k.txt"),
    "1kb": ("train_list_miech.txt",),
}
_ID = re.compile(r"video(0|[1-9]\d{0,3})")
Sentence = tuple[str, str, str]  # query_id, video_id, caption


def read_full(protocol: Protocol, path: Path, train_list: str | None) -> Reading:
    """The full test."""
    files = AnnotationFiles(path, protocol, FOLDERS)
    _refuse_foreign_list(files, train_list, FULL["test"])
    sentences, videos = _captions(files, alone=True)
    ids = {split: tuple(filter(set(names).__contains__, videos)) for split, names in FULL.items()}
    ids = {split: names for split, names in ids.items() if names or split == "test"}  # a file may be of it only
    rows = [row for split, names in ids.items() for row in _of(sentences, names, split)]
    return Reading(table=caption_table(rows), ids=ids, files=files.read, expected=FULL)


def read_1ka(protocol: Protocol, path: Path, train_list: str | None) -> Reading:
    """The test of 1,000 fixed captions; training videos, and their captions where a file has them."""
    files = AnnotationFiles(path, protocol, FOLDERS)
    test_file = files.need(TEST_1KA, role="test", alone=True)
    queries = read_table(test_file, ("key", "video_id", "sentence"))
    ids = {"test": _checked(queries["video_id"], test_file)}
    _refuse_foreign_list(files, train_list, ids["test"])
    sentences, _ = _captions(files, needed=False)
    name = train_list if train_list in FILES and train_list is not None else next(iter(protocol.train))
    train = find_list(files, name, ids["test"], role=f"train list {name}")
    if train is None and name == train_list:
        files.need(*FILES[name])
    if train is not None:
        ids["train"] = train
    rows = [(key, video, sentence, "test") for key, video, sentence in queries.itertuples(index=False)]
    rows += _of(sentences, ids.get("train", ()), "train")
    return Reading(table=caption_table(rows), ids=ids, files=files.read)


def read_1kb(protocol: Protocol, path: Path, train_list: str | None) -> Reading:
    """The test of 1,000 first captions."""
    files = AnnotationFiles(path, protocol, FOLDERS)
    test_file = files.need("test_list_miech.txt", role="test list")
    ids = {"test": _checked(read_ids(test_file), test_file)}
    _refuse_foreign_list(files, train_list, ids["test"])
    sentences, _ = _captions(files)
    if train := find_list(files, "1kb", (), role="train list"):
        ids["train"] = train
    first: dict[str, Sentence] = {}
    for sentence in sentences:
        first.setdefault(sentence[1], sentence)
    rows = [(*first[video], "test") for video in ids["test"] if video in first]
    rows += _of(sentences, ids.get("train", ()), "train")
    return Reading(table=caption_table(rows), ids=ids, files=files.read)


def find_list(files: AnnotationFiles, name: str, tests: Sequence[str], role: str = "") -> tuple[str, ...] | None:
    """The videos of a training list (a key of FILES), from its file or by its rule; None if neither is available.

    `tests` are the known videos of the 1k-A test; `role` is what the file is recorded as.
    """
    path = files.find(*FILES[name], role=role)
    if path is not None:
        return _checked(read_ids(path), path)
    if name == "7k":
        return FULL["train"] + FULL["val"]
    test = set(tests)
    if name == "9k" and len(test) == 1_000:  # the rest of an incomplete test must not be trained on
        return tuple(video for part in FULL.values() for video in part if video not in test)
    return None


def _refuse_foreign_list(files: AnnotationFiles, name: str | None, test: Sequence[str]) -> None:
    """Refuse a training list of another protocol that has videos of this one's test."""
    if name not in FILES or name in files.protocol.train:
        return
    test_file = files.find(TEST_1KA)
    test_1ka = read_table(test_file, ("video_id",))["video_id"].tolist() if test_file else []
    found = find_list(files, name, test_1ka)
    if found is None:
        files.need(*FILES[name])  # raises
        return
    called = f"the {len(found):,} videos of training list '{name}'"
    refuse_overlap(called, found, f"{files.protocol.name} test", test, files.path)


def _checked(ids: Iterable[str], path: Path) -> tuple[str, ...]:
    """The same, all of which must be videos of MSR-VTT."""
    ids = tuple(ids)
    for name in ids:
        if not _ID.fullmatch(name):
            raise InputError(
                f"{path} names {name_id(name)}, but the videos of MSR-VTT are video0 to video{VIDEOS - 1}; fetch "
                "it again"
            )
    return ids


def _of(sentences: Sequence[Sentence], videos: Iterable[str], split: str) -> list[Row]:
    """The captions of some videos, as rows of a split, in the files' order."""
    wanted = set(videos)
    return [(*sentence, split) for sentence in sentences if sentence[1] in wanted]


def _captions(
    files: AnnotationFiles, *, alone: bool = False, needed: bool = True
) -> tuple[list[Sentence], list[str]]:
    """Every sentence and every video of whichever files there are; ``alone``: one suffices for the protocol."""
    paths = [files.find("MSRVTT_data.json", "MSRVTT_v2.json", "MSR_VTT.json", role="captions", alone=alone)]
    if paths == [None]:
        parts = {"train": "train_val_videodatainfo.json", "test": "test_videodatainfo.json"}
        paths = [files.find(name, role=f"captions, {part}") for part, name in parts.items()]
    if needed and not any(paths):
        files.need("MSRVTT_data.json", "MSR_VTT.json", "test_videodatainfo.json")  # raises
    sentences: list[Sentence] = []
    videos: dict[str, None] = {}
    for path in filter(None, paths):
        content = read_json(path)
        keys = set(content) if isinstance(content, dict) else set()
        if "sentences" in keys:
            found = _sentences(content, path, "sentences", "sen_id", "video_id")
        elif "annotations" in keys:
            found = _sentences(content, path, "annotations", "id", "image_id")
        else:
            raise InputError(
                f"{path} has neither 'sentences' nor 'annotations', so it is no caption file of MSR-VTT"
            )
        listed = entry(content, "videos", list, str(path)) if "videos" in keys else []
        named = [identifier(video, "video_id", f"{path}: videos[{place}]") for place, video in enumerate(listed)]
        videos |= dict.fromkeys(_checked(named + [video for _, video, _ in found], path))
        sentences += found
    if all(paths) and len(paths) > 1 and len({key for key, _, _ in sentences}) < len(sentences):
        sentences = [(f"{video}:{key}", video, caption) for key, video, caption in sentences]
    return sentences, list(videos)


def _sentences(content: Any, path: Path, key: str, own_id: str, video_id: str) -> list[Sentence]:
    rows = []
    for number, record in enumerate(entry(content, key, list, str(path))):
        place = f"{path}: {key}[{number}]"
        named = isinstance(record, dict) and own_id in record
        query = identifier(record, own_id, place) if named else str(number)
        rows.append((query, identifier(record, video_id, place), entry(record, "caption", str, place)))
    return rows
