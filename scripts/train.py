"""Train a mixture of embedding experts on a store's streams and their captions.

example:
  mee train store/ captions.csv model/
  mee train store/ captions.parquet model/ --streams appearance audio --epochs 100 --seed 1
  mee train store/ captions.csv model/ --text.encoder sentence-transformers/all-MiniLM-L6-v2
  mee train store/ captions.csv model/ --preset paper --text.vectors word2vec.bin
  mee train store/ annotations/ model/ --protocol msrvtt-1ka --train-list 9k
  accelerate launch --cpu --num_processes 2 -m scripts.train store/ captions.csv model/

Annotations: a table (.csv, .parquet, .jsonl) with video_id, caption and, if you like, split (train, val, test).
Without it, --validation holds a share of the videos out. With --protocol: a benchmark's files as published; where
it has no validation split, 1,000 training videos are held out. A stopped run goes on when it is called again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from mee.config import ExpertConfig, ModelConfig
from mee.errors import InputError
from mee.protocols import FOLDER, Annotations, read_annotations
from mee.text import TextConfig
from mee.training import PRESETS, Preset, PresetName, TrainConfig
from scripts.console import DONE, Device, parse, pick_device, progress_console, resumable, say

if TYPE_CHECKING:
    from features.store import FeatureStore


if TYPE_CHECKING:
    from features.store import FeatureStore
    from mee.data import Pairs, Split
    from mee.model import MEE
    from mee.training import Progress as RunProgress
    from mee.training import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Arguments of mee train."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute or mee import
    captions: Annotated[Positional[Path], arg(metavar="ANNOTATIONS")]  # table of captions, or --protocol's files
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # directory to make
    protocol: str = FOLDER  # whose captions: folder, a table of your own, or a benchmark: msrvtt-1ka, lsmdc, …
    train_list: str | None = None  # which training list of the benchmark: 9k or 7k of msrvtt-1ka
    select_on_test: bool = False  # choose the epoch on the test captions; stamped into the model and its results
    preset: PresetName = "default"  # where the other settings start; paper: the published network and training
    streams: tuple[str, ...] = ()  # experts, in this order; default: all streams of the store
    embed_dim: int | None = None  # size of each expert's part of the joint space; default: the preset's, 512
    pooling: tuple[str, ...] = ()  # how streams become vectors: mean, max, first, last, netvlad-K, transformer[-N]
    expert: tuple[str, ...] = ()  # settings of one: NAME:POOLING[+POOLING][:EMBED_DIM], as audio:netvlad-16:128
    aligned: tuple[str, ...] = ()  # experts with a text tower in their own space: NAME=HUB_ID_OR_DIRECTORY
    dropout: float = ModelConfig.dropout  # on pooled streams and on text vectors
    text: TextConfig = field(default_factory=TextConfig)
    training: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    images: tuple[Path, Path] | None = None  # store and captions of still images: clips that only have a look
    partial: bool = False  # go on without captions whose video is not in the store
    overwrite: bool = False  # replace a model that is there, and forget an unfinished run
    tensorboard: Path | None = None  # directory for TensorBoard's scalars
    device: Device = "auto"


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(TrainArgs, "train", argv, __doc__ or "", default=_preset_arguments(argv))
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large memory pages: torch reads this when it is imported
    work = args.model.resolve().with_name(f"{args.model.resolve().name}.training")

    from features.store import FeatureStore
    from mee.checkpoint import CONFIG, write_checkpoint
    from mee.training import Trainer, training_record

    if args.model.exists() and not (args.model / CONFIG).is_file():
        raise InputError(f"'{args.model}' is there already and is not a model; name another place")
    if args.model.exists() and not args.overwrite:
        raise InputError(f"there is a model at '{args.model}' already; replace it with --overwrite")
    begun = time.monotonic()
    store = FeatureStore(args.store)
    annotations = read_annotations(
        args.captions, protocol=args.protocol, train_list=args.train_list, partial=args.partial
    )
    split = _split(args, annotations, store)
    experts = expert_configs(
        PRESETS[args.preset],
        store,
        args.streams,
        special=args.expert,
        aligned=args.aligned,
        embed_dim=args.embed_dim,
        pooling=args.pooling,
    )
    config = ModelConfig(experts=experts, text=args.text, dropout=args.dropout)
    say(
        f"training on {len(split.train)} captions of {len(set(split.train.videos))} videos, "
        f"selecting on {len(split.val)} captions of {len(set(split.val.videos))}"
    )
    images = _images(args, split, annotations, store)
    trainer = Trainer(
        store, split.train, split.val, config, args.training, pick_device(args.device), images, args.tensorboard
    )
    if not trainer.selects:
        say("too few validation captions to choose an epoch by: the last one will count")
    if args.overwrite and trainer.leads:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    trainer.accelerator.wait_for_everyone()
    model = _run(trainer, work / "state.safetensors")
    if trainer.leads:
        record = training_record(
            trainer, split, str(args.store.resolve()), str(args.captions.resolve()), annotations
        )
        if images:
            record |= {"images": _images_record(args, images[1])}
        write_checkpoint(model, record, args.model, work)
        progress = trainer.progress
        took = time.monotonic() - begun
        say(f"best epoch {progress.best_epoch} of {progress.epoch}, {took:.1f} s; model in {args.model}")
    trainer.accelerator.end_training()
    return DONE


def _preset_arguments(argv: Sequence[str] | None) -> TrainArgs:
    """The preset's settings as the defaults of all flags."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    named = [value for flag, value in pairwise(arguments) if flag == "--preset"]
    named += [argument.partition("=")[2] for argument in arguments if argument.startswith("--preset=")]
    preset = next((known for name, known in PRESETS.items() if named and name == named[-1]), PRESETS["default"])
    return TrainArgs(
        store=tyro.MISSING,
        captions=tyro.MISSING,
        model=tyro.MISSING,
        preset=preset.name,
        dropout=preset.dropout,
        text=preset.text,
        training=preset.training,
    )


