"""Known-item search: a person who knows one clip looks for it with a sentence, and then by marking what is shown.

  python -m benchmarks.search.known_item DATA/msrvtt810 DATA/dubbed810 --folds 2 3 --captions 4
  mee demo /tmp/demo1 --seed 1 && python -m benchmarks.search.known_item /tmp/demo1
  python -m benchmarks.search.known_item /tmp/demo0 --settings SHARE=0.5    a number of index/request/feedback.py

Protocol. The query is a sentence about the target. In each round the person looks at ten clips. Is the target
among them, it is found. If not, the one that is nearest to the target, of the ten and of those marked before, is
marked as good, and the next round begins; ten rounds at most. What is near is measured by nothing that the index
has: of 810 clips, by the cosine between the means of their captions' MiniLM vectors, 20 human captions a clip; of
a demo, by what its files are known to show: the mean over its four streams of the share of facts that agree, where
a stream that one of two clips lacks counts 0, one that both lack 1. Equal ones: the first in the list.

  new       the others of the ten are marked as bad, as one click can do: they are not shown again, nor are those
            marked as good. The rank of the target is its place among the clips that were not shown before.
  closest   nothing is marked as good or bad; the nearest is marked as closer than each of the others, which are
            not shown again. The nearest itself stays in the list, and the rank is that in the list.

  mixture   marks as the product takes them
  single    the same term in one space, that of all experts side by side, zeros where a stream is missing. Before
            the first mark its scores are those of the mixture, so both begin with the same ten; it has no weights
            of experts that marks could move.
  paging    marks are not looked at: the next ten

Of 810 clips a model is trained on the other folds, and the clips of one fold are the gallery, as in
benchmarks/msrvtt810.py; queries are captions of theirs, which the model has not read. Of a demo the gallery is all
of its clips, the targets are the test clips: by their captions, each of which is true of one test clip alone, and
("one thing") by a sentence about one fact of each of their streams, which is true of many clips. Errors are
standard errors, clustered by target.

  0 … 10      share of the targets that were among the ten shown by that round, 0: before the first mark
  middle      how many targets had a rank of 11 to 50 before the first mark; in 3: share found within three rounds
  to single   the difference of `in 3` to the row `single`, paired by target; all: of all targets
  worse       runs (folds and seeds) in which the median over targets of the number of clips looked at until the
              target is found is above that of the first ranks
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
from tyro.conf import Positional

from benchmarks.msrvtt810 import split, train
from benchmarks.timing import arguments, print_table, say
from index import Entries, IndexWriter, Origin, Queries, Request, Searcher, VideoIndex
from index.request import feedback
from index.text_side import Text
from index.video_index import selection_of
from mee.encode import encode_gallery
from mee.evaluation.metrics import paired_difference
from mee.layout import Layout
from scripts.demo.words import make_captions
from scripts.demo.words import say as sentence
from scripts.demo.world import SHOWN_BY, make_clips

Method = Literal["mixture", "single", "paging"]
Way = Literal["new", "closest"]
SHOWN = 10
AFTER = (0, 1, 2, 3, 5, 10)  # rounds
SMALL = 0.01  # length of what says in the single space that a stream is there, too short for a term to be about it


class World(NamedTuple):
    """A gallery and what is looked for in it."""

    data: str
    run: str  # fold and seed, or demo
    searcher: Searcher
    single: Searcher
    targets: Sequence[tuple[str, str]]  # clip ids, and sentences
    likeness: Mapping[str, Mapping[str, float]]  # of two clips


@dataclass(frozen=True)
class Flat:
    """In the place of a text side: the sentences of a searcher as vectors of one space."""

    searcher: Searcher
    readers = ()

    def encode(self, sentences: Sequence[str]) -> Queries:
        """<[w_1 t_1 | … | -w_1 o_1 / SMALL | …], [x_1 | … | SMALL | …]> is the score, but for a factor."""
        found, sizes = self.searcher.encode(sentences), self.searcher.video_index.layout.sizes
        weights = np.exp(found.logits - found.logits.max(-1, keepdims=True))
        parts = [np.repeat(weights, sizes, axis=-1) * found.packed, -weights * found.offsets / SMALL]
        packed = np.concatenate(parts, axis=-1)
        packed /= np.linalg.norm(packed, axis=-1, keepdims=True)
        return Queries(packed.astype(np.float32), *np.zeros((2, len(packed), 1, 1)), np.ones((len(packed), 1)))


def flat(searcher: Searcher, folder: Path) -> Searcher:
    """The same gallery in one space, as an index in a folder."""
    index = searcher.video_index
    names = [name for each in index.partitions(None) for name in each.ids(each.found)]
    queries = Queries.stacked([index.clip_query(name) for name in names])
    there = np.isfinite(queries.logits[:, 0])
    packed = np.concatenate([queries.packed[:, 0], SMALL * there], axis=1) / np.sqrt(there.shape[1] + 1)
    clips = pd.DataFrame({"video": names, "start_s": 0.0, "end_s": 1.0}, index=pd.Index(names, name="clip_id"))
    layout = Layout(("all",), (packed.shape[1],))
    table = pa.Table.from_pandas(clips.reset_index(), preserve_index=False)
    with IndexWriter.create(folder, layout, index.origin) as writer:
        writer.put(Entries(table, packed.astype(np.float32), np.ones((len(names), 1), bool)).checked(layout))
    return Searcher(VideoIndex.open(folder), Text(cast("Any", None), cast("Any", Flat(searcher))))


def worlds(args: Args, work: Path) -> Iterator[World]:
    """One of each demo, and of each seed and fold of 810 clips."""
    for number, folder in enumerate(args.folders):
        if (folder / "demo.json").exists():
            yield from demo(folder, work / f"{number}")
            continue
        for seed, fold in product(range(args.seeds), args.folds):
            yield clips810(folder, fold, seed, args.captions, work / f"{number} {seed} {fold}")


def demo(folder: Path, work: Path) -> Iterator[World]:
    """By its test captions, and by sentences that say one thing."""
    seed = json.loads((folder / "demo.json").read_text())["seed"]
    searcher, clips = Searcher.load(folder / "index"), make_clips(seed)
    ids = {clip.name: searcher.video_index.clips_of(clip.name)[0].clip_id for clip in clips}

    def agree(one: Mapping[str, str], other: Mapping[str, str], facts: Sequence[str]) -> float:
        a, b = ([facts_of.get(fact) for fact in facts] for facts_of in (one, other))
        return float(any(a) == any(b)) * float(np.mean([x == y for x, y in zip(a, b)]))

    likeness = {
        ids[one.name]: {
            ids[other.name]: sum(agree(one.facts, other.facts, facts) for facts in SHOWN_BY.values())
            / len(SHOWN_BY)
            for other in clips
        }
        for one in clips
    }
    single, rng = flat(searcher, work), np.random.default_rng(seed)
    asked = [(ids[each.video_id], each.text) for each in make_captions(clips, seed) if each.split == "test"]
    yield World("demo", folder.name, searcher, single, asked, likeness)
    streams = [(clip, SHOWN_BY[stream]) for clip in clips if clip.split == "test" for stream in clip.streams]
    said = [(clip, facts[int(rng.integers(len(facts)))]) for clip, facts in streams]
    asked = [(ids[clip.name], sentence({fact: clip.facts[fact]}, rng)) for clip, fact in said]
    yield World("demo, one thing", folder.name, searcher, single, asked, likeness)


def clips810(folder: Path, fold: int, seed: int, captions: int, work: Path) -> World:
    part = split(folder, fold, True)
    source = part.data.source
    model = train(part, seed, source).eval()
    ids = [str(source.clips.index[row]) for row in part.test]
    entries = Entries.of(encode_gallery(model, source, ids), source.clips, model.layout)
    with IndexWriter.create(
        work / "mixture", model.layout, Origin("/no/model", "0123456789ab", "/no/store")
    ) as writer:
        writer.put(entries)
    searcher = Searcher(VideoIndex.open(work / "mixture"), model)
    means = np.load(folder / "minilm_captions.npy", allow_pickle=False).astype(np.float64)[part.test].mean(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    likeness = {name: dict(zip(ids, row)) for name, row in zip(ids, (means @ means.T).tolist())}
    asked = [(name, part.data.captions[row][n]) for name, row in zip(ids, part.test) for n in chosen(captions)]
    return World(
        folder.name, f"fold {fold}, seed {seed}", searcher, flat(searcher, work / "single"), asked, likeness
    )


def chosen(captions: int) -> list[int]:
    """Numbers of so many of 20 captions, the same for every clip."""
    return sorted(np.random.default_rng(0).permutation(20)[:captions].tolist())


def looked_for(world: World, target: str, sentence: str, method: Method, way: Way, rounds: int) -> list[int]:
    """The target's rank before each round and after the last; after it is found the rank stays."""
    searcher, near = world.single if method == "single" else world.searcher, world.likeness[target]
    index, request = searcher.video_index, Request(sentence=sentence)
    best, ranks, seen = "", list[int](), set[str]()
    listed: list[str] = []
    for number in range(rounds + 1):
        if method != "paging" or not number:
            (query,) = searcher.meaning.of([request], again=True)
            listed = index.rank(query, len(index), where=selection_of(request, index)[0]).ids[0]
        fresh = [name for name in listed if (way == "closest" and method != "paging") or name not in seen]
        ranks.append(fresh.index(target) + 1)
        if ranks[-1] <= SHOWN:
            return ranks + ranks[-1:] * (rounds - number)
        shown = fresh[:SHOWN]
        seen |= {*shown}
        before, best = best, max(shown + [best] * bool(best), key=lambda name: near[name])
        others = [name for name in dict.fromkeys([*shown, before]) if name and name != best]
        good = dict.fromkeys([*request.good, best])
        if way == "new":
            bad = dict.fromkeys([*request.bad, *(name for name in others if name not in good)])
            request = replace(request, good=(*good,), bad=(*bad,))
        else:
            closer = dict.fromkeys([*request.closer, *((best, name) for name in others)])
            request = replace(request, closer=(*closer,))
    return ranks


