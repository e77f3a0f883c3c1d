"""COCO captions: images as videos that only have their appearance; 5,000 to search, about five captions each.

    captions_val2017.json, captions_train2017.json
        {images[]: id, file_name; annotations[]: id, image_id, caption}

The video id is the image's file_name, the query id the annotation's id. Counts (5,000 images, 25,014 captions;
118,287 images to train) are those of the files of 2017.
"""

from __future__ import annotations

from pathlib import Path

from mee.errors import InputError, name_id
from mee.protocols.files import AnnotationFiles, entry, identifier, read_json
from mee.protocols.protocol import Protocol, Reading, Row, caption_table


def read(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """Captions of validation images, as a test, and of training images."""
    files = AnnotationFiles(path, protocol, ("coco", "COCO"))
    files.need("captions_val2017.json", "captions_val2017.*.json", role="test", alone=True)
    files.find("captions_train2017.json", "captions_train2017.*.json", role="train")
    rows: list[Row] = []
    ids = {}
    for split, file in files.read.items():
        ids[split], captions = _captions(file)
        rows += [(*caption, split) for caption in captions]
    return Reading(table=caption_table(rows), ids=ids, files=files.read)


def _captions(path: Path) -> tuple[tuple[str, ...], list[tuple[str, str, str]]]:
    """The images, and query_id, image, caption of every annotation."""
    content = read_json(path)
    name_of: dict[str, str] = {}
    for number, image in enumerate(entry(content, "images", list, str(path))):
        place = f"{path}: images[{number}]"
        key = identifier(image, "id", place)
        if key in name_of:
            raise InputError(f"{place} has id {name_id(key)} as an image before it; keep each image once")
        name_of[key] = identifier(image, "file_name", place)
    captions = []
    for number, record in enumerate(entry(content, "annotations", list, str(path))):
        place = f"{path}: annotations[{number}]"
        key = identifier(record, "image_id", place)
        if key not in name_of:
            raise InputError(
                f"{place} is about image {name_id(key)}, which is not among the images; fetch the file again"
            )
        captions.append((identifier(record, "id", place), name_of[key], entry(record, "caption", str, place)))
    return tuple(name_of.values()), captions
