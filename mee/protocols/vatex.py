"""VATEX in English: ten captions a video, each a query of its own; the split of 25,991 / 1,500 / 1,500 videos.

    vatex_data.json                                          {videoID: {enCap}}, or a list of videoID, enCap
    vatex_training_v1.0.json, vatex_validation_v1.0.json     a list of videoID, enCap
    train_list.txt, val_list.txt, test_list.txt              a video a line, such as 2lNMA-lgHUM_000122_000132

The lists divide the official validation videos into validation and test; without train_list.txt, the videos of the
official training file are the training videos. A caption's query id is its video and its number, from 0.
"""

from __future__ import annotations

from pathlib import Path

from mee.errors import InputError, name_id
from mee.protocols.files import AnnotationFiles, entry, identifier, read_json
from mee.protocols.protocol import Protocol, Reading, caption_table, numbered


def read(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """Captions of the listed videos."""
    files = AnnotationFiles(path, protocol, ("vatex_data", "VATEX", "vatex"))
    files.need("test_list.txt")
    captions: dict[str, list[str]] = {}
    source = files.find("vatex_data.json", role="captions")
    if source is None:
        if training := files.find("vatex_training_v1.0.json", role="captions, training"):
            _read_into(captions, training)
        source = files.need("vatex_validation_v1.0.json", "vatex_data.json", role="captions")
    ids = {"train": tuple(captions)} if captions else {}
    _read_into(captions, source)
    ids |= files.read_lists("{}_list.txt")
    return Reading(table=caption_table(numbered(ids, captions)), ids=ids, files=files.read)


def _read_into(captions: dict[str, list[str]], path: Path) -> None:
    content = read_json(path)
    if isinstance(content, dict):
        content = [
            {"videoID": video} | (record if isinstance(record, dict) else {}) for video, record in content.items()
        ]
    if not isinstance(content, list):
        raise InputError(f"{path} is neither a list nor an object of captioned videos; fetch the file again")
    for number, record in enumerate(content):
        video = identifier(record, "videoID", f"{path}: video {number}")
        spoken = entry(record, "enCap", list, f"{path}: {name_id(video)}")
        if not all(isinstance(caption, str) for caption in spoken):
            raise InputError(f"{path}: {name_id(video)} has a caption that is no text; fetch the file again")
        if video in captions:
            raise InputError(
                f"{path} has captions of {name_id(video)}, which has some already; keep each video once"
            )
        captions[video] = spoken
