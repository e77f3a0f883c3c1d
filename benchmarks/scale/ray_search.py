"""Sharded search on Ray beside one index: the same answers, what a killed actor costs, how long a search takes.

examples:
  python -m benchmarks.scale.ray_search            # 100,000 clips in 5,000 videos, 4 x 128, 4 shards on two nodes
  python -m benchmarks.scale.ray_search --quick    # does it run

Made clips (data/index_data.py), 30 % of the streams missing, in one index and in shards; two Ray nodes on this
machine; a tiny model with a text side, so that `mee serve` answers sentences over HTTP.

equal      requests of every kind by `Searcher`, the shards scored by actors, beside the same shards in one process
           and one index: hits with all their parts, to the bit. Marks and folding compare with a sample of clips,
           evenly spaced over an index, so that these may differ between one index and shards, wherever scored
p50        over HTTP, one client, both servers in turns
killed     an actor (SIGKILL) under many clients, again and again. An answer is whole: it is that of one index; or
           partial: it is that without the clips of the shards it names; else it is wrong
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.data.index_data import CHUNK, Made
from benchmarks.serve.load import sentences, served, take
from benchmarks.timing import apart, arguments, machine, say
from features.cluster import connected
from index import Entries, IndexWriter, Origin, Request, Searcher
from index.on_ray import Shards
from index.storage import share_of, text_name

SECONDS = 10.0  # of a clip
ACTOR = "ray::Shard"
TOP = 10


@dataclass(frozen=True)
class Args:
    clips: int = 100_000
    each: int = 20  # clips of a video
    sizes: tuple[int, ...] = (128,) * 4
    missing: float = 0.3
    shards: int = 4
    requests: int = 500
    calls: int = 300  # of each server, one client
    clients: int = 20
    kills: int = 5
    seed: int = 0
    work: Path | None = None
    quick: bool = False


def main() -> None:
    args = arguments(Args, __doc__)
    if args.quick:
        args = replace(args, clips=3000, requests=60, calls=20, kills=1)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(dir=args.work, prefix="mee-ray-") as work, nodes() as address:
        say("model and indexes")
        one, shards = apart(make, Path(work), args)
        say("equal")
        print(apart(equal, one, shards, address, args))
        texts = take(sentences(args.seed + 1), 40)
        reference = Searcher.load(one)
        true = [reference.search([Request(sentence=text, top=256)])[0] for text in texts]
        with ExitStack() as stack:
            plain, _ = stack.enter_context(served(one))
            on_ray, _ = stack.enter_context(served(shards, "--ray", address))
            say("p50")
            print(timed({"one index": plain, "shards on Ray": on_ray}, args))
            say("killed")
            for n in range(args.kills):
                print(f"kill {n + 1}: {killed(on_ray, texts, true, args)}")
    print("; ".join(f"{key}: {value}" for key, value in machine(1).items()))


@contextmanager
def nodes() -> Iterator[str]:
    """Two, of one CPU each; the address of their head."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS_SKIP_REGEX=".")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    try:
        cluster.add_node(**small)
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def make(work: Path, args: Args) -> tuple[Path, Path]:
    """One index, and the same clips in shards, with a model that has a text side."""
    import torch

    from index.text_export import write_text_side
    from mee.checkpoint import fingerprint
    from mee.config import ExpertConfig, ModelConfig
    from mee.model import MEE
    from mee.text import TextConfig

    made = Made(args.clips, args.sizes, args.missing, "uniform", args.seed)
    torch.manual_seed(args.seed)
    experts = tuple(
        ExpertConfig(name=name, input_dim=8, embed_dim=size, fingerprint="made")
        for name, size in zip(made.layout.names, made.sizes)
    )
    config = ModelConfig(experts=experts, text=TextConfig(width=64, heads=2))
    model = MEE.learn(config, take(sentences(args.seed), 2000)).eval()
    model.save_pretrained(work / "model")
    origin = Origin(str(work / "model"), fingerprint(work / "model"), "made")
    folders = [work / "one", *(work / "shards" / f"shard-{n}" for n in range(args.shards))]
    with ExitStack() as stack:
        writers = [stack.enter_context(IndexWriter.create(its, model.layout, origin)) for its in folders]
        writers[0].put_text(lambda aside: write_text_side(aside, model))
        for chunk, (packed, available) in enumerate(made.chunks()):
            number = chunk * CHUNK + np.arange(len(packed))
            start = SECONDS * (number % args.each)
            video = [f"video{n:06}" for n in number // args.each]
            span = {"video": video, "start_s": start, "end_s": start + SECONDS, "number": number}
            table = pa.table({"clip_id": [f"clip{n:07}" for n in number], **span})
            share = np.array([share_of(name, args.shards) for name in video])
            writers[0].put(Entries(table, packed, available))
            for n, writer in enumerate(writers[1:]):
                its = np.flatnonzero(share == n)
                writer.put(Entries(table.take(pa.array(its)), packed[its], available[its]))
        for writer in writers:
            writer.compact()
    (work / "shards" / "shards.json").write_text(
        json.dumps({"format": 1, "shards": [its.name for its in folders[1:]]})
    )
    shutil.copytree(folders[0] / text_name(origin), work / "shards" / text_name(origin))
    return folders[0], work / "shards"


def asked(args: Args, streams: Searcher) -> list[Request]:
    """Of every kind."""
    rng, texts = random.Random(args.seed), sentences(args.seed + 2)
    without = {*streams.video_index.snapshot.without_stream()}

    def clip() -> str:
        names = (f"clip{rng.randrange(args.clips):07}" for _ in iter(int, 1))
        return next(name for name in names if name not in without)

    def where() -> str:
        return f"number > {rng.randrange(args.clips)}"

    kinds = [
        dict, lambda: {"top": 256}, lambda: {"where": where()}, lambda: {"only": ("audio",)},
        lambda: {"also": ((0.5, next(texts)), (-0.5, next(texts)))}, lambda: {"weights": {"audio": 1, "face": 2}},
        lambda: {"then": (next(texts),)}, lambda: {"then": (next(texts), next(texts)), "where": where()},
        lambda: {"like": clip()}, lambda: {"like": clip(), "sentence": None}, lambda: {"by_video": True},
        lambda: {"by_video": True, "where": where(), "moments": 5, "top": 30}, lambda: {"fold": True},
        lambda: {"closer": ((clip(), clip()),)},
        lambda: {"video": f"video{rng.randrange(args.clips // args.each):06}"}, lambda: {"min_score": 0.1},
        lambda: {"good": (clip(), clip()), "bad": (clip(),)}, lambda: {"offset": 40, "sort": "name"},
    ]  # fmt: skip
    return [Request(**({"sentence": next(texts)} | kinds[n % len(kinds)]())) for n in range(args.requests)]


def equal(one: Path, shards: Path, address: str, args: Args) -> str:
    """How many answers are the same, alone and together."""
    sides = {"one index": Searcher.load(one), "the shards in one process": Searcher.load(shards)}
    held, remote = Searcher.load(shards), Shards(60.0)
    requests = asked(args, held)
    with connected(address):
        remote.hold(held.video_index)
        alone = [held.search([its])[0] for its in requests]
        together = held.search(requests)
        remote.close()
    said = [f"{len(requests)} requests, {sum(a == b for a, b in zip(alone, together))} the same asked together"]
    for name, side in sides.items():
        true = [side.search([its])[0] for its in requests]
        other = [n for n, its in enumerate(alone) if its != true[n]]
        marked = sum(bool(requests[n].good or requests[n].closer or requests[n].fold) for n in other)
        said.append(
            f"{len(requests) - len(other)} equal to {name}" + (f", {marked} others marked or folded" * bool(other))
        )
    return "; ".join(said)


def ask(port: int, text: str) -> tuple[int, float, dict[str, Any]]:
    """Status, seconds and content."""
    begun = time.perf_counter()
    try:
        with urlopen(
            f"http://127.0.0.1:{port}/api/search?{urlencode({'q': text, 'top': TOP})}", timeout=60
        ) as answer:
            status, content = answer.status, answer.read()
    except HTTPError as error:
        status, content = error.code, error.read()
    return status, time.perf_counter() - begun, json.loads(content)


def timed(ports: dict[str, int], args: Args) -> str:
    """p50 and p95 of one client, in turns."""
    texts, seconds = sentences(args.seed + 3), {name: list[float]() for name in ports}
    for n in range(args.calls + 10):
        for name, port in ports.items():
            took = ask(port, next(texts))[1]
            seconds[name] += [1000 * took] if n >= 10 else []
    return "; ".join(
        f"{name}: p50 {np.quantile(its, 0.5):.1f} ms, p95 {np.quantile(its, 0.95):.1f} ms"
        for name, its in seconds.items()
    )


def killed(port: int, texts: list[str], true: list[Any], args: Args) -> str:
    """Kill an actor under clients; what they were answered, and when all was whole again."""
    end, answers = [False], list[tuple[float, int, int, dict[str, Any]]]()

    def client(number: int) -> None:
        rng = random.Random(number)
        while not end[0]:
            n = rng.randrange(len(texts))
            status, _, content = ask(port, texts[n])
            answers.append((time.monotonic(), n, status, content))

    with ThreadPoolExecutor(args.clients) as pool:
        clients = [pool.submit(client, n) for n in range(args.clients)]
        try:
            time.sleep(2)
            below = psutil.Process().children(recursive=True)
            random.choice([its for its in below if its.name().startswith(ACTOR)]).kill()
            at = time.monotonic()
            while time.monotonic() < at + 60 and not _whole_again(answers, at):
                time.sleep(0.1)
            time.sleep(1)
        finally:
            end[0] = True
        for its in clients:
            its.result()
    kinds = Counter(_kind(n, status, content, true, args) for _, n, status, content in answers)
    last = max((t for t, _, _, content in answers if content.get("partial")), default=at)
    found = ", ".join(f"{kinds[kind]} {kind}" for kind in ("whole", "partial", "refused", "wrong"))
    return f"{found}; whole again after {last - at:.1f} s"


def _whole_again(answers: list[Any], at: float) -> bool:
    late = [content for t, _, _, content in answers[-20:] if t > at]
    return any(content.get("partial") for t, _, _, content in answers if t > at) and not any(
        content.get("partial", False) for content in late
    )


def _kind(n: int, status: int, content: dict[str, Any], true: list[Any], args: Args) -> str:
    if status == 503:
        return "refused"
    gone = {int(name.rpartition("-")[2]) for name in content.get("missing_shards", ())}
    left = [hit for hit in true[n] if share_of(hit.video, args.shards) not in gone][:TOP]
    same = [(hit["clip_id"], hit["score"]) for hit in content.get("hits", ())] == [
        (h.clip_id, h.score) for h in left
    ]
    if status != 200 or not same or bool(gone) != content.get("partial", False):
        return "wrong"
    return "partial" if gone else "whole"


if __name__ == "__main__":
    main()
