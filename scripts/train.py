"""Train a mixture of embedding experts on a store's streams and their captions.

example:
  mee train store/ captions.csv model/
  mee train store/ captions.parquet model/ --streams appearance audio --epochs 100 --seed 1

Captions: a table (.csv, .parquet, .jsonl) with video_id, caption and, if you like, split (train, val, test).
Without it, --validation holds a share of the videos out. A run that was stopped goes on when it is called again.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from mee.config import ModelConfig, Pooling, TextConfig, TrainConfig
from mee.errors import InputError
from scripts.console import DONE, Device, errors_as_sentences, parse, pick_device, progress_console, say

if TYPE_CHECKING:
    from features.store import FeatureStore
    from mee.model import MEE
    from mee.train import Progress as RunProgress
    from mee.train import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Arguments of mee train."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute
    captions: Annotated[Positional[Path], arg(metavar="CAPTIONS")]  # table of video_id, caption[, split]
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # directory to make
    streams: tuple[str, ...] = ()  # experts, in this order; default: all streams of the store
    embed_dim: int = 512  # size of each expert's part of the joint space
    pooling: tuple[Pooling, ...] = ("mean", "max")  # how a stream becomes one vector
    dropout: float = ModelConfig.dropout  # on pooled streams and on text vectors
    text: TextConfig = field(default_factory=TextConfig)
    training: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    partial: bool = False  # go on without captions whose video is not in the store
    overwrite: bool = False  # replace a model that is there, and forget an unfinished run
    device: Device = "auto"


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(TrainArgs, "train", argv, __doc__ or "")
    work = args.model.resolve().with_name(f"{args.model.resolve().name}.training")

    from features.store import FeatureStore
    from mee.captions import read_captions
    from mee.checkpoint import CONFIG
    from mee.record import finish, training_record
    from mee.splits import split_pairs
    from mee.train import Trainer

    if args.model.exists() and not (args.model / CONFIG).is_file():
        raise InputError(f"'{args.model}' is there already and is not a model; name another place")
    if args.overwrite:
        shutil.rmtree(work, ignore_errors=True)
    elif args.model.exists():
        raise InputError(f"there is a model at '{args.model}' already; replace it with --overwrite")
    begun = time.monotonic()
    store = FeatureStore(args.store)
    split = split_pairs(read_captions(args.captions), store, args.training, partial=args.partial)
    for note in split.notes:
        say(note)
    config = _model_config(args, store)
    say(
        f"training on {len(split.train)} captions of {len(set(split.train.videos))} videos, "
        f"selecting on {len(split.val)} captions of {len(set(split.val.videos))}"
    )
    trainer = Trainer(store, split.train, split.val, config, args.training, pick_device(args.device))
    if not trainer.selects:
        say("too few validation captions to choose an epoch by: the last one will count")
    work.mkdir(parents=True, exist_ok=True)
    model = _run(trainer, work / "state.safetensors")
    record = training_record(trainer, split, str(args.store.resolve()), str(args.captions.resolve()))
    finish(model, record, args.model, work)
    progress = trainer.progress
    took = time.monotonic() - begun
    say(f"best epoch {progress.best_epoch} of {progress.epoch}, {took:.1f} s; model in {args.model}")
    return DONE


def _model_config(args: TrainArgs, store: FeatureStore) -> ModelConfig:
    from mee.config import ExpertConfig

    experts = []
    for name in args.streams or tuple(store.dims):
        if name not in store.dims:
            raise InputError(f"{store.name} has no stream '{name}'; it has {', '.join(store.dims)}")
        experts.append(
            ExpertConfig(
                name=name,
                input_dim=store.dims[name],
                embed_dim=args.embed_dim,
                pooling=args.pooling,
                fingerprint=store.fingerprints[name],
            )
        )
    return ModelConfig(experts=tuple(experts), text=args.text, dropout=args.dropout)


def _run(trainer: Trainer, state: Path) -> MEE:
    """Train behind a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("train"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_console()) as bars:
        row = bars.add_task("epochs", total=trainer.config.epochs, figures="")

        def show(progress: RunProgress) -> None:
            last = progress.history[-1]
            figures = f"loss {last['loss']:.3f}, validation MRR {last['MRR']:.1f}, best {progress.best_score:.1f}"
            bars.update(row, completed=progress.epoch, figures=figures)

        return trainer.run(state, show)


if __name__ == "__main__":
    sys.exit(main())
