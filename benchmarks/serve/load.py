"""What `mee serve` takes under load, beside the same searches in one process, one at a time.

examples:
  python -m benchmarks.serve.load                     # 100,000 clips, 4 x 128, 30 % of the streams missing
  python -m benchmarks.serve.load --isa avx2
  python -m benchmarks.serve.load --clips 5000 --requests 2000 --searches 500 --kills 2          # does it run

The command itself serves an index of made clips (data/index_data.py) on loopback; a tiny model with a text side
encodes sentences, each of which is asked for once. Clients are in another process, with connections that stay open.
CPU seconds are of the server's process alone (/proc/PID/stat), libraries with one thread.

alone       Searcher.search([request]) in a process
one client  the same over HTTP, one after another; what HTTP adds is the difference
clients     many clients at once: what is asked while a search runs is searched together
memory      after so many requests of many clients
writer      a process puts and removes clips, and is killed (SIGKILL), again and again. Each answer must be one of a
            fresh Searcher, of some state that the index had: the changes are made again one by one on a copy.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa

from benchmarks.data.index_data import CHUNK, Made
from benchmarks.timing import apart, arguments, machine, own_process, say
from index import Entries, IndexWriter, Origin, Request, Searcher

NOUNS = "dog cat man woman child car boat train horse bird tree river street kitchen stage crowd guitar drum ball"
VERBS = (
    "runs jumps sleeps sings turns falls rises plays cooks paints swims climbs drives waits laughs reads writes"
)
PUT, REMOVED = 10, 5  # clips of a change
Result = tuple[str, int, float, Any]  # sentence, status, seconds, ids and scores of the hits


@dataclass(frozen=True)
class Args:
    clips: int = 100_000
    sizes: tuple[int, ...] = (128,) * 4
    missing: float = 0.3
    searches: int = 2000  # of many clients
    alone: int = 400  # and of one
    clients: int = 50
    requests: int = 10_000  # that memory is looked at after
    top: int = 10
    kills: int = 12  # of writers
    seed: int = 0
    work: Path | None = None  # where the files go meanwhile


def main() -> None:
    args = arguments(Args, __doc__)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(dir=args.work, prefix="mee-load-") as work:
        say("model and index")
        index = apart(make, Path(work), args)
        told = islice(sentences(args.seed), 2 * args.alone + args.searches + args.requests + 100)
        texts = list(told)
        alone = apart(search_alone, index, texts[: args.alone], args.top)
        print(
            f"seed {args.seed}; {args.clips:,} clips, sizes {args.sizes}, {args.missing:.0%} missing; top {args.top}"
        )
        print(f"alone: {1000 * alone:.2f} ms CPU a search")
        with served(index) as (port, pid):
            ask(port, texts[-100:], 1, args.top)  # warms up
            taken, results, _ = ask(port, texts[args.alone :][: args.alone], 1, args.top, pid)
            report("one client", taken, results)
            print(f"  HTTP adds {1000 * (taken / len(results) - alone):.2f} ms CPU a search")
            start = 2 * args.alone
            taken, results, _ = ask(port, texts[start:][: args.searches], args.clients, args.top, pid)
            report(f"{args.clients} clients", taken, results)
            print(f"  {alone / (taken / len(results)):.2f} x the searches per CPU second of alone")
            start, before = start + args.searches, 0
            for count in sorted({args.requests // 10, args.requests // 2, args.requests}):
                ask(port, texts[start + before : start + count], args.clients, args.top)
                before = count
                print(f"memory after {count:,} more: {memory(pid)}")
        written(index, Path(work), texts[:20], args)
    print("; ".join(f"{key}: {value}" for key, value in machine(1).items()))


def sentences(seed: int) -> Iterator[str]:
    """Endless, each once."""
    rng, seen = random.Random(seed), set[str]()
    nouns, verbs = NOUNS.split(), VERBS.split()
    while True:
        words = [rng.choice(nouns), rng.choice(verbs), rng.choice(nouns), rng.choice(verbs), rng.choice(nouns)]
        made = "a {} {} in the {} and {} a {}".format(*words)
        if made not in seen:
            seen.add(made)
            yield made


def make(place: Path, args: Args) -> Path:
    """A model, and an index with its text side; returns the index."""
    import torch

    from index.sync import write_text_side
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
    model = MEE.learn(config, list(islice(sentences(args.seed), 2000))).eval()
    model.save_pretrained(place / "model")
    origin = Origin(str(place / "model"), fingerprint(place / "model"), "made")
    with IndexWriter.create(place / "index", model.layout, origin) as writer:
        writer.put_text(lambda aside: write_text_side(aside, model))
        for chunk, (packed, available) in enumerate(made.chunks()):
            numbers = chunk * CHUNK + np.arange(len(packed))
            writer.put(entries([f"clip{n:07}" for n in numbers], packed, available))
        writer.compact()
    return place / "index"


def entries(names: list[str], packed: Any, available: Any) -> Entries:
    """Clips of ten seconds, twenty a video."""
    videos = [f"video{n // 20:05}.mp4" for n in range(len(names))]
    start = np.arange(len(names)) % 20 * 10.0
    return Entries(
        pa.table({"clip_id": names, "video": videos, "start_s": start, "end_s": start + 10}), packed, available
    )


def search_alone(index: Path, texts: list[str], top: int) -> float:
    """CPU seconds a search."""
    searcher = Searcher.load(index)
    searcher.search([Request(sentence="a dog", top=top)])
    begun = time.process_time()
    for text in texts:
        searcher.search([Request(sentence=text, top=top)])
    return (time.process_time() - begun) / len(texts)


# ---- the server and its clients


@contextmanager
def served(index: Path) -> Iterator[tuple[int, int]]:
    """The port and the process of a server."""
    command = [sys.executable, "-m", "scripts.cli", "serve", str(index), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[^/]*:(\d+)/", process.stdout.readline())
        assert found, "the server did not start"
        yield int(found[1]), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def ask(port: int, texts: list[str], clients: int, top: int, pid: int = 0) -> tuple[float, list[Result], float]:
    """The server's CPU seconds, the results, and seconds."""
    with own_process() as process:
        process.submit(int).result()
        used, begun = processor(pid), time.perf_counter()
        results = process.submit(run_clients, port, texts, clients, top).result()
        return processor(pid) - used, results, time.perf_counter() - begun


