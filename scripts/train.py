"""Train a mixture of embedding experts on a store's streams and their captions.

example:
  mee train store/ captions.csv model/
  mee train store/ captions.parquet model/ --streams appearance audio --epochs 100 --seed 1
  mee train store/ captions.csv model/ --text.encoder sentence-transformers/all-MiniLM-L6-v2
  mee train store/ captions.csv model/ --preset paper --text.vectors word2vec.bin
  mee train store/ captions.csv better/ --start model/
  mee train store/ annotations/ model/ --protocol msrvtt-1ka --train-list 9k
  accelerate launch --cpu --num_processes 2 -m scripts.train store/ captions.csv model/

ANNOTATIONS is a table (.csv, .tsv, .parquet, .json, .jsonl) with video_id, caption and, optionally, split (train,
val, test); without split, --validation holds out a share of the videos. With --protocol it is the folder of a
benchmark's published files; if the benchmark has no validation split, 1,000 training videos are held out. Run the
same command again to resume a stopped run.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from mee.checkpoint import fingerprint, read_training
from mee.config import ExpertConfig, Missing, ModelConfig
from mee.errors import InputError
from mee.protocols import FOLDER, Benchmark, read_annotations
from mee.text import TextConfig, Unread
from mee.training import PRESETS, STARTS, PresetName, TrainConfig
from scripts.console import (
    DONE,
    Columns,
    Device,
    by_name,
    counting_bar,
    parse,
    pick_device,
    progress_console,
    resumable,
    say,
)

if TYPE_CHECKING:
    from features.store import FeatureStore
    from mee.data import Pairs, Split
    from mee.model import MEE
    from mee.training import Progress as RunProgress
    from mee.training import Trainer


def _expert_settings(text: str) -> dict[str, Any]:
    """netvlad-16+max:128 -> pooling and embed_dim."""
    poolings, _, size = text.partition(":")
    settings: dict[str, Any] = {"pooling": tuple(poolings.split("+")) if poolings else ()}
    return settings | ({"embed_dim": int(size)} if size else {})


ExpertSettings = Annotated[
    Mapping[str, Mapping[str, Any]], by_name("NAME:POOLING[+POOLING][:EMBED_DIM]", _expert_settings, ":")
]
WITH_MODEL = ("preset", "streams", "embed_dim", "pooling", "expert", "aligned", "missing", "dropout", "text")
Towers = Annotated[Mapping[str, str], by_name("NAME=HUB_ID_OR_DIRECTORY", str)]


@dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Arguments of mee train."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute or mee import
    captions: Annotated[Positional[Path], arg(metavar="ANNOTATIONS")]  # table of captions, or --protocol's files
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # directory to make
    protocol: str = FOLDER  # name of a benchmark, such as msrvtt-1ka or lsmdc; folder: your own table
    columns: Columns = field(default_factory=dict)  # of your own table, where they have other names
    train_list: str | None = None  # the benchmark's training list: 9k or 7k of msrvtt-1ka
    select_on_test: bool = False  # choose the best epoch on the test captions; the model and its results record it
    preset: PresetName = "default"  # defaults of the other settings; paper: the published network and training
    streams: tuple[str, ...] = ()  # streams to use, one expert each; default: all streams of the store
    embed_dim: int | None = None  # size of every expert's embedding; default: the preset's, 512
    pooling: tuple[str, ...] = ()  # pooling over time: mean, max, first, last, netvlad-K, transformer[-N]
    expert: ExpertSettings = field(default_factory=dict)  # settings of single experts: audio:netvlad-16:128
    aligned: Towers = field(default_factory=dict)  # text encoders of streams that have their own, as CLIP's do
    # whether a missing stream adds nothing, or leaves its weight to the others
    missing: Missing = ModelConfig.missing
    dropout: float = ModelConfig.dropout  # on pooled streams and on text vectors
    text: TextConfig = field(default_factory=TextConfig)
    training: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    images: tuple[Path, Path] | None = None  # store and captions of still images to train on as well
    partial: bool = False  # skip captions whose video is not in the store
    overwrite: bool = False  # replace an existing model, and discard an unfinished run
    tensorboard: Path | None = None  # directory for TensorBoard's scalars
    device: Device = "auto"  # where to train


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(TrainArgs, "train", argv, __doc__ or "", default=_preset_arguments(argv))
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large memory pages: torch reads this when it is imported

    from mee.training import run_folder

    with run_folder(args.model, overwrite=args.overwrite, leads=os.environ.get("RANK", "0") == "0") as folder:
        _train(args, folder)
    return DONE


def _train(args: TrainArgs, folder: Path) -> None:
    from features.store import FeatureStore
    from mee.training import STATE, Trainer, clear, training_record, write_checkpoint

    started = time.monotonic()
    store = FeatureStore(args.store)
    annotations = read_annotations(
        args.captions,
        protocol=args.protocol,
        train_list=args.train_list,
        partial=args.partial,
        columns=args.columns,
    )
    start, origin, before = None, {}, {}
    if args.training.start not in STARTS:
        start, path = start_model(args), Path(args.training.start)
        origin, before = {"model": str(path.resolve()), "fingerprint": fingerprint(path)}, read_training(path)
    split = _split(args, annotations, store)
    if start:
        config = start.config
    else:
        experts = expert_configs(args, store)
        config = ModelConfig(experts=experts, text=args.text, missing=args.missing, dropout=args.dropout)
    say(
        f"training on {len(split.train)} captions of {len(set(split.train.videos))} videos, "
        f"selecting on {len(split.val)} captions of {len(set(split.val.videos))}"
    )
    images = _images(args, split, annotations, store)
    device = pick_device(args.device)
    places = (images, args.tensorboard, folder, start)
    trainer = Trainer(store, split.train, split.val, config, args.training, device, *places)
    unread = Unread().look(trainer.model.readers, [*trainer.data.captions, *trainer.validation.captions])
    for note in unread.notes("captions", "" if start else "--text.max-tokens"):
        say(note)
    if len(trainer.validation) < len(split.val):
        say(
            f"validating on {len(trainer.validation)} of these {len(split.val)} captions, drawn by seed "
            f"{args.training.seed} (--choosing 0 takes all)"
        )
    if not trainer.selects and trainer.start:
        say("too few validation captions to choose by: training captions decide, a part of them held out in turn")
    elif not trainer.selects and trainer.config.epochs:
        say("too few validation captions to choose an epoch: the last one is kept")
    state = folder / STATE
    if args.overwrite and trainer.leads and state.exists():
        say(f"--overwrite discards the unfinished run in {folder}: training starts anew")
        clear(folder)
    trainer.accelerator.wait_for_everyone()
    model = _run(trainer, state)
    if trainer.leads:
        record = training_record(
            trainer, split, str(args.store.resolve()), str(args.captions.resolve()), annotations
        )
        if images:
            store_of_images, captions = (str(path.resolve()) for path in args.images or ())
            record |= {"images": {"store": store_of_images, "captions": captions, "count": len(images[1])}}
        record = record | {"start": origin} | _joined(record, before) if start else record
        write_checkpoint(model, record, args.model, folder)
        progress = trainer.progress
        took = time.monotonic() - started
        how = f"best epoch {progress.best_epoch} of {progress.epoch}" if trainer.config.epochs else "closed form"
        say(f"{how}, validation MRR {progress.best_score:.1f}, {took:.1f} s; model in {args.model}")
    trainer.accelerator.end_training()


def _preset_arguments(argv: Sequence[str] | None) -> TrainArgs:
    """The preset's settings as the defaults of all flags."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    named = [value for flag, value in pairwise(arguments) if flag == "--preset"]
    named += [argument.partition("=")[2] for argument in arguments if argument.startswith("--preset=")]
    preset = next((known for name, known in PRESETS.items() if named and name == named[-1]), PRESETS["default"])
    given: Any = dict.fromkeys(("store", "captions", "model"), tyro.MISSING)
    given |= {name: getattr(preset, name) for name in ("missing", "dropout", "text", "training")}
    return TrainArgs(**given, preset=preset.name)


