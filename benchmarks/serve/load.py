"""What `mee serve` takes under load, beside the same searches in one process, one at a time.

examples:
  python -m benchmarks.serve.load                     # 100,000 clips, 4 x 128, 30 % of the streams missing
  python -m benchmarks.serve.load --clips 5000 --requests 1000 --searches 500 --kills 3        # does it run

The command itself serves an index of made clips (data/index_data.py) on loopback; a tiny model with a text side
encodes sentences, each of which is asked for once. Clients are in a process of their own, with connections that
stay open. CPU seconds are of the server's process alone (/proc/PID/stat), and libraries have one thread.

alone       Searcher.search([request]) in a process
batcher     many tasks that ask a Service in a process: what is asked while a search runs is searched together
one client  over HTTP, one search after another; what it takes more than alone, HTTP adds
clients     over HTTP, many at once
memory      of the server, after so many searches more
writer      a process puts and removes clips, and is killed (SIGKILL), again and again. Each answer must be one
            of a fresh Searcher of some state of the index: the changes are made again, one by one, on a copy.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa

from benchmarks.data.index_data import CHUNK, Made
from benchmarks.timing import apart, arguments, machine, own_process, say
from index import Entries, Hit, IndexWriter, Origin, Request, Searcher
from scripts.serve import Service

NOUNS = "dog cat man woman child car boat train horse bird tree river street kitchen stage crowd guitar drum"
VERBS = "runs jumps sleeps sings turns falls rises plays cooks paints swims climbs drives waits laughs reads"
PUT, REMOVED = 10, 5  # clips of a change
Result = tuple[str, int, float, Any]  # sentence, status, seconds; ids and scores of the hits


@dataclass(frozen=True)
class Args:
    clips: int = 100_000
    sizes: tuple[int, ...] = (128,) * 4
    missing: float = 0.3
    searches: int = 2000  # of many clients
    alone: int = 500  # and of one
    clients: int = 50
    requests: int = 10_000  # that memory is looked at after
    top: int = 10
    kills: int = 12  # of writers
    seed: int = 0
    work: Path | None = None  # where the files go meanwhile


def main() -> None:
    args = arguments(Args, __doc__)
    os.environ["OMP_NUM_THREADS"] = "1"
    told = sentences(args.seed)
    with tempfile.TemporaryDirectory(dir=args.work, prefix="mee-load-") as work:
        say("model and index")
        index = apart(make, Path(work), args)
        alone, batched = apart(in_process, index, take(told, args.alone), take(told, args.searches), args)
        print(
            f"alone: {1000 * alone:.2f} ms CPU a search (top {args.top}, seed {args.seed}, {args.clips:,} clips)"
        )
        print(f"batcher: {1000 * batched:.2f} ms CPU a search: {alone / batched:.2f} x as many a CPU second")
        with served(index) as (port, pid):
            ask(port, take(told, 4 * args.clients), args.clients, args)  # warms up
            one = ask(port, take(told, args.alone), 1, args, pid)
            print(f"  HTTP adds {1000 * (one - alone):.2f} ms CPU a search")
            many = ask(port, take(told, args.searches), args.clients, args, pid)
            print(f"  {alone / many:.2f} x as many a CPU second as alone, HTTP included")
            for more in (args.requests // 10, args.requests * 4 // 10, args.requests // 2):
                ask(port, take(told, more), args.clients, args)
                print(f"memory, {more:,} searches later: {memory(pid)}")
        written(index, Path(work), take(told, 20), args)
    print("; ".join(f"{key}: {value}" for key, value in machine(1).items()))


def sentences(seed: int) -> Iterator[str]:
    """Endless, each once."""
    rng, seen, nouns, verbs = random.Random(seed), set[str](), NOUNS.split(), VERBS.split()
    while True:
        parts = (rng.choice(words) for words in (nouns, verbs, nouns, verbs, nouns))
        if (made := "a {} {} in the {} and {} a {}".format(*parts)) not in seen:
            seen.add(made)
            yield made


def take(texts: Iterator[str], number: int) -> list[str]:
    """The next ones."""
    return list(islice(texts, number))


def make(place: Path, args: Args) -> Path:
    """A model, and an index with its text side; returns the index."""
    import torch

    from index.text_export import write_text_side
    from mee.checkpoint import fingerprint
    from mee.config import ExpertConfig, ModelConfig
    from mee.model import MEE
    from mee.text import TextConfig

    made = Made(args.clips, args.sizes, args.missing, "uniform", args.seed)
    torch.manual_seed(args.seed)
    named = zip(made.layout.names, made.sizes)
    experts = tuple(
        ExpertConfig(name=name, input_dim=8, embed_dim=size, fingerprint="made") for name, size in named
    )
    config = ModelConfig(experts=experts, text=TextConfig(width=64, heads=2))
    model = MEE.learn(config, take(sentences(args.seed), 2000)).eval()
    model.save_pretrained(place / "model")
    origin = Origin(str(place / "model"), fingerprint(place / "model"), "made")
    with IndexWriter.create(place / "index", model.layout, origin) as writer:
        writer.put_text(lambda aside: write_text_side(aside, model))
        for chunk, (packed, available) in enumerate(made.chunks()):
            numbers = chunk * CHUNK + np.arange(len(packed))
            writer.put(entries([f"clip{number:07}" for number in numbers], packed, available))
        writer.compact()
    return place / "index"


def entries(names: list[str], packed: Any, available: Any) -> Entries:
    """Clips of ten seconds."""
    span = {"start_s": np.zeros(len(names)), "end_s": np.full(len(names), 10.0)}
    return Entries(pa.table({"clip_id": names, "video": names, **span}), packed, available)


def in_process(index: Path, single: list[str], many: list[str], args: Args) -> tuple[float, float]:
    """CPU seconds a search: of single ones, and of many tasks that ask a service."""
    searcher = Searcher.load(index)

    async def by_tasks(texts: list[str]) -> None:
        waiting = iter(texts)

        async def task(service: Service) -> None:
            for text in waiting:
                await service.search(Request(sentence=text, top=args.top), size=args.top)

        async with Service(searcher) as service:
            await asyncio.gather(*(task(service) for _ in range(args.clients)))

    asyncio.run(by_tasks(many[: 4 * args.clients]))  # warms up
    begun = time.process_time()
    for text in single:
        searcher.search([Request(sentence=text, top=args.top)])
    alone = time.process_time() - begun
    asyncio.run(by_tasks(many))
    return alone / len(single), (time.process_time() - begun - alone) / len(many)


# ---- the server and its clients


@contextmanager
def served(index: Path, *flags: str) -> Iterator[tuple[int, int]]:
    """The port and the process of a server."""
    command = [sys.executable, "-m", "scripts.cli", "serve", str(index), "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://[^/]*:(\d+)/", process.stdout.readline())
        assert found, "the server did not start"
        yield int(found[1]), process.pid
        process.send_signal(signal.SIGINT)


def ask(port: int, texts: list[str], clients: int, args: Args, pid: int = 0) -> float:
    """The server's CPU seconds a search; says how it went, if its process is given."""
    with own_process() as process:
        used = processor(pid)
        results = process.submit(run_clients, port, texts, clients, args.top).result()
        each = (processor(pid) - used) / len(texts)
    p50, p99 = (
        1000 * float(np.quantile([seconds for _, _, seconds, _ in results], share)) for share in (0.5, 0.99)
    )
    if pid:
        times = f"{1000 * each:.2f} ms CPU a search, p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        print(f"{clients} clients: {times}, by status {by_status(results)}")
    return each


