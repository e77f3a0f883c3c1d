"""An index in PostgreSQL beside one on disk: recall, sizes and times, and what is left after kill -9.

    python -m benchmarks.scale.postgres [CLIPS] [KILLS]     100000 and 20: about 15 minutes on two cores

Made clips (benchmarks/data/index_data.py): four experts of 128 numbers, 30 % of the streams missing; 200 queries.
The clips that a database finds are scored again in float64 from the vectors that it returns, as a search does, and
compared with those of an exact index on disk. Then every third clip is removed, and some are replaced.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import torch

from benchmarks.data.index_data import BEST, CHUNK, Floats, Made
from benchmarks.scale.server import Server
from index import Entries, IndexWriter, Origin, Queries, VideoIndex
from index.postgres import Database
from index.scanners import Settings
from mee.errors import InputError
from mee.scoring import mixture_weights

ORIGIN = Origin("made", "0123456789ab", "made")
SIZES, MISSING, QUERIES = (128,) * 4, 0.3, 200
TUNED = ("shared_buffers=2GB", "maintenance_work_mem=1GB", "max_wal_size=8GB", "max_parallel_workers_per_gather=0")


def entries_of(made: Made, prefix: str = "clip") -> list[Entries]:
    """In pieces of CHUNK clips."""
    found = []
    for chunk, (packed, available) in enumerate(made.chunks()):
        names = [f"{prefix}{chunk * CHUNK + number:08}" for number in range(len(packed))]
        span = {"start_s": np.zeros(len(names)), "end_s": np.full(len(names), 10.0)}
        found.append(Entries(pa.table({"clip_id": names, "video": names, **span}), packed, available))
    return found


class Mirror:
    """What a search over a database needs: names and patterns of its rows, and a query's vectors."""

    def __init__(self, database: Database, made: Made, queries: int = QUERIES) -> None:
        self.database, self.queries = database, made.queries(queries)
        changes = database.since(-1)
        self.names = dict(zip(changes.rows.tolist(), changes.table["clip_id"].to_pylist()))
        self.codes = sorted(set(changes.table["pattern"].to_pylist()) - {"0" * len(SIZES)})

    def best(self, number: int, exact: bool) -> list[str]:
        """The ten best clips of a query: candidates of every pattern, in the order of their float64 scores."""
        found: list[tuple[float, str]] = []
        for code in self.codes:
            pattern = tuple(digit == "1" for digit in code)
            there = torch.tensor([pattern])
            weights = mixture_weights(self.queries.logits[number : number + 1], there, "renormalise")[0]
            wide = self.queries.packed[number].view(len(SIZES), -1) * weights.view(-1, 1)
            query = wide[list(pattern)].flatten().numpy()
            _, rows = self.database.search(pattern, query, BEST + 5, exact=exact)
            scores = self.database.vectors(pattern, rows).astype(np.float64) @ query.astype(np.float64)
            found += [(-score, self.names[row]) for score, row in zip(scores.tolist(), rows.tolist())]
        return [name for _, name in sorted(found)[:BEST]]

    def answers(self, exact: bool = True) -> tuple[list[list[str]], float]:
        """Of all queries, and the median of their seconds."""
        found, seconds = [], []
        for number in range(len(self.queries.logits)):
            begun = time.perf_counter()
            found.append(self.best(number, exact))
            seconds.append(time.perf_counter() - begun)
        return found, float(np.median(seconds))


def compared(clips: int) -> None:
    """Recall, sizes and times beside an index on disk; prints them."""
    made = Made(clips, SIZES, MISSING)
    pieces, facts = entries_of(made), dict[str, Any](clips=clips)
    with tempfile.TemporaryDirectory() as folder, Server(*TUNED) as server:
        place, url = Path(folder) / "index", server.fresh()
        database = Database.create(url, made.layout, ORIGIN, hnsw=True)
        begun = time.perf_counter()
        with database.writing():
            for piece in pieces:
                database.put(piece)
            facts["put_s"] = time.perf_counter() - begun
            facts["bytes_a_clip"] = size(url) / clips
            facts["bytes_a_clip_indexes"] = size(url, "pg_indexes_size") / clips
            facts["bytes_a_clip_tables"] = size(url, "pg_relation_size") / clips
            begun = time.perf_counter()
        facts["hnsw_s"] = time.perf_counter() - begun
        facts["bytes_a_clip_hnsw"] = size(url) / clips
        begun = time.perf_counter()
        with IndexWriter.create(place, made.layout, ORIGIN, settings=Settings(kind="flat")) as writer:
            for piece in pieces:
                writer.put(piece)
        facts["ours_put_s"] = time.perf_counter() - begun
        facts["ours_bytes_a_clip"] = (
            sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / clips
        )
        for state in ("put", "removed and replaced"):
            if state != "put":
                gone = [f"clip{number:08}" for number in range(0, clips, 3)]
                new = entries_of(Made(min(clips, 5000), SIZES, MISSING, seed=1))[0]
                with IndexWriter.open(place) as writer, database.writing():
                    for each in (writer, database):
                        begun = time.perf_counter()
                        each.remove(gone)
                        facts[f"{type(each).__name__} remove_s"] = time.perf_counter() - begun
                        each.put(new)
            mirror, index = Mirror(database, made), VideoIndex.open(place)
            queries, wanted, seconds = Queries.of(mirror.queries), [], []
            for number in range(QUERIES):
                begun = time.perf_counter()
                wanted.append(index.rank(queries.part(slice(number, number + 1)), BEST).ids[0])
                seconds.append(time.perf_counter() - begun)
            for exact in (True, False):
                found, median = mirror.answers(exact)
                hits = sum(len({*a} & {*b}) for a, b in zip(found, wanted)) / sum(map(len, wanted))
                facts[f"{state}, {'exact' if exact else 'HNSW'}"] = {"recall": hits, "p50_ms": median * 1000}
            facts[f"{state}, ours"] = {"p50_ms": float(np.median(seconds)) * 1000}
    print(json.dumps(facts, indent=1))


