"""Retrieval on 810 real clips with really missing streams: the default recipe, what it must beat, and ablations.

  python -m benchmarks.msrvtt810 DATA                        every row, three seeds, all folds
  python -m benchmarks.msrvtt810 DATA --rows ours ridge      some rows; differences are to the first
  python -m benchmarks.msrvtt810 DATA --out figures.jsonl    resumes a stopped run

Protocol: each fold is ranked in turn, one query a clip or the folder's own, after training on the other folds
with all their captions; then, steadier, all captions of its clips (row "captions"). Only rows that
name gradient steps take any; from a random start, a tenth of the training videos is held out to choose the
epoch. Figures are means over folds, then over seeds, with the standard deviation over seeds; the
difference of the mean of R@1/5/10 to the first row is paired by query, its standard error clustered by clip.
DATA is a folder as data/training_data.py describes it, its clips dubbed or without sound; text
vectors are the folder's. The figures compare with nothing published: a gallery has about 200 clips.

  ridge      min over B of |T B - V|^2 + lambda |B|^2, T the captions' vectors, V the clips' mean streams side by
             side, standardised or not, the mean where one is missing; the clip of the largest cosine with T B
  fusion     early: all streams as one: pooled, standardised, side by side, zeros where one is missing, one expert
  lost       a share of the test clips loses its sound, or all its pictures (a clip without sound keeps them)
  reference  the reference network (data/reference_network.py) as its authors train it: Adam at 4e-4 times 0.95 an
             epoch, batches of 64 videos with one random caption each, margin 0.2 averaged over all 2 B^2 terms,
             100 epochs, no dropout, no weight decay; embeddings as large as the streams, which are pooled by their
             mean (better on inner splits than the authors' maximum). Sentence vectors go straight into the gated
             units. Missing faces are zeros that count in the batch statistics, as published.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from benchmarks.data.reference_network import ReferenceMixture, reference_loss
from benchmarks.data.training_data import Clips810, Streams
from benchmarks.timing import arguments, print_table
from mee.config import ExpertConfig, ModelConfig
from mee.encode import encode_gallery
from mee.evaluation.metrics import MEAN, paired_difference, retrieval_metrics
from mee.evaluation.retrieval import Retrieval
from mee.model import MEE
from mee.text.config import TextConfig
from mee.training.config import TrainConfig
from mee.training.trainer import ENOUGH, Trainer
from mee.zero_shot import make_model

FIGURES = ("R@1", "R@5", "R@10", "MedR")
SHARES = (0.2, 0.4, 0.6, 0.8)  # of the streams, removed at test
LOST = (0.3, 0.6)  # of the sounds, or of the pictures
HELD_OUT = 0.1  # of the training videos, for choosing the epoch of a run from a random start
LAMBDAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
UNNAMED = ("early fusion", "ridge", "reference", "no names")  # rows without the names of columns
MODALITIES = ("appearance", "motion", "face", "audio")
NAMES = {"visual": "appearance", "motion": "motion", "face": "face"}  # the reference's -> ours
RATE, DECAY, EPOCHS, BATCH = 4e-4, 0.95, 100, 64
Figures = dict[str, Any]  # numbers by name; ranks and clips of all captions


class Split810(NamedTuple):
    """An outer fold, and an inner split of its training folds; rows."""

    data: Clips810
    train: list[int]
    test: list[int]
    inner: tuple[list[int], list[int]]


@cache
def split(folder: Path, fold: int, names: bool) -> Split810:
    """The fold is the test; the next one, in a ring, that of the inner split. `names`: with named columns."""
    data = Clips810.load(folder, names=names)
    others = set(data.folds) - {fold}
    inner = min(others, key=lambda other: (other <= fold, other))

    def rows(of: set[int]) -> list[int]:
        return [row for row, own in enumerate(data.folds) if own in of]

    return Split810(data, rows(others), rows({fold}), (rows(others - {inner}), rows({inner})))


def ours(
    part: Split810,
    seed: int,
    *,
    modalities: tuple[str, ...] = (),
    early_fusion: bool = False,
    scheme: str = "mixture",
    drop: bool = False,
    model: dict[str, object] | None = None,
    expert: dict[str, object] | None = None,
    **training: object,
) -> dict[str, Figures]:
    """Train by our Trainer, and rank the test fold, with `drop` also with streams removed.

    `modalities` default to all; `model`, `expert` and `training` are changes to ModelConfig, to every ExpertConfig
    and to TrainConfig.
    """
    whole = fused(part.data.source, part.train) if early_fusion else part.data.source
    trained = train(part, seed, whole, modalities, model or {}, expert or {}, training)
    figures = measured(trained, whole, part, scheme, "")
    for name, source in removed(part, seed) if drop else ():
        source = fused(source, part.train) if early_fusion else source
        figures |= {name: measured(trained, source, part, scheme, "")[""]}
    return figures


def train(
    part: Split810,
    seed: int,
    whole: Streams,
    modalities: tuple[str, ...] = (),
    model: Mapping[str, Any] = MappingProxyType({}),
    expert: Mapping[str, Any] = MappingProxyType({}),
    training: Mapping[str, Any] = MappingProxyType({}),
) -> MEE:
    """The model that our Trainer makes of the training folds; arguments as of `ours`."""
    experts = tuple(
        ExpertConfig(name=m, input_dim=whole.dims[m], fingerprint=whole.fingerprints[m], **expert)
        for m in modalities or whole.streams
    )
    config = ModelConfig(experts=experts, text=TextConfig(encoder=whole.name), **model)
    settings = replace(TrainConfig(seed=seed), **training)
    order = np.random.default_rng(seed).permutation(part.train).tolist()
    count = round(HELD_OUT * len(order)) if settings.start == "random" else 0
    held_out = order[: count or ENOUGH // 2 - 1]  # fewer than ENOUGH queries choose nothing: the last epoch counts
    learnt, validation = part.data.training(sorted(order[count:])), part.data.queries(sorted(held_out))
    with TemporaryDirectory() as work:
        trainer = Trainer(whole, learnt, validation, config, settings, torch.device("cpu"))
        return trainer.run(Path(work) / "state", lambda _: None)


def measured(model: MEE, source: Streams, part: Split810, scheme: str, name: str) -> dict[str, Figures]:
    """Figures of the queries, of each kind of them, and of all captions; their ranks, and the weights."""
    data, test = part.data, part.test
    queries = {name: [(row, *query) for row in test for query in data.asked[row]]}
    if any(kind for _, _, kind in queries[name]):
        queries |= {kind: [each for each in queries[name] if each[2] == kind] for _, _, kind in queries[name]}
    queries["captions"] = [(row, caption, "") for row in test for caption in data.captions[row]]
    gallery = encode_gallery(model, source, [source.clips.index[row] for row in test])
    figures = {}
    for kind, some in queries.items():
        found = Retrieval.of(model, gallery, source.pairs(each[:2] for each in some))
        ranks = found.measure(scheme).ranking.t2v
        weights = found.text.logits.softmax(-1).mean(0).tolist()
        figures[kind] = retrieval_metrics(ranks.rank) | dict(zip(model.modalities, weights))
        if kind == "captions":
            clips = [found.gallery.names[clip] for clip in found.right_clip(ranks.query).tolist()]
            figures[kind] |= {"ranks": ranks.rank.tolist(), "clips": clips}
    return figures


def removed(part: Split810, seed: int) -> Iterator[tuple[str, Streams]]:
    """The clips without a stream, with a random share of all removed, and with their sounds or pictures lost.

    A clip of the test that would lose all keeps one of them; those of the training keep all.
    """
    source, rng = part.data.source, np.random.default_rng(seed)
    available = np.array([[s is not None for s in rows] for rows in source.streams.values()]).T  # (N, M)
    names, draw = list(source.streams), rng.random((len(available), 2))
    cases = {f"no {name}": available & (np.arange(len(names)) != at) for at, name in enumerate(names)}
    cases |= {f"{share:.0%} removed": available & (rng.random(available.shape) >= share) for share in SHARES}
    sound = np.array([name == "audio" for name in names])
    for column, (what, lost) in enumerate({"sounds": sound, "pictures": ~sound}.items() if sound.any() else ()):
        for share in LOST:
            gone = (
                (draw[:, column] < share)[:, None]
                & lost
                & available[:, sound if column else ~sound].any(1)[:, None]
            )
            cases[f"{share:.0%} of {what} lost"] = available & ~gone
    for name, kept in cases.items():
        order = np.where(available, rng.random(available.shape), -1).argmax(1)
        lost = ~kept.any(1)
        kept[lost, order[lost]] = True
        kept[part.train] = True
        streams = {
            modality: [s if there else None for s, there in zip(source.streams[modality], kept[:, at])]
            for at, modality in enumerate(names)
        }
        yield name, replace(source, streams=streams)


def ridge(part: Split810) -> Figures:
    """Figures on the test; penalty and scaling are those that rank all captions of the inner split best."""
    data = part.data
    pooled = [_pooled(data.source, modality) for modality in data.source.streams]
    Queries = Sequence[tuple[int, str]]

    def ranked(train: list[int], test: list[int], queries: Queries, penalty: float, standardise: bool) -> Figures:
        rows = [*train, *test]
        filled = [
            torch.where(there[rows, None], means[rows], means[rows][there[rows]].mean(0))
            for means, there in pooled
        ]
        streams = torch.cat(filled, dim=1)
        known = streams[: len(train)]
        streams = streams - known.mean(0)
        if standardise:
            streams = streams / known.std(0).clamp(min=1e-6)
        captions = [caption for row in train for caption in data.captions[row]]
        owner = torch.tensor([place for place, row in enumerate(train) for _ in data.captions[row]])
        text = torch.cat(data.text.tokenize(captions))
        query = torch.cat(data.text.tokenize([sentence for _, sentence in queries]))
        mean = text.mean(0)
        text, query = text - mean, query - mean
        gram = text.T @ text / len(text)
        gram += penalty * gram.diagonal().mean() * torch.eye(len(gram))
        map_text = torch.linalg.solve(gram, text.T @ streams[owner] / len(text))
        scores = F.normalize(query @ map_text, dim=1) @ F.normalize(streams[len(train) :], dim=1).T
        right = torch.tensor([row for row, _ in queries])[:, None] == torch.tensor(test)
        return retrieval_metrics(expected_ranks(scores, right))

    every = [(row, caption) for row in part.inner[1] for caption in data.captions[row]]
    choices = product(LAMBDAS, (False, True))
    best = max(choices, key=lambda choice: ranked(*part.inner, every, *choice)["MRR"])
    return ranked(part.train, part.test, [(row, data.asked[row][0][0]) for row in part.test], *best)


def expected_ranks(scores: Tensor, right: Tensor) -> Tensor:
    """(Q,) ranks of (Q, G) scores; the (Q, G) bool right answers are one a query."""
    own = scores[right][:, None]
    return 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1).double() / 2


def _pooled(source: Streams, modality: str) -> tuple[Tensor, Tensor]:
    """(N, D) means over time, zeros where the stream is missing, and (N,) where it is there."""
    missing = torch.zeros(source.dims[modality])
    rows = source.streams[modality]
    means = [missing if s is None else torch.from_numpy(s.astype("f4")).mean(0) for s in rows]
    return torch.stack(means), torch.tensor([s is not None for s in rows])


def fused(source: Streams, train: Sequence[int]) -> Streams:
    """The same clips with one stream `fused`: mean and max of every stream, standardised on the training clips."""
    parts = []
    for modality, streams in source.streams.items():
        missing = np.full((1, source.dims[modality]), np.nan)
        whole = [(missing if s is None else s).astype(np.float32) for s in streams]
        pooled = np.stack([np.concatenate([stream.mean(0), stream.max(0)]) for stream in whole])
        known = pooled[list(train)]
        scaled = (pooled - np.nanmean(known, 0)) / np.maximum(np.nanstd(known, 0), 1e-6)
        parts.append(np.nan_to_num(scaled))
    rows = np.concatenate(parts, axis=1)[:, None]
    return Streams(source.name, source.clips, {"fused": list(rows)}, {"fused": rows.shape[-1]})


def reference(part: Split810, seed: int) -> Figures:
    """Figures on the test."""
    torch.manual_seed(seed)
    data, video, available = part.data, {}, {}
    for name, modality in NAMES.items():
        video[name], available[name] = _pooled(data.source, modality)
    video["audio"] = torch.zeros(len(data.folds), 1)
    available["audio"] = torch.zeros(len(data.folds), dtype=torch.bool)
    sizes = {name: (streams.shape[1], streams.shape[1]) for name, streams in video.items()}
    network = ReferenceMixture(sizes, data.text.dim)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    captions = torch.stack([torch.cat(data.text.tokenize(data.captions[n])) for n in part.train])  # (N, 20, 384)
    rows = torch.tensor(part.train)
    for epoch in range(EPOCHS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * DECAY**epoch
        for chosen in torch.randperm(len(rows)).split(BATCH):
            if len(chosen) > 1:
                text = captions[chosen, torch.randint(captions.shape[1], (len(chosen),))]
                scores = network(text, _take(video, rows[chosen]), _take(available, rows[chosen]))
                optimiser.zero_grad()
                reference_loss(scores).backward()
                optimiser.step()
    network.eval()
    ranked = torch.tensor(part.test)
    with torch.no_grad():
        query = torch.cat(data.text.tokenize([data.asked[row][0][0] for row in part.test]))
        scores = network(query, _take(video, ranked), _take(available, ranked))
    return retrieval_metrics(expected_ranks(scores, torch.eye(len(ranked), dtype=torch.bool)))


def _take(tensors: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: tensor[rows] for name, tensor in tensors.items()}


def few(part: Split810, seed: int, count: int) -> dict[str, Figures]:
    """A model without captions, after `count` of them: one of each drawn clip, then a second one, and so on."""
    source = part.data.source
    bank = [f"a video of a {name}" for name in source.columns["appearance"] if name]
    model = make_model(source, TextConfig(encoder=source.name), sentences=bank)
    if count:
        order = np.random.default_rng(seed).permutation(part.train).tolist()
        drawn = [(row, part.data.captions[row][n]) for n in range(20) for row in order][:count]
        held_out = set(order[: round(HELD_OUT * min(count, len(order)))])
        parts = (source.pairs(each for each in drawn if (each[0] in held_out) is held) for held in (False, True))
        how = (model.config, TrainConfig(seed=seed), torch.device("cpu"))
        model = Trainer(source, *parts, *how, start=model).run(Path("no state"), lambda _: None)
    return measured(model, source, part, "mixture", "")


LEARNT = partial(ours, start="random", epochs=12)  # from random weights, where every ingredient counts
ROWS: dict[str, Callable[[Split810, int], dict[str, Figures]]] = {
    "ours": partial(ours, drop=True),
    "early fusion": partial(ours, early_fusion=True, drop=True),
    "renormalise": partial(ours, model={"missing": "renormalise"}, drop=True),
    "no names": ours,
    "uniform weights": partial(ours, scheme="uniform"),
    **{f"{m} alone": partial(ours, modalities=(m,)) for m in MODALITIES},
    "ridge": lambda part, seed: {"": ridge(part)},
    "reference": lambda part, seed: {"": reference(part, seed)},
    "linear": partial(ours, centres=0, epochs=0),
    "gradient steps": partial(ours, epochs=5),
    "linear, gradient steps": partial(ours, centres=0, epochs=5),
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
    **{f"{count} captions": partial(few, count=count) for count in (0, 50, 200, 800)},
}


@dataclass(frozen=True)
class Args:
    data: Positional[Path]  # the folder
    rows: tuple[str, ...] = ()  # default: all
    seeds: int = 3
    out: Path | None = None  # one JSON line a run; runs that are in it are not done again
    workers: int = 2  # processes of one thread each


def main() -> None:
    args = arguments(Args, __doc__)
    lines = args.out.read_text().splitlines() if args.out and args.out.exists() else []
    done = [json.loads(line) for line in lines]
    rows = args.rows or tuple(ROWS)
    folds = sorted(set(Clips810.load(args.data).folds))
    known = {(run["row"], run["fold"], run["seed"]) for run in done}
    wanted = [run for run in product(rows, folds, range(args.seeds)) if run not in known]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(args.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for future in as_completed([pool.submit(_one, args.data, run) for run in wanted]):
            done.append(future.result())
            if args.out:
                with args.out.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    shown = {"row": "{row}", **{figure: f"{{{figure}}}" for figure in FIGURES}, "mean": "{mean}"}
    print_table(shown | {f"to {rows[0]}": "{difference}"} | {"weights": "{weights}"}, _means(done, rows), 36)


def _one(folder: Path, run: tuple[str, int, int]) -> dict[str, Any]:
    row, fold, seed = run
    names = row not in UNNAMED
    return {"row": row, "fold": fold, "seed": seed, "figures": ROWS[row](split(folder, fold, names), seed)}


def _means(done: list[dict[str, Any]], rows: Sequence[str]) -> Iterator[dict[str, str]]:
    """Mean over folds, then mean and deviation over seeds; the difference to the first row, of all captions."""
    flat = pd.DataFrame([run | {"variant": key} | run["figures"][key] for run in done for key in run["figures"]])
    for row in rows:
        for variant, runs in flat[flat["row"] == row].groupby("variant", sort=False):
            means = runs.groupby("seed")[[*FIGURES, MEAN]].mean()
            cells = {figure: f"{means[figure].mean():.1f} ± {means[figure].std(ddof=0):.1f}" for figure in FIGURES}
            cells |= {"mean": f"{means[MEAN].mean():.2f}", "difference": "", "weights": ""}
            if variant == "captions" and row != rows[0]:
                both = [_found(flat[flat["row"] == each]) for each in (rows[0], row)]
                if both[0].index.equals(both[1].index):
                    found = paired_difference(*both, both[0].index.get_level_values("clip"))
                    cells["difference"] = "{:+.2f} ± {:.2f}".format(*found)
            known = [name for name in MODALITIES if name in runs and runs[name].notna().all()]
            cells["weights"] = " ".join(f"{name} {runs[name].mean():.2f}" for name in known)
            yield {"row": f"{row}: {variant}".removesuffix(": "), **cells}


def _found(runs: pd.DataFrame) -> pd.Series:
    """What each caption adds to the mean of R@1/5/10, over seeds, in percent; by clip and number."""
    runs = runs[runs["variant"] == "captions"]
    parts = [pd.DataFrame({"clip": clips, "rank": ranks}) for clips, ranks in zip(runs["clips"], runs["ranks"])]
    table = pd.concat([part.assign(number=part.groupby("clip").cumcount()) for part in parts])
    value = sum(100 * (table["rank"] <= k) / 3 for k in (1, 5, 10))
    return value.groupby([table["clip"], table["number"]]).mean()


if __name__ == "__main__":
    main()
