"""Benchmarks whose captions are JSON: DiDeMo, ActivityNet Captions, VATEX, COCO captions.

    DiDeMo        train_data.json, val_data.json, test_data.json: a list of video, description, times
                  train_list.txt, val_list.txt, test_list.txt, where there are any: the videos of the split
    ActivityNet   train.json, val_1.json (the test): {v_<id>: duration, timestamps, sentences}
    VATEX         vatex_data.json: {videoID: {enCap}}, or a list of videoID, enCap
                  or vatex_training_v1.0.json, vatex_validation_v1.0.json: a list of videoID, enCap
                  train_list.txt, val_list.txt, test_list.txt: a video a line, such as 2lNMA-lgHUM_000122_000132
    COCO          captions_val2017.json (the test), captions_train2017.json:
                  {images[]: id, file_name; annotations[]: id, image_id, caption}

DiDeMo and ActivityNet: all sentences of a video, joined in the order of time, are one query, with the video's id.
A DiDeMo description has a span of 5-second chunks from each of several people, and is ordered by their mean start,
then their mean end. Sentences that start and end together stay in the file's order. train_data.json and
test_data.json have more videos than the protocol's 8,392 and 1,004, which train_list.txt and test_list.txt name.

VATEX: ten captions a video, each a query; its id is the video and the caption's number, from 0. The lists divide
the official validation videos into validation and test; without train_list.txt, all official training videos
train.

COCO: images are videos with appearance only. The video id is file_name, the query id is the annotation's id;
counts are those of the files of 2017.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from mee.errors import InputError, name_id
from mee.protocols.files import AnnotationFiles, entry, identifier, read_json
from mee.protocols.protocol import Ids, Protocol, Reading, Row, caption_table, numbered

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
    return _reading(files, paragraphs, files.read_lists("{}_list.txt"), has_lists=True)


def read_activitynet(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """ActivityNet Captions."""
    files = AnnotationFiles(path, protocol, ("activitynet", "ActivityNet", "activity-net"))
    files.need("val_1.json", role="test", alone=True)
    files.find("train.json", role="train")
    return _reading(files, {split: _activitynet(file) for split, file in files.read.items()}, {})


def _reading(
    files: AnnotationFiles, paragraphs: dict[str, Paragraphs], lists: Ids, *, has_lists: bool = False
) -> Reading:
    """The paragraphs of all videos of a split, or of those that a list names; `has_lists`: one should."""
    ids = {split: lists.get(split, tuple(videos)) for split, videos in paragraphs.items()}
    rows = []
    for split, videos in ids.items():
        for video in videos:
            in_time = sorted(paragraphs[split].get(video, ()), key=lambda sentence: sentence[0])
            text = " ".join(sentence.strip() for _, sentence in in_time if sentence.strip())
            rows += [(video, video, text, split)] if text else []
    absent = {split: f"{split}_list.txt" for split in ids if has_lists and split not in lists}
    return Reading(table=caption_table(rows), ids=ids, files=files.read, lists=absent)


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
        sentences = entry_texts(record, "sentences", place, "sentence")
        times = entry(record, "timestamps", list, place)
        if len(sentences) != len(times):
            counts = f"{len(sentences)} sentences and {len(times)} times"
            raise InputError(f"{place} has {counts}; fetch the file again")
        paragraphs[video] = [(_span(span, place), sentence) for span, sentence in zip(times, sentences)]
    return paragraphs


def _span(span: Any, place: str) -> Span:
    if isinstance(span, list) and len(span) == 2:
        start, end = span
        if all(type(time) in (int, float) and abs(time) < _LONGEST for time in span):
            return (start, end)
    raise InputError(f"{place} has a time that is no start and end; fetch the file again")


def read_vatex(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """VATEX in English."""
    files = AnnotationFiles(path, protocol, ("vatex_data", "VATEX", "vatex"))
    files.need("test_list.txt")
    captions: dict[str, list[str]] = {}
    source = files.find("vatex_data.json", role="captions")
    if source is None:
        if training := files.find("vatex_training_v1.0.json", role="captions, training"):
            _vatex(captions, training)
        source = files.need("vatex_validation_v1.0.json", "vatex_data.json", role="captions")
    ids = {"train": tuple(captions)} if captions else {}
    _vatex(captions, source)
    ids |= files.read_lists("{}_list.txt")
    return Reading(table=caption_table(numbered(ids, captions)), ids=ids, files=files.read)


def _vatex(captions: dict[str, list[str]], path: Path) -> None:
    content = read_json(path)
    if isinstance(content, dict):
        content = [{"videoID": video} | (row if isinstance(row, dict) else {}) for video, row in content.items()]
    if not isinstance(content, list):
        raise InputError(f"{path} is neither a list nor an object of captioned videos; fetch the file again")
    for number, record in enumerate(content):
        video = identifier(record, "videoID", f"{path}: video {number}")
        if video in captions:
            raise InputError(f"{path} has captions of {name_id(video)} a second time; keep each video once")
        captions[video] = entry_texts(record, "enCap", f"{path}: {name_id(video)}", "caption")


def read_coco(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """COCO captions: validation images as the test."""
    files = AnnotationFiles(path, protocol, ("coco", "COCO"))
    files.need("captions_val2017.json", "captions_val2017.*.json", role="test", alone=True)
    files.find("captions_train2017.json", "captions_train2017.*.json", role="train")
    rows: list[Row] = []
    ids = {}
    for split, file in files.read.items():
        ids[split], captions = _coco(file)
        rows += [(*caption, split) for caption in captions]
    return Reading(table=caption_table(rows), ids=ids, files=files.read)


def _coco(path: Path) -> tuple[tuple[str, ...], list[tuple[str, str, str]]]:
    """The images, and query_id, image, caption of every annotation."""
    content = read_json(path)
    name_of: dict[str, str] = {}
    for number, image in enumerate(entry(content, "images", list, str(path))):
        place = f"{path}: images[{number}]"
        key = identifier(image, "id", place)
        if key in name_of:
            raise InputError(f"{place} has the id {name_id(key)} of an earlier image; keep each image once")
        name_of[key] = identifier(image, "file_name", place)
    captions = []
    for number, record in enumerate(entry(content, "annotations", list, str(path))):
        place = f"{path}: annotations[{number}]"
        key = identifier(record, "image_id", place)
        if key not in name_of:
            unknown = f"image {name_id(key)}, which is not among the images"
            raise InputError(f"{place} is about {unknown}; fetch the file again")
        captions.append((identifier(record, "id", place), name_of[key], entry(record, "caption", str, place)))
    return tuple(name_of.values()), captions


def entry_texts(record: Any, key: str, place: str, what: str) -> list[str]:
    """A list of text under a key."""
    texts = entry(record, key, list, place)
    if all(isinstance(text, str) for text in texts):
        return texts
    raise InputError(f"{place} has a {what} that is no text; fetch the file again")