def size(url: str, what: str = "pg_total_relation_size") -> int:
    """Bytes of the index, its tables alone, or its indexes alone."""
    with psycopg.connect(url) as connection:
        query = f"SELECT sum({what}(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        found = connection.execute(f"{query} WHERE nspname = 'mee' AND relkind = 'r'").fetchone()
    return int(found[0]) if found else 0


def state_of(database: Database) -> tuple[int, list[str], Floats]:
    """The generation, the clips, and all vectors, which must be those of these clips."""
    changes = database.since(-1)
    codes, found = changes.table["pattern"].to_pylist(), [np.empty(0, np.float32)]
    for code in sorted(set(codes) - {"0" * len(SIZES)}):
        rows = changes.rows[np.array(codes) == code]
        found.append(database.vectors(tuple(digit == "1" for digit in code), rows).ravel())
    return changes.generation, changes.table["clip_id"].to_pylist(), np.concatenate(found)


def kills(server: Server, times: int, clips: int = 5000) -> Counter[str]:
    """Kill the server while clips are replaced and added; how often they were there, whole, and how often not."""
    made = [Made(clips, SIZES, MISSING, seed=seed) for seed in range(2)]
    database = Database.create(server.url("postgres"), made[0].layout, ORIGIN, overwrite=True)
    database.put(entries_of(made[0])[0])
    begun = time.perf_counter()
    database.put(entries_of(made[0])[0])
    took, outcome = time.perf_counter() - begun, Counter[str]()
    for number in range(times):
        before = state_of(database)
        wanted = entries_of(made[number % 2], f"{'new' if number % 4 > 1 else 'clip'}")[0]
        killer = threading.Timer(took * 1.1 * (number + 0.5) / times, lambda: (server.kill(), server.start()))
        killer.start()
        try:
            database.put(wanted)
            said = "whole"
        except InputError as error:  # also where it was killed before the change began
            said = "?" if "whole, or not" in str(error) else "whole" if "whole" in str(error) else "nothing"
        killer.join()
        after = state_of(Database.open(server.url("postgres")))
        same = before[0] == after[0] and before[1] == after[1] and np.array_equal(before[2], after[2])
        ids = set(before[1]) | set(wanted.table["clip_id"].to_pylist())
        whole = after[0] == before[0] + 1 and set(after[1]) == ids and len(after[1]) == len(ids)
        if said != ("nothing" if same else "whole" if whole else "damaged"):
            raise AssertionError(f"kill {number}: {said}, {before[0]} -> {after[0]}, {len(after[1])} clips")
        outcome[said] += 1
    return outcome


def promoted(clips: int = 20_000, queries: int = QUERIES) -> bool:
    """Kill a primary, promote its standby: whether that was read-only, answers the same, and takes changes now."""
    made = Made(clips, SIZES, MISSING)
    with Server() as primary:
        database = Database.create(primary.url("postgres"), made.layout, ORIGIN)
        with Server(source=primary) as standby:
            for piece in entries_of(made):
                database.put(piece)
            wanted, (generation, names, vectors) = Mirror(database, made, queries).answers()[0], state_of(database)
            both = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
            follower = Database.open(standby.url("postgres"))
            while follower.read_state().generation < generation:
                time.sleep(0.05)
            try:
                follower.remove(names[:1])
            except InputError as error:
                refused = "read-only" in str(error)
            primary.kill()
            standby.promote()
            after = Database.open(f"{both}?target_session_attrs=read-write")
            now = state_of(after)
            same = now[:2] == (generation, names) and np.array_equal(now[2], vectors)
            same &= Mirror(after, made, queries).answers()[0] == wanted
            return bool(refused and same and after.remove(names[:1]) == 1)


if __name__ == "__main__":
    clips, times = (int(word) for word in (*sys.argv[1:], "100000", "20")[:2])
    compared(clips)
    with Server() as server:
        print(f"{times} kills: {dict(kills(server, times))}")
    print(f"promoted standby answers the same: {promoted()}")