def _split(args: TrainArgs, annotations: Benchmark, store: FeatureStore) -> Split:
    """Captions to train and to select on; what is unusual about them goes to stderr."""
    from mee.data import split_pairs
    from mee.protocols import HELD_OUT

    named: dict[str, Any] = {"hold_out": HELD_OUT, "need_test": False} if annotations.is_named else {}
    named |= {"validation": args.training.validation, "seed": args.training.seed, "partial": args.partial}
    split = split_pairs(annotations.table, store, **named, select_on_test=args.select_on_test)
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
    args: TrainArgs, split: Split, annotations: Benchmark, videos: FeatureStore
) -> tuple[FeatureStore, Pairs] | None:
    """Image captions and their store."""
    if args.images is None:
        return None
    from features.store import FeatureStore
    from mee.data import check_images_apart, read_captions
    from mee.training import image_pairs

    store = FeatureStore(args.images[0])
    pairs = image_pairs(read_captions(args.images[1]), store, partial=args.partial)
    held_out, name = {*split.val.videos, *split.test_videos}, str(args.images[1])
    check_images_apart((store, set(pairs.videos)), (videos, held_out), name=name, ids=annotations.measured_ids)
    say(f"{len(pairs)} captions of {len(set(pairs.videos))} images added, as clips that only have appearance")
    return store, pairs