def summary(runs: pd.DataFrame) -> Iterator[dict[str, str]]:
    """A row for each kind of data, way and method."""
    for (data, way), of_way in runs.groupby(["data", "way"], sort=False):
        single = of_way[of_way["method"] == "single"].reset_index()
        for method, some in of_way.groupby("method", sort=False):
            some, ranks = some.reset_index(), np.array(some["ranks"].tolist())
            found, first = (ranks <= SHOWN).argmax(1) + 99 * (ranks > SHOWN).all(1), ranks[:, 0]
            cells = {f"r{n}": _mean(found <= n, some["clip"]) for n in AFTER}
            middle = (first > SHOWN) & (first <= 50)
            in_three = found <= 3
            cells |= {"middle": f"{middle.sum()}", "in 3": _mean(in_three[middle], some["clip"][middle])}
            if method == "mixture":
                theirs = (np.array(single["ranks"].tolist())[:, :4] <= SHOWN).any(1)
                for key, which in (("to single", middle), ("all to single", first > 0)):
                    cells[key] = _mean(in_three[which], some["clip"][which], theirs[which])
            looked_at = SHOWN * np.minimum(found, len(ranks[0])) + ranks[:, -1]
            medians = pd.DataFrame({"run": some["run"], "0": first, "1": looked_at}).groupby("run").median()
            cells["worse"] = f"{(medians['1'] > medians['0']).sum()} of {len(medians)}"
            yield {"row": f"{data}, {way}, {method}", "targets": f"{len(some)}", **cells}


