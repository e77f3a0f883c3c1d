"""MSR-VTT: 10,000 videos, `video0` to `video9999`, 20 captions each; three ways to divide them.

    msrvtt-full   by number: train 0-6512, validation 6513-7009, test 7010-9999; every caption is a query
    msrvtt-1ka    the test of MSRVTT_JSFUSION_test.csv, key, vid_key, video_id, sentence: its sentence is the query
    msrvtt-1kb    the test that test_list_miech.txt lists; the first caption of each video is the query

A query's id is its `sen_id`, and for 1k-A its `key`.

The caption files of MSR-VTT, in the three shapes that circulate.

    MSRVTT_data.json                               {videos[]: video_id, …; sentences[]: sen_id, video_id, caption}
    train_val_videodatainfo.json and test_…        the same, in two files
    MSR_VTT.json                                   {annotations[]: image_id, caption[, id]}

The column `split` of videos[] is not read: some copies mark every video `train`. Ids of sentences are those of the
files; where two files number their sentences alike, the ids are `video7010:5`.

The training lists of MSR-VTT's protocols.

    name   of           videos   file                     follows from
    9k     msrvtt-1ka   9,000    MSRVTT_train.9k.csv      all but the 1,000 of the 1k-A test
    7k     msrvtt-1ka   7,010    MSRVTT_train.7k.csv      full train and validation
    1kb    msrvtt-1kb   6,656    train_list_miech.txt     -

Where a list follows from a rule, its file is read if it is there and not missed if it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mee.errors import InputError
from mee.protocols.check import refuse_overlap
from mee.protocols.files import AnnotationFiles, entry, identifier, name_id, read_csv, read_ids, read_json
from mee.protocols.protocol import Protocol, Reading, caption_table

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


@dataclass(frozen=True)
class VideoList:
    """The videos of a list, and the file that they were read from, if it was one."""

    videos: tuple[str, ...]
    path: Path | None


def read_list(path: Path) -> VideoList:
    """A list from its file.

    Raises:
        InputError: it cannot be used, or names what is no video of MSR-VTT.
    """
    videos = read_ids(path)
    check_ids(videos, path)
    return VideoList(videos, path)


def find_list(files: AnnotationFiles, name: str, test_1ka: Sequence[str]) -> VideoList | None:
    """A training list, from its file or by its rule; None where neither is to be had.

    Args:
        files: where its file may be.
        name: a key of FILES.
        test_1ka: the videos of the 1k-A test, as far as they are known.

    Raises:
        InputError: its file cannot be used.
    """
    path = files.find(*FILES[name])
    if path is not None:
        return read_list(path)
    if name == "7k":
        return VideoList(FULL["train"] + FULL["val"], None)
    test = set(test_1ka)
    if name == "9k" and len(test) == 1_000:  # what an incomplete test leaves over must not be trained on
        return VideoList(tuple(video for part in FULL.values() for video in part if video not in test), None)
    return None


def refuse_foreign_list(files: AnnotationFiles, name: str | None, test: Sequence[str]) -> None:
    """Refuse a training list of another protocol, saying which of its videos are in this one's test.

    Raises:
        InputError: they overlap, or the list is not to be had.
    """
    if name not in FILES or name in files.protocol.train:
        return
    test_file = files.find(TEST_1KA)
    test_1ka = [row["video_id"] for row in read_csv(test_file, ("video_id",))] if test_file is not None else []
    found = find_list(files, name, test_1ka) or read_list(files.need(*FILES[name]))
    called = f"the {len(found.videos):,} videos of training list '{name}'"
    refuse_overlap(called, found.videos, f"{files.protocol.name} test", test, files.path)


_ID = re.compile(r"video(0|[1-9]\d{0,3})")


@dataclass
class MsrvttCaptions:
    """Every caption that was found, and every video, in the files' order."""

    sentences: list[tuple[str, str, str]] = field(default_factory=list)  # query_id, video_id, caption
    videos: dict[str, None] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def of(self, videos: Iterable[str], split: str) -> list[tuple[str, str, str, str]]:
        """The captions of some videos, as rows of a split, in the files' order."""
        wanted = set(videos)
        return [(*sentence, split) for sentence in self.sentences if sentence[1] in wanted]

    def first_of(self, videos: Iterable[str], split: str) -> list[tuple[str, str, str, str]]:
        """The first caption of each of some videos, in the order of the videos."""
        first: dict[str, tuple[str, str, str]] = {}
        for sentence in self.sentences:
            first.setdefault(sentence[1], sentence)
        return [(*first[video], split) for video in videos if video in first]


def find_captions(files: AnnotationFiles, *, alone: bool) -> MsrvttCaptions:
    """Read whichever caption files there are; nothing where there are none.

    Args:
        files: where to look.
        alone: whether one caption file suffices for the protocol.

    Raises:
        InputError: a file is broken, or names what is no video of MSR-VTT.
    """
    found = MsrvttCaptions()
    whole = files.find("MSRVTT_data.json", "MSR_VTT.json", alone=alone)
    if whole is not None:
        found.files["captions"] = whole
    else:
        for role, name in (("train", "train_val_videodatainfo.json"), ("test", "test_videodatainfo.json")):
            part = files.find(name)
            if part is not None:
                found.files[f"captions, {role}"] = part
    for path in found.files.values():
        _read_into(found, path)
    if len(found.files) > 1 and len({sentence[0] for sentence in found.sentences}) < len(found.sentences):
        found.sentences = [(f"{video}:{key}", video, caption) for key, video, caption in found.sentences]
    return found


def check_ids(ids: Iterable[str], path: Path) -> None:
    """All of them must be videos of MSR-VTT.

    Raises:
        InputError: one is not.
    """
    for name in ids:
        if not _ID.fullmatch(name):
            raise InputError(
                f"{path} names {name_id(name)}, but the videos of MSR-VTT are video0 to video{VIDEOS - 1}; fetch "
                "it again"
            )


def _read_into(found: MsrvttCaptions, path: Path) -> None:
    content = read_json(path)
    if isinstance(content, dict) and "sentences" in content:
        sentences = _sentences(content, path, "sentences", "sen_id", "video_id")
        listed = entry(content, "videos", list, str(path)) if "videos" in content else []
        videos = [identifier(video, "video_id", f"{path}: videos[{i}]") for i, video in enumerate(listed)]
    elif isinstance(content, dict) and "annotations" in content:
        sentences = _sentences(content, path, "annotations", "id", "image_id")
        videos = []
    else:
        raise InputError(f"{path} has neither 'sentences' nor 'annotations', so it is no caption file of MSR-VTT")
    named = dict.fromkeys([*videos, *(video for _, video, _ in sentences)])
    check_ids(named, path)
    found.videos.update(named)
    found.sentences += sentences


def _sentences(content: Any, path: Path, key: str, own_id: str, video_id: str) -> list[tuple[str, str, str]]:
    rows = []
    for number, record in enumerate(entry(content, key, list, str(path))):
        place = f"{path}: {key}[{number}]"
        named = isinstance(record, dict) and own_id in record
        rows.append(
            (
                identifier(record, own_id, place) if named else str(number),
                identifier(record, video_id, place),
                entry(record, "caption", str, place),
            )
        )
    return rows


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
