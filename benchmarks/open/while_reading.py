"""Searches while `mee open` reads, beside the same searches when it has read all: seconds over HTTP.

examples:
  python -m benchmarks.open.while_reading DATA/msrvtt200/videos

One client sends a request each 100 ms, or as soon as the last is answered, each with a sentence of its own, from
the first hit until all is read, or until there were enough; the same again when it is done (more sentences than
the server keeps). "CPU": share of all cores that all processes of `mee open` use meanwhile.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from benchmarks.open.opened import Opened, opened, pacing
from benchmarks.serve.load import sentences, take
from benchmarks.timing import arguments, print_table

EACH_S, ASKED_MS = 0.1, 300
COLUMNS = {"searches": "{when}", "number": "{number}", "p50 ms": "{p50:.0f}", "p95 ms": "{p95:.0f}"}
COLUMNS |= {"max ms": "{most:.0f}", "CPU": "{share:.0f} %", "clips": "{clips}"}


@dataclass(frozen=True)
class Args:
    videos: Positional[Path]  # folder
    searches: int = 3000  # at most while it reads
    seed: int = 0


def main() -> None:
    args = arguments(Args, __doc__)
    texts = take(sentences(args.seed), args.searches)
    with tempfile.TemporaryDirectory(prefix="mee-open-") as work, opened(args.videos, Path(work)) as its:
        next(now for now in pacing(0.1) if (its.get("/api/search", q="a dog") or {}).get("hits"))
        reading = asked(its, "while it reads", texts, until_done=True)
        next(now for now in pacing(1) if its.get("/api/library")["status"]["done"])
        time.sleep(3)  # the index is opened again
        print_table(COLUMNS, [reading, asked(its, "when all is read", texts[: reading["number"]])], 16)
    print(f"asked: p95 at most {ASKED_MS} ms while it reads, {'met' if reading['p95'] <= ASKED_MS else 'missed'}")


def asked(its: Opened, when: str, texts: Sequence[str], *, until_done: bool = False) -> dict[str, Any]:
    """A row of the table."""
    begun, used = time.time(), its.processor()
    taken: list[float] = []
    for text, _ in zip(texts, pacing(EACH_S)):
        sent = time.perf_counter()
        if its.get("/api/search", q=text) is None:
            raise SystemExit(f"no answer to '{text}'")
        taken.append(1000 * (time.perf_counter() - sent))
        if until_done and len(taken) % 20 == 0 and its.get("/api/library")["status"]["done"]:
            break
    share = 100 * (its.processor() - used) / (time.time() - begun) / (os.cpu_count() or 1)
    p50, p95 = np.quantile(taken, (0.5, 0.95))
    facts = {"when": when, "number": len(taken), "p50": p50, "p95": p95, "most": max(taken)}
    return facts | {"share": share, "clips": its.get("/api/info")["clips"]}


if __name__ == "__main__":
    main()
