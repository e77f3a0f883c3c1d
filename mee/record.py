"""training.json: how a model came to be, beside its weights; and putting a finished model in place."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mee.checkpoint import TRAINING
from mee.splits import Split

if TYPE_CHECKING:
    from mee.model import MEE
    from mee.train import Trainer


def training_record(trainer: Trainer, split: Split, store: str, captions: str) -> dict[str, Any]:
    """What training.json says.

    Args:
        trainer: of the finished run.
        split: what it was trained and selected on.
        store: path of the feature store.
        captions: path of the caption file.
    """
    progress = trainer.progress
    return {
        "mee": version("mee"),
        "store": store,
        "captions": captions,
        "videos": {"train": sorted(set(split.train.videos)), "val": sorted(set(split.val.videos))},
        "left_out": list(split.left_out),
        "training": asdict(trainer.config),
        "selects": trainer.selects,  # by validation MRR, text to video; else the last epoch counts
        "best_epoch": progress.best_epoch,
        "best_score": progress.best_score,
        "history": progress.history,
    }


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