def _run(trainer: Trainer, state: Path) -> MEE:
    """Train, with a progress bar, or a line an epoch without a terminal."""
    live = progress_console().is_terminal
    with counting_bar("train", "epochs") as update:

        def show(progress: RunProgress) -> None:
            last = progress.history[-1]
            figures = f"loss {last['loss']:.3f}, validation MRR {last['MRR']:.1f}, best {progress.best_score:.1f}"
            update(progress.epoch, trainer.config.epochs, things=f"epochs, {figures}")
            if not live:
                say(f"epoch {progress.epoch} of {trainer.config.epochs}: {figures}")

        return trainer.run(state, show)


def _joined(record: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The videos that a model has learnt from in this training and in those before, and what is known of them."""
    videos, contents = dict(record["videos"]), dict(record["contents"])
    for part in ("train", "images"):
        if names := {*videos.get(part, ()), *before.get("videos", {}).get(part, ())}:
            videos[part] = sorted(names)
        contents[part] = {**before.get("contents", {}).get(part, {}), **contents.get(part, {})}
    return {"videos": videos, "contents": contents}


def start_model(args: TrainArgs) -> MEE:
    """The model that training starts from, whose settings are the run's.

    Raises:
        InputError: it is none, or settings are given that come with it.
    """
    from mee.model import MEE

    plain = TrainArgs(store=args.store, captions=args.captions, model=args.model)
    if given := [name for name in WITH_MODEL if getattr(args, name) != getattr(plain, name)]:
        given = given[:1] if "preset" in given else given  # it sets the others
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{flags}: these settings come with the model '{args.training.start}'; leave them out")
    if not Path(args.training.start).is_dir():
        raise InputError(
            f"--start is {', '.join(STARTS)} or a model, and there is no model at '{args.training.start}'; make "
            f"one with: mee model {shlex.quote(str(args.store))} {shlex.quote(args.training.start)}"
        )
    return MEE.from_pretrained(args.training.start)


def expert_configs(args: TrainArgs, store: FeatureStore) -> tuple[ExpertConfig, ...]:
    """One expert for each stream, by the preset and what overrides it.

    Raises:
        InputError: a stream is not in the store, or a setting makes no sense.
    """
    vectors = tuple(name for name, dim in store.dims.items() if dim)  # the others hold words
    names = args.streams or vectors
    for name in names:
        if name not in store.dims:
            raise InputError(f"{store.name} has no stream '{name}'; it has {', '.join(store.dims)}")
        if name not in vectors:
            raise InputError(
                f"'{name}' holds words; train a model that reads them (mee model), with --start MODEL"
            )
    for name in (*args.expert, *args.aligned):
        if name not in names:
            raise InputError(f"there is no expert '{name}' to set; there are {', '.join(names)}")
    common = {"embed_dim": args.embed_dim, "pooling": args.pooling}
    experts = []
    for name in names:
        expert = PRESETS[args.preset].expert(name, store.dims[name], store.fingerprints[name])
        changes: dict[str, Any] = {key: value for key, value in common.items() if value not in (None, ())}
        changes |= args.expert.get(name, {})
        if name in args.aligned:  # the stream is compared with its own text encoder as it is
            changes = {"embed_dim": store.dims[name], "pooling": ("mean",), "standardise": False}
            changes |= {"text": args.aligned[name], "start": "identity"}
        try:
            experts.append(replace(expert, **changes))
        except ValueError as error:
            raise InputError(f"expert {error}") from error
    return tuple(experts)


if __name__ == "__main__":
    sys.exit(main())
