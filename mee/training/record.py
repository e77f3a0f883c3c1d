"""training.json: how a model came to be, beside its weights; and putting a finished model in place.

    protocol, train_list, files   whose captions: a named protocol's or "folder"; name and SHA-256 of each file
    videos                        the store's names: train, val (or test, if the epoch was chosen on it), images
    contents                      of train and images: name -> first 16 digits of the file's SHA-256, where known
    selected_on                   validation, test or nothing (then the last epoch counts)
    training, history, …          settings, figures of each epoch, the best one

A record of an earlier version lacks some of these keys, and is read for what it says.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from mee.checkpoint import TRAINING
from mee.data import Split, video_contents
from mee.protocols import FOLDER, Annotations

if TYPE_CHECKING:
    from mee.model import MEE
    from mee.training.trainer import Trainer

SelectedOn = Literal["validation", "test", "nothing", "unknown"]


def training_record(
    trainer: Trainer, split: Split, store: str, captions: str, annotations: Annotations | None = None
) -> dict[str, Any]:
    """What training.json says.

    Args:
        trainer: of the finished run.
        split: what it was trained and selected on.
        store: path of the feature store.
        captions: path of the captions.
        annotations: what was read there; None says that it is one's own collection, and names no file.
    """
    progress = trainer.progress
    chosen_by = "test" if split.selected_on_test else "val"
    videos = {"val": [], "train": split.train.videos, chosen_by: split.val.videos}
    contents = {"train": video_contents(trainer.source, split.train.videos)}
    if trainer.images:
        source, pairs = trainer.images
        videos["images"] = pairs.videos
        contents["images"] = video_contents(source, pairs.videos)
    selected_on = "test" if split.selected_on_test else "validation"
    return {
        "mee": version("mee"),
        "store": store,
        "captions": captions,
        "protocol": annotations.protocol if annotations else FOLDER,
        "train_list": annotations.train_list if annotations else None,
        "files": dict(annotations.files) if annotations else {},
        "shortfalls": list(annotations.shortfalls) if annotations else [],
        "videos": {part: sorted(set(names)) for part, names in videos.items()},
        "contents": {part: dict(sorted(known.items())) for part, known in contents.items()},
        "left_out": list(split.left_out),
        "training": asdict(trainer.config),
        "selects": trainer.selects,  # by validation MRR, text to video; else the last epoch counts
        "selected_on": selected_on if trainer.selects else "nothing",
        "best_epoch": progress.best_epoch,
        "best_score": progress.best_score,
        "history": progress.history,
    }


def selected_on(record: Mapping[str, Any]) -> SelectedOn:
    """On which captions a model's epoch was chosen, by its training.json; "unknown" where that does not say."""
    if record.get("selected_on") in get_args(SelectedOn):
        return cast(SelectedOn, record["selected_on"])
    if "videos" not in record:
        return "unknown"
    return "validation" if record.get("selects", True) else "nothing"  # a record of an earlier version


def trained_on(record: Mapping[str, Any]) -> str | None:
    """What a model was trained on, in words: "8,000 videos of msrvtt-1ka, list 9k"; None where nobody said."""
    videos = record.get("videos", {})
    if not videos.get("train"):
        return None
    words = f"{len(videos['train']):,} videos"
    if (protocol := record.get("protocol", FOLDER)) != FOLDER:
        words += f" of {protocol}" + (f", list {record['train_list']}" if record.get("train_list") else "")
    return words + (f", and {len(videos['images']):,} images" if videos.get("images") else "")


def finish(model: MEE, record: dict[str, Any], directory: Path, work: Path) -> None:
    """Write the checkpoint whole into `work`, then put it in place of `directory` and remove `work`."""
    aside = work / "model"
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    (aside / TRAINING).write_text(json.dumps(record, indent=2) + "\n")
    if directory.exists():
        directory.rename(work / "replaced")
    aside.rename(directory)
    shutil.rmtree(work)