def _mean(values: Any, clips: Any, less: Any = None) -> str:
    """Percent, with the standard error."""
    values = 100.0 * np.asarray(values)
    if not len(values):
        return "-"
    return "{:.1f} ± {:.1f}".format(
        *paired_difference(0 * values if less is None else 100.0 * less, values, clips)
    )


@dataclass(frozen=True)
class Args:
    folders: Positional[tuple[Path, ...]]  # of 810 clips (data/training_data.py), or made by mee demo
    folds: tuple[int, ...] = (0, 1, 2, 3)  # of 810 clips
    seeds: int = 1  # of the training on 810 clips
    captions: int = 4  # of each of 810 clips, as queries
    rounds: int = 10
    settings: tuple[str, ...] = ()  # NAME=NUMBER of index/request/feedback.py
    out: Path | None = None  # one JSON line for each target, way and method


def main() -> None:
    args = arguments(Args, __doc__)
    for name, _, number in (each.partition("=") for each in args.settings):
        assert hasattr(feedback, name), name
        setattr(feedback, name, float(number))
    runs = []
    with TemporaryDirectory() as work:
        for world in worlds(args, Path(work)):
            say(f"{world.data}: {world.run}")
            for (target, sentence), way, method in product(world.targets, get_args(Way), get_args(Method)):
                ranks = looked_for(world, target, sentence, method, way, args.rounds)
                clip = f"{world.run * world.data.startswith('demo')} {target}"
                facts = {"data": world.data, "run": world.run, "clip": clip, "way": way, "method": method}
                runs.append({**facts, "ranks": ranks})
    if args.out:
        pd.DataFrame(runs).to_json(args.out, orient="records", lines=True)
    heads = {"targets": "{targets}", **{f"{n}": f"{{r{n}}}" for n in AFTER}}
    heads |= {head: f"{{{head}}}" for head in ("middle", "in 3", "to single", "all to single", "worse")}
    print_table({"row": "{row}", **heads}, summary(pd.DataFrame(runs)), 32)


if __name__ == "__main__":
    main()
