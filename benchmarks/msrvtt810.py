"""Retrieval on 810 real clips with really missing faces: the default recipe, what it must beat, and ablations.

  python -m benchmarks.msrvtt810 DATA                        every row, three seeds, all folds
  python -m benchmarks.msrvtt810 DATA --rows ours ridge      some rows
  python -m benchmarks.msrvtt810 DATA --out figures.jsonl    goes on where it was stopped

Protocol: each fold is ranked in turn, one query a clip, after training on the other folds with all their captions.
The number of epochs is a default, found on inner splits; from a random start, a tenth of the training videos is
held out to choose it. Figures are means over folds, then over seeds, with the standard deviation over seeds. DATA
is a folder as benchmarks.msrvtt810_data describes it; text vectors are the folder's. The figures compare with
nothing published: a gallery has about 200 clips.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import tyro
from tyro.conf import Positional

from benchmarks.baselines810 import fused, ridge
from benchmarks.dropped_streams import dropped
from benchmarks.msrvtt810_data import Clips810, load
from benchmarks.reference810 import reference
from mee.config import ExpertConfig, ModelConfig
from mee.data.pairs import Pairs
from mee.encode import encode_gallery
from mee.evaluation.evaluate import evaluate
from mee.text.config import TextConfig
from mee.training.config import TrainConfig
from mee.training.trainer import ENOUGH, Trainer

FIGURES = ("R@1", "R@5", "R@10", "MedR")
HELD_OUT = 0.1  # of the training videos, for choosing the epoch of a run from a random start
Figures = dict[str, float]


@dataclass(frozen=True)
class Split810:
    """Rows of one outer fold."""

    data: Clips810
    train: list[int]
    test: list[int]
    inner_train: list[int]
    inner_test: list[int]


@cache
def split(folder: Path, fold: int) -> Split810:
    """The outer split of a fold, and an inner one of its training folds."""
    data = load(folder)
    folds = data.folds.tolist()
    others = sorted(set(folds) - {fold})
    inner = min(others, key=lambda other: (other <= fold, other))  # the next one, in a ring

    def rows(of: list[int]) -> list[int]:
        return [row for row, its in enumerate(folds) if its in of]

    return Split810(data, rows(others), rows([fold]), rows([o for o in others if o != inner]), rows([inner]))


def ours(
    part: Split810,
    seed: int,
    *,
    modalities: tuple[str, ...] = ("appearance", "motion", "face"),
    early_fusion: bool = False,
    scheme: str = "mixture",
    drop: bool = False,
    train: bool = True,
    model: dict[str, object] | None = None,
    expert: dict[str, object] | None = None,
    **training: object,
) -> dict[str, Figures]:
    """Train by our Trainer, and rank the test fold.

    Args:
        part: the split.
        seed: of everything random.
        modalities: which experts.
        early_fusion: one expert over all streams side by side.
        scheme: how to score.
        drop: also rank with streams removed.
        train: take any step at all.
        model: changes to ModelConfig.
        expert: changes to every ExpertConfig.
        training: changes to TrainConfig.
    """
    source = part.data.source
    if early_fusion:
        source, modalities = fused(source, part.train), ("fused",)
        expert = {"pooling": ("mean",), **(expert or {})}
    experts = tuple(
        ExpertConfig(name=m, input_dim=source.dims[m], fingerprint=source.fingerprints[m], **(expert or {}))  # type: ignore[arg-type]
        for m in modalities
    )
    text = TextConfig(encoder=part.data.source.name)
    config = ModelConfig(experts=experts, text=text, **(model or {}))  # type: ignore[arg-type]
    settings = replace(TrainConfig(seed=seed), **training)  # type: ignore[arg-type]
    learnt, validation = _hold_out(part, seed, HELD_OUT if settings.start == "random" else 0.0)
    with TemporaryDirectory() as work:
        trainer = Trainer(
            source,
            learnt,
            validation,
            config,
            settings,
            torch.device("cpu"),
        )
        trained = trainer.run(Path(work) / "state", lambda _: None) if train else trainer.model.eval()
    queries = part.data.queries(part.test)
    gallery = encode_gallery(trained, source, queries.gallery)
    figures = {"": evaluate(trained, gallery, queries, scheme=scheme).t2v}
    if drop:
        figures |= dropped(trained, source, queries, seed)
    return figures


def _hold_out(part: Split810, seed: int, share: float) -> tuple[Pairs, Pairs]:
    """Training captions, and the queries of the clips held out for choosing the epoch.

    With a share of 0 nothing is held out: too few captions to choose by validate, and the last epoch counts.
    """
    order = np.random.default_rng(seed).permutation(part.train).tolist()
    count = round(share * len(order))
    validation = order[:count] or order[: ENOUGH - 1]
    return part.data.training(sorted(order[count:])), part.data.queries(sorted(validation))


def _ridge(part: Split810, seed: int) -> dict[str, Figures]:
    return {"": ridge(part.data, part.train, part.test, (part.inner_train, part.inner_test))}


def _reference(part: Split810, seed: int) -> dict[str, Figures]:
    return {"": reference(part.data, part.train, part.test, seed)}


LEARNT = partial(ours, start="random", epochs=12)  # from random weights, where every ingredient has its say
ROWS: dict[str, Callable[[Split810, int], dict[str, Figures]]] = {
    "ours": partial(ours, drop=True),
    "ridge": _ridge,
    "reference": _reference,
    "appearance alone": partial(ours, modalities=("appearance",)),
    "motion alone": partial(ours, modalities=("motion",)),
    "uniform weights": partial(ours, scheme="uniform"),
    "early fusion": partial(ours, early_fusion=True),
    "start alone": partial(ours, train=False),
    "max-margin": partial(ours, loss="max-margin"),
    "no stream dropout": partial(ours, stream_dropout=0.0, drop=True),
    "mean pooling": partial(ours, expert={"pooling": ("mean",)}),
    "random start": partial(LEARNT, drop=True),
    "random start, max-margin": partial(LEARNT, loss="max-margin"),
    "random start, no stream dropout": partial(LEARNT, stream_dropout=0.0, drop=True),
    "random start, no input dropout": partial(LEARNT, model={"dropout": 0.0}),
    "random start, no weight decay": partial(LEARNT, weight_decay=0.0),
    "random start, no warm-up": partial(LEARNT, warmup=0.0),
    "random start, mean pooling": partial(LEARNT, expert={"pooling": ("mean",)}),
    "random start, no standardisation": partial(LEARNT, expert={"standardise": False}),
    "random start, one caption a video": partial(LEARNT, captions_per_video=1),
}


@dataclass(frozen=True)
class Args:
    """Arguments."""

    data: Positional[Path]  # the folder
    rows: tuple[str, ...] = ()  # default: all
    seeds: int = 3
    out: Path | None = None  # one JSON line a run; runs that are in it are not done again
    workers: int = 2  # processes of one thread each


def main() -> None:
    """Run, and print the table."""
    args = tyro.cli(Args, description=__doc__)
    done: list[dict[str, object]] = []
    if args.out and args.out.exists():
        done = [json.loads(line) for line in args.out.read_text().splitlines()]
    folds = sorted(set(load(args.data).folds.tolist()))
    known = {(run["row"], run["fold"], run["seed"]) for run in done}
    wanted = [run for run in product(args.rows or ROWS, folds, range(args.seeds)) if run not in known]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(args.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for future in as_completed([pool.submit(_one, args.data, run) for run in wanted]):
            run = future.result()
            done.append(run)
            if args.out:
                with args.out.open("a") as file:
                    file.write(json.dumps(run) + "\n")
    rows = args.rows or tuple(ROWS)
    for line in _table([run for run in done if run["row"] in rows], rows):
        print(line)


def _one(folder: Path, run: tuple[str, int, int]) -> dict[str, object]:
    row, fold, seed = run
    figures = ROWS[row](split(folder, fold), seed)
    return {"row": row, "fold": fold, "seed": seed, "figures": figures}


def _table(done: list[dict[str, object]], rows: tuple[str, ...]) -> Iterator[str]:
    """Markdown: mean over folds, then mean and deviation over seeds."""
    yield f"| {' | '.join(('row', *FIGURES))} |"
    yield "|---" * (1 + len(FIGURES)) + "|"
    for row in rows:
        runs = [run for run in done if run["row"] == row]
        for variant in runs[0]["figures"] if runs else ():  # type: ignore[attr-defined]
            cells = []
            for figure in FIGURES:
                by_seed: dict[int, list[float]] = {}
                for run in runs:
                    by_seed.setdefault(run["seed"], []).append(run["figures"][variant][figure])  # type: ignore
                means = [float(np.mean(values)) for values in by_seed.values()]
                cells.append(f"{np.mean(means):.1f} ± {np.std(means):.1f}")
            yield f"| {f'{row}: {variant}' if variant else row} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
