"""DiDeMo and ActivityNet Captions: all sentences of a video, joined in the order of time, are one query.

    DiDeMo        train_data.json, val_data.json, test_data.json: a list of video, description, times
                  train_list.txt, val_list.txt, test_list.txt, where there are any: the videos of the split
    ActivityNet   train.json, val_1.json (the test): {v_<id>: duration, timestamps, sentences}

A DiDeMo description has a span of 5-second chunks from each of several people; its place in time is their mean
start, then their mean end. Sentences that start and end together stay in the file's order. train_data.json has
videos that the protocol's 8,392 leave out, which is what train_list.txt is for. The query's id is its video's.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from mee.errors import InputError, name_id
from mee.protocols.files import AnnotationFiles, entry, identifier, read_ids, read_json
from mee.protocols.protocol import Protocol, Reading, caption_table

_LONGEST = 1e6  # seconds, or chunks; NaN is not below it either
Span = tuple[float, float]
Paragraphs = dict[str, list[tuple[Span, str]]]  # video -> its sentences and their times


def read_didemo(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """DiDeMo."""
    files = AnnotationFiles(path, protocol, ("didemo_data", "DiDeMo"))
    test_file = files.need("test_data.json", alone=True)
    found = {"train": files.find("train_data.json"), "val": files.find("val_data.json"), "test": test_file}
    read = {split: file for split, file in found.items() if file is not None}
    lists = {split: path for split, path in files.find_lists("{}_list.txt").items() if split in read}
    return _reading({split: _didemo(file) for split, file in read.items()}, read, lists)


def read_activitynet(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """ActivityNet Captions."""
    files = AnnotationFiles(path, protocol, ("activitynet", "ActivityNet", "activity-net"))
    test_file = files.need("val_1.json", alone=True)
    train_file = files.find("train.json")
    read = ({"train": train_file} if train_file else {}) | {"test": test_file}
    return _reading({split: _activitynet(file) for split, file in read.items()}, read, {})


def _reading(paragraphs: dict[str, Paragraphs], read: dict[str, Path], lists: dict[str, Path]) -> Reading:
    """The paragraphs of all videos, or of those that a list names."""
    ids = {split: tuple(videos) for split, videos in paragraphs.items()}
    ids |= {split: read_ids(path) for split, path in lists.items()}
    rows = []
    for split, videos in ids.items():
        for video in videos:
            in_time = sorted(paragraphs[split].get(video, ()), key=lambda sentence: sentence[0])
            text = " ".join(sentence.strip() for _, sentence in in_time if sentence.strip())
            rows += [(video, video, text, split)] if text else []
    read |= {f"{split} list": path for split, path in lists.items()}
    return Reading(table=caption_table(rows), ids=ids, files=read)


def _didemo(path: Path) -> Paragraphs:
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path} is not a list of descriptions; fetch the file again")
    paragraphs: Paragraphs = {}
    for number, record in enumerate(content):
        place = f"{path}: description {number}"
        spans = [_span(span, place) for span in entry(record, "times", list, place)]
        if not spans:
            raise InputError(f"{place} has no times; fetch the file again")
        when = (fmean(start for start, _ in spans), fmean(end for _, end in spans))
        sentence = entry(record, "description", str, place)
        paragraphs.setdefault(identifier(record, "video", place), []).append((when, sentence))
    return paragraphs


def _activitynet(path: Path) -> Paragraphs:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold paragraphs by video, {{v_<id>: …}}; fetch the file again")
    paragraphs: Paragraphs = {}
    for video, record in content.items():
        place = f"{path}: {name_id(video)}"
        sentences = entry(record, "sentences", list, place)
        times = entry(record, "timestamps", list, place)
        if len(sentences) != len(times):
            raise InputError(
                f"{place} has {len(sentences)} sentences and {len(times)} times; fetch the file again"
            )
        if not all(isinstance(sentence, str) for sentence in sentences):
            raise InputError(f"{place} has a sentence that is no text; fetch the file again")
        paragraphs[video] = [(_span(span, place), sentence) for span, sentence in zip(times, sentences)]
    return paragraphs


def _span(span: Any, place: str) -> Span:
    if isinstance(span, list) and len(span) == 2:
        start, end = span
        if all(type(time) in (int, float) and abs(time) < _LONGEST for time in span):
            return (start, end)
    raise InputError(f"{place} has a time that is no start and end; fetch the file again")