def run_clients(port: int, texts: list[str], clients: int, top: int) -> list[Result]:
    """The results of all; a client that is refused asks again when it was told to."""
    waiting, results = iter(texts), list[Result]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for text in waiting:
            path = f"/api/search?{urlencode({'q': text, 'top': top, 'size': top})}"
            status = 503
            while status == 503:
                begun = time.perf_counter()
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                status, fields = int(head.split()[1]), dict(re.findall(r"([a-z-]+): (\d+)", head))
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                found = [(hit["clip_id"], hit["score"]) for hit in body.get("hits", ())]
                results.append((text, status, time.perf_counter() - begun, tuple(found)))
                if status == 503:
                    await asyncio.sleep(int(fields["retry-after"]))
        writer.close()

    async def everyone() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    asyncio.run(everyone())
    return results


def by_status(results: list[Result]) -> dict[int, int]:
    """How many."""
    return dict(Counter(status for _, status, _, _ in results))


def processor(pid: int) -> float:
    """CPU seconds of a process so far."""
    numbers = Path(f"/proc/{pid or os.getpid()}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> str:
    """Of a process, without and with the files that it has mapped."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    own, every = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS"))
    return f"{own:.1f} MB of its own, {every:.1f} MB resident"


# ---- a writer that is killed


def change(index: Path, near: Any, number: int) -> None:
    """The change of a number: two of three put clips near a sentence's vectors, the third removes some of them."""
    rng = np.random.default_rng(number)
    with IndexWriter.open(index) as writer:
        if number % 3 == 2:
            writer.remove([f"new{number - 1:06}-{n}" for n in range(REMOVED)])
            return
        packed = near[rng.integers(len(near))] + rng.normal(size=(PUT, near.shape[1])) / 20
        for its in writer.snapshot.layout.slices:
            packed[:, its] /= np.linalg.norm(packed[:, its], axis=1, keepdims=True)
        available = np.ones((PUT, len(writer.snapshot.layout.names)), dtype=bool)
        writer.put(entries([f"new{number:06}-{n}" for n in range(PUT)], packed.astype(np.float32), available))


def changes_of(index: Path) -> int:
    """How many changes an index has seen."""
    find: Callable[[str], object] = Searcher.load(index).video_index.snapshot.find
    for number in count():
        last = f"new{number - 1:06}-0" if number % 3 == 2 else f"new{number:06}-{PUT - 1}"
        if (find(last) is None) is not (number % 3 == 2):
            return number
    return 0


def write(index: Path, near: Any, begun: Any) -> None:
    """Change an index until killed."""
    for number in count(changes_of(index)):
        change(index, near, number)
        begun.set()


def written(index: Path, work: Path, texts: list[str], args: Args) -> None:
    """Kill writers under load, and compare each answer with those of all states of the index."""
    initial = Path(shutil.copytree(index, work / "initial"))
    near = Searcher.load(index).encode(texts).packed[:, 0]
    rng, spawn, results, kills = random.Random(args.seed), multiprocessing.get_context("spawn"), list[Result](), 0
    with served(index) as (port, _), own_process() as clients:
        while kills < args.kills:
            asked = clients.submit(run_clients, port, rng.choices(texts, k=500), args.clients, args.top)
            while not asked.done():
                begun = spawn.Event()
                writer = spawn.Process(target=write, args=(index, near, begun))
                writer.start()
                begun.wait(60)
                time.sleep(rng.uniform(0, 0.5))
                writer.kill()
                writer.join()
                kills += 1
            results += asked.result()

    def answers(hits: list[Hit]) -> Any:
        return tuple((hit.clip_id, hit.score) for hit in hits)

    true, states = {text: set[Any]() for text in texts}, changes_of(index) + 1
    for number in range(states):
        for text, hits in zip(
            texts, Searcher.load(initial).search([Request(sentence=t, top=args.top) for t in texts])
        ):
            true[text].add(answers([hit for hit in hits if isinstance(hit, Hit)]))
        change(initial, near, number)
    good = [(text, found) for text, status, _, found in results if status == 200]
    wrong = sum(found not in true[text] for text, found in good)
    found = f"{len(set(good))} different answers, {wrong} wrong of {len(good):,}"
    print(f"writer: {kills} killed, {states} states, {found}; by status {by_status(results)}")


if __name__ == "__main__":
    main()