def _split(args: TrainArgs, annotations: Annotations, store: FeatureStore) -> Split:
    """Captions to train and to select on, and a word on stderr of all that is out of the ordinary."""
    from mee.data import split_pairs
    from mee.protocols import HELD_OUT

    split = split_pairs(
        annotations.table,
        store,
        validation=args.training.validation,
        seed=args.training.seed,
        partial=args.partial,
        select_on_test=args.select_on_test,
        hold_out=HELD_OUT if annotations.is_named else None,
        need_test=not annotations.is_named,
    )
    for sentence in (*annotations.shortfalls, *split.notes, split.unchecked):
        if sentence:
            say(sentence)
    if args.select_on_test:
        say(
            f"warning: --select-on-test chooses the epoch on the {len(split.val)} test captions, so figures on "
            "them flatter the model; training.json says so, and so does every result"
        )
    return split


def _images(
    args: TrainArgs, split: Split, annotations: Annotations, videos: FeatureStore
) -> tuple[FeatureStore, Pairs] | None:
    """Image captions and their store."""
    if args.images is None:
        return None
    from features.store import FeatureStore
    from mee.data import check_images_apart, read_captions
    from mee.training import image_pairs

    store = FeatureStore(args.images[0])
    pairs = image_pairs(read_captions(args.images[1]), store, partial=args.partial)
    check_images_apart(
        (store, set(pairs.videos)),
        (videos, {*split.val.videos, *split.test_videos}),
        name=str(args.images[1]),
        ids=annotations.measured_ids,
    )
    say(f"{len(pairs)} captions of {len(set(pairs.videos))} images join, as clips that only have their appearance")
    return store, pairs


def _images_record(args: TrainArgs, pairs: Pairs) -> dict[str, Any]:
    """What training.json says of where image captions are from."""
    assert args.images
    store, captions = args.images
    return {"store": str(store.resolve()), "captions": str(captions.resolve()), "count": len(pairs)}


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
    with Progress(*columns, console=progress_console(), disable=not trainer.leads) as bars:
        row = bars.add_task("epochs", total=trainer.config.epochs, figures="")

        def show(progress: RunProgress) -> None:
            last = progress.history[-1]
            figures = f"loss {last['loss']:.3f}, validation MRR {last['MRR']:.1f}, best {progress.best_score:.1f}"
            bars.update(row, completed=progress.epoch, figures=figures)

        return trainer.run(state, show)


def expert_configs(
    preset: Preset,
    store: FeatureStore,
    streams: Sequence[str],
    *,
    special: Sequence[str] = (),
    aligned: Sequence[str] = (),
    embed_dim: int | None = None,
    pooling: tuple[str, ...] = (),
) -> tuple[ExpertConfig, ...]:
    """One expert a stream.

    Raises:
        InputError: a stream is not in the store, or a setting makes no sense.
    """
    names = streams or tuple(store.dims)
    for name in names:
        if name not in store.dims:
            raise InputError(f"{store.name} has no stream '{name}'; it has {', '.join(store.dims)}")
    settings, towers = _special(special), _aligned(aligned)
    for name in (*settings, *towers):
        if name not in names:
            raise InputError(f"there is no expert '{name}' to set; there are {', '.join(names)}")
    common: dict[str, Any] = {}
    if embed_dim is not None:
        common["embed_dim"] = embed_dim
    if pooling:
        common["pooling"] = pooling
    experts = []
    for name in names:
        expert = preset.expert(name, store.dims[name], store.fingerprints[name])
        changes = {**common, **settings.get(name, {})}
        if name in towers:
            changes = {"embed_dim": store.dims[name], "pooling": ("mean",), "standardise": False}
            changes |= {"text": towers[name], "start": "identity"}
        try:
            experts.append(replace(expert, **changes))
        except ValueError as error:
            raise InputError(f"expert {error}") from error
    return tuple(experts)


def _special(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    settings: dict[str, dict[str, Any]] = {}
    for text in given:
        name, _, rest = text.partition(":")
        poolings, _, size = rest.partition(":")
        if not name or not poolings or (size and not size.isdecimal()) or name in settings:
            raise InputError(f"--expert {text}: write NAME:POOLING[+POOLING][:EMBED_DIM], each name once")
        settings[name] = {"pooling": tuple(poolings.split("+"))}
        if size:
            settings[name]["embed_dim"] = int(size)
    return settings


def _aligned(given: Sequence[str]) -> dict[str, str]:
    towers: dict[str, str] = {}
    for text in given:
        name, _, tower = text.partition("=")
        if not name or not tower or name in towers:
            raise InputError(f"--aligned {text}: write NAME=HUB_ID_OR_DIRECTORY, each name once")
        towers[name] = tower
    return towers


if __name__ == "__main__":
    sys.exit(main())
