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
from mee.protocols.files import AnnotationFiles, entry, identifier, read_json
from mee.protocols.protocol import Ids, Protocol, Reading, caption_table

_LONGEST = 1e6  # seconds, or chunks; NaN is not below it either
Span = tuple[float, float]
Paragraphs = dict[str, list[tuple[Span, str]]]  # video -> its sentences and their times


def read_didemo(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """DiDeMo."""
    files = AnnotationFiles(path, protocol, ("didemo_data", "DiDeMo"))
    files.need("test_data.json", role="test", alone=True)
    for split in ("train", "val"):
        files.find(f"{split}_data.json", role=split)
    paragraphs = {split: _didemo(file) for split, file in files.read.items()}
    return _reading(files, paragraphs, files.read_lists("{}_list.txt"))


def read_activitynet(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """ActivityNet Captions."""
    files = AnnotationFiles(path, protocol, ("activitynet", "ActivityNet", "activity-net"))
    files.need("val_1.json", role="test", alone=True)
    files.find("train.json", role="train")
    return _reading(files, {split: _activitynet(file) for split, file in files.read.items()}, {})


def _reading(files: AnnotationFiles, paragraphs: dict[str, Paragraphs], lists: Ids) -> Reading:
    """The paragraphs of all videos of a split, or of those that a list names."""
    ids = {split: lists.get(split, tuple(videos)) for split, videos in paragraphs.items()}
    rows = []
    for split, videos in ids.items():
        for video in videos:
            in_time = sorted(paragraphs[split].get(video, ()), key=lambda sentence: sentence[0])
            text = " ".join(sentence.strip() for _, sentence in in_time if sentence.strip())
            rows += [(video, video, text, split)] if text else []
    return Reading(table=caption_table(rows), ids=ids, files=files.read)


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
