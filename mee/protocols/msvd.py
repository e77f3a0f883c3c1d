"""MSVD: 1,200 / 100 / 670 videos without sound, up to about 80 captions each, every one a query of its own.

    raw-captions.pkl                             {video: [[token, …], …]}
    raw-captions.json, msvd_captions.json        {video: [caption, …]}
    train_list.txt, val_list.txt, test_list.txt  a video a line, such as -4wsuPCjDBc_5_15

A caption's query id is its video and its number, from 0: -4wsuPCjDBc_5_15#0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mee.errors import InputError
from mee.protocols.annotation_files import AnnotationFiles
from mee.protocols.annotation_text import read_ids, read_json
from mee.protocols.id_names import name_id
from mee.protocols.plain_pickle import load_plain_pickle
from mee.protocols.protocol import Protocol
from mee.protocols.reading import Reading, caption_table

_CAPTIONS = ("raw-captions.pkl", "raw-captions.json", "msvd_captions.json", "msvd_captions.*.json")
_UNFOLDED = 16  # characters of captions for a byte of a file: real ones unfold to two or three


def read(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """Captions of the listed videos."""
    files = AnnotationFiles(path, protocol, ("msvd_data", "MSVD", "high-quality/structured-symlinks"))
    captions_file = files.need(*_CAPTIONS)
    ids: dict[str, tuple[str, ...]] = {}
    read_files = {"captions": captions_file}
    for split in ("train", "val", "test"):
        names = (f"{split}_list.txt", f"msvd_{split}_list.txt")
        found = files.need(*names) if split == "test" else files.find(*names)
        if found is not None:
            ids[split] = read_ids(found)
            read_files[f"{split} list"] = found
    captions = _captions(captions_file)
    rows = [
        (f"{video}#{number}", video, caption, split)
        for split, videos in ids.items()
        for video in videos
        for number, caption in enumerate(captions.get(video, ()))
    ]
    return Reading(table=caption_table(rows), ids=ids, files=read_files)


def _captions(path: Path) -> dict[str, list[str]]:
    content = load_plain_pickle(path) if path.suffix.lower() == ".pkl" else read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold captions by video, {{video: [caption, …]}}; fetch it again")
    budget = _UNFOLDED * path.stat().st_size
    captions: dict[str, list[str]] = {}
    for video, spoken in content.items():
        if not isinstance(spoken, (list, tuple)):
            raise InputError(f"{path}: {name_id(video)} has no list of captions; fetch the file again")
        captions[video] = []
        for number, caption in enumerate(spoken):
            budget -= _length(caption)
            if budget < 0:
                raise InputError(f"{path} holds the same text again and again, as no file of captions does")
            captions[video].append(_text(caption, f"{path}: caption {number} of {name_id(video)}"))
    return captions


def _length(caption: Any) -> int:
    """What a caption will take in characters, without making it."""
    if isinstance(caption, (list, tuple)):
        return 1 + sum(len(token) + 1 if isinstance(token, str) else 1 for token in caption)
    return 1 + len(caption) if isinstance(caption, str) else 1


def _text(caption: Any, place: str) -> str:
    if isinstance(caption, str):
        return caption
    if isinstance(caption, (list, tuple)) and all(isinstance(token, str) for token in caption):
        return " ".join(caption)
    raise InputError(f"{place} is neither text nor a list of words; fetch the file again")