def run_clients(port: int, texts: list[str], clients: int, top: int) -> list[Result]:
    """The results of all; a client that is refused asks again when it was told to."""
    waiting, results = iter(texts), list[Result]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for text in waiting:
            status = 503
            while status == 503:
                begun = time.perf_counter()
                path = f"/api/search?{urlencode({'q': text, 'top': top, 'size': top})}"
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = re.search(r"content-length: (\d+)", head)
                body = json.loads(await reader.readexactly(int(length[1]))) if length else {}
                status = int(head.split()[1])
                found = [(hit["clip_id"], hit["score"]) for hit in body.get("hits", ())]
                results.append((text, status, time.perf_counter() - begun, found or body))
                if status == 503:
                    await asyncio.sleep(float((re.search(r"retry-after: (\d+)", head) or "01")[1]))
        writer.close()

    async def everyone() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    asyncio.run(everyone())
    return results


def report(name: str, taken: float, results: list[Result]) -> None:
    """A line."""
    p50, p99 = (1000 * float(np.quantile([seconds for _, _, seconds, _ in results], q)) for q in (0.5, 0.99))
    by_status = dict(Counter(status for _, status, _, _ in results))
    each = 1000 * taken / len(results)
    print(f"{name}: {each:.2f} ms CPU a search; p50 {p50:.1f} ms, p99 {p99:.1f} ms; by status {by_status}")


def processor(pid: int) -> float:
    """CPU seconds of a process so far."""
    if not pid:
        return 0.0
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> str:
    """Of a process, without and with the files that it has mapped."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    own, every = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS"))
    return f"{own:.1f} MB of its own, {every:.1f} MB resident"


# ---- a writer that is killed


def change(writer: IndexWriter, number: int, near: Any) -> None:
    """The change of a number: two of three put clips near a sentence's vectors, the third removes some of them."""
    rng = np.random.default_rng(number)
    if number % 3 == 2:
        writer.remove([f"new{number - 1:06}-{n}" for n in range(REMOVED)])
        return
    packed = near[rng.integers(len(near))] + rng.normal(size=(PUT, near.shape[1])).astype(np.float32) / 20
    for its in writer.snapshot.layout.slices:
        packed[:, its] /= np.linalg.norm(packed[:, its], axis=1, keepdims=True)
    available = np.ones((PUT, len(writer.snapshot.layout.names)), dtype=bool)
    writer.put(entries([f"new{number:06}-{n}" for n in range(PUT)], packed.astype(np.float32), available))


def changes_of(writer: IndexWriter) -> int:
    """How many changes an index has seen."""
    number, find = 0, writer.snapshot.find
    while True:
        removed = number % 3 == 2 and find(f"new{number - 1:06}-0") is None
        if not removed and (number % 3 == 2 or find(f"new{number:06}-{PUT - 1}") is None):
            return number
        number += 1


def write(index: Path, near: Any) -> None:
    """Change an index until killed."""
    while True:
        with IndexWriter.open(index) as writer:
            for number in range(changes_of(writer), changes_of(writer) + 40):
                change(writer, number, near)
                time.sleep(0.02)


def written(index: Path, work: Path, texts: list[str], args: Args) -> None:
    """Kill writers under load, and compare each answer with those of all states of the index."""
    import multiprocessing

    initial = Path(shutil.copytree(index, work / "initial"))
    near = Searcher.load(index).encode(texts).packed[:, 0]
    rng, spawn = random.Random(args.seed), multiprocessing.get_context("spawn")
    with served(index) as (port, _), own_process() as clients:
        kills, results = 0, list[Result]()
        while kills < args.kills:
            asked = clients.submit(
                run_clients, port, [rng.choice(texts) for _ in range(1000)], args.clients, args.top
            )
            while not asked.done() or kills < args.kills:
                writer = spawn.Process(target=write, args=(index, near))
                writer.start()
                time.sleep(rng.uniform(1.5, 3))
                writer.kill()
                writer.join()
                kills += 1
                if asked.done():
                    break
            results += asked.result()
    with IndexWriter.open(index) as last:
        count = changes_of(last)
    true: dict[str, set[Any]] = {text: set() for text in texts}
    for number in range(-1, count):
        if number >= 0:
            with IndexWriter.open(initial) as again:
                change(again, number, near)
        found = Searcher.load(initial).search([Request(sentence=text, top=args.top) for text in texts])
        for text, hits in zip(texts, found):
            true[text].add(tuple((hit.clip_id, hit.score) for hit in hits))
    wrong = [
        result for result in results if result[1] == 200 and tuple(map(tuple, result[3])) not in true[result[0]]
    ]
    seen = {tuple(map(tuple, found)) for _, status, _, found in results if status == 200}
    print(
        f"writer: {kills} killed, {count} changes, {len(results):,} answers ({len(seen)} different), "
        f"{len(wrong)} wrong; by status {dict(Counter(status for _, status, _, _ in results))}"
    )


if __name__ == "__main__":
    main()
