"""Fuzz the readers of files that may come from anyone: each reads a mutated file, or refuses it in one sentence.

example:
  python -m benchmarks.fuzz --seconds 600
  python -m benchmarks.fuzz --seconds 60 --only imports store --seed 7

The time is divided among the families of data/fuzz_readers.py. Each runs in child processes with limits; where
atheris is installed, the coverage of our packages guides it. A line a family: tries, files accepted and refused,
and what is unexpected: other exceptions and where they come from, signals, hangs, memory. Their inputs, each below
a line with its file's name, are in --keep.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import MutableSequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import arguments, say

HANG_S, MEMORY_KB, SPACE = 20, 1 << 20, 8 << 30  # seconds and memory of a try; address space of a child
TOKENS = [b"(" * 300, b"[" * 5000, b"9" * 30, b"\n", b"\r", b"\t", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J"]
TOKENS += [*rb"""" , \ { [ null NaN 1e999 -1 ' ../ \ud800""".split(), "\u202e".encode()]
VALUES = [None, True, -1, 0, 1.5, 1e308, 2**31, 2**63, 10**30, "", "x", "../x", "\x1b[2J", "\u202e", [], {}]
VALUES += [[1], {"a": 1}, [[1] * 3], "9" * 400, "x" * 100_000, "\ud800"]
NUMBERS = (0, 1, 255, 10**6, 2**31 - 1, 2**31, 2**63 - 1, 2**64 - 1)
PACKAGES = ("mee", "features", "index")
OURS = tuple(f"{Path(__file__).parents[1] / package}/" for package in PACKAGES)
FORK = multiprocessing.get_context("fork")
Counts = MutableSequence[int]  # tries, accepted, refused; shared with the children


@dataclass(frozen=True)
class Args:
    seconds: float = 600.0  # for all families together
    only: tuple[str, ...] = ()  # families; default: all
    seed: int = 0
    keep: Path = Path("fuzz-found")  # folder for inputs with unexpected results


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """A file's content, changed in its bytes, or in its values where it is JSON or begins with JSON."""
    head = 8 + int.from_bytes(raw[:8], "little")
    if rng.random() < 0.6:
        with suppress(ValueError, RecursionError):
            if raw[:1] in (b"{", b"["):
                return json.dumps(changed(json.loads(raw), rng)).encode()
            if raw[8:9] == b"{" and head < len(raw):
                new = json.dumps(changed(json.loads(raw[8:head]), rng)).encode()
                return len(new).to_bytes(8, "little") + new + raw[head:]
    new = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        place, other, size = rng.randrange(len(new) + 1), rng.randrange(len(new) + 1), rng.choice((1, 2, 4, 8))
        number = rng.choice((*NUMBERS, rng.getrandbits(60))).to_bytes(8, "little")[:size]
        token, some = rng.choice(TOKENS), bytes(new[other : other + 200]) * rng.choice((1, 1, 20))
        byte = bytes([rng.randrange(256)])
        length, text = rng.choice([(size, number), (0, token), (0, some), (1, byte), (9, b""), (len(new), b"")])
        new[place : place + length] = text
    return bytes(new)


def changed(content: Any, rng: random.Random) -> Any:
    """JSON of which one or two values are others or under another name."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in list(keys)[:50]:
            places.append((value, key))
            walk(value[key])

    walk(content)
    for container, key in rng.sample(places, min(len(places), rng.choice((1, 1, 2)))):
        if rng.random() < 0.2 and isinstance(container, dict):
            container[str(rng.choice(VALUES))] = container.pop(key, None)
        else:
            container[key] = rng.choice(VALUES)
    return content


def fuzz(name: str, seeds: Path, work: Path, seconds: float, rng: random.Random, counts: Counts) -> None:
    """In a child: try until the time is over."""
    from benchmarks.data.fuzz_readers import FAMILIES, SEALS

    def attempt(data: bytes) -> None:
        file, before = files[(data or b"\0")[0] % len(files)], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seeds, folder)
        (folder / file).write_bytes(data[1:])
        (work / "last").write_bytes(f"{file}\n".encode() + data[1:])
        counts[0] += 1
        try:
            SEALS.get(name, lambda _: None)(folder)
            FAMILIES[name](folder, folder / file)
            counts[1] += 1
        except Exception as error:
            counts[2] += 1
            if type(error).__name__ not in ("InputError", "Refused") or "\n" in str(error):
                frames = traceback.extract_tb(error.__traceback__)
                last = ([frame for frame in frames if frame.filename.startswith(OURS)] or frames)[-1]
                note(work, f"{type(error).__name__} at {'/'.join(Path(last.filename).parts[-3:])}:{last.lineno}")
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > MEMORY_KB:
            note(work, f"more than 1 GB of memory for {file}")
            os._exit(0)  # the highest use never falls: go on in a new process

    def other(data: bytes, size: int, number: int) -> bytes:
        chance = random.Random(number)
        return (data[:1] + mutate(data[1:], chance) if chance.random() < 0.5 else fresh(chance))[:size]

    def fresh(chance: random.Random) -> bytes:
        number = chance.randrange(len(files))
        return bytes([number]) + mutate((seeds / files[number]).read_bytes(), chance)

    redirect(work / "output")
    folder, end = work / "files", time.monotonic() + seconds
    files = sorted(path.relative_to(seeds) for path in seeds.rglob("*") if path.is_file() and path.stat().st_size)
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if atheris := sys.modules.get("atheris"):
        options = (
            f"-max_total_time={max(1, int(seconds))} -timeout=1000 -rss_limit_mb=0 -max_len=1000000 -len_control=0"
        )
        options += f" -artifact_prefix={work}/ -seed={rng.randrange(1, 2**31)}"
        handled = [f"-handle_{kind}=0" for kind in ("segv", "abrt", "bus", "ill", "fpe", "int", "term")]
        atheris.Setup(["fuzz", *options.split(), *handled], attempt, custom_mutator=other)
        atheris.Fuzz()
    while time.monotonic() < end:
        attempt(fresh(rng))


def redirect(path: Path) -> None:
    """Let this process print into a file."""
    for output in (1, 2):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), output)


def note(work: Path, what: str) -> None:
    """Count what is unexpected, and keep the first input of each kind."""
    if what not in (before := (work / "found").read_text().splitlines()):
        shutil.copy(work / "last", work / f"input-{len(set(before))}")
    (work / "found").write_text("\n".join([*before, what]))


def run_family(name: str, top: Path, seconds: float, args: Args) -> None:
    """Start children until the time is over, and print what they found."""
    end, work, rng = time.monotonic() + seconds, top / "work" / name, random.Random(args.seed)
    counts: Counts = FORK.RawArray("q", 3)
    work.mkdir(parents=True)
    (work / "found").touch()
    while (left := end - time.monotonic()) > 0.5:
        child = FORK.Process(target=fuzz, args=(name, top / "seeds" / name, work, left, rng, counts))
        child.start()
        rng.random()
        while child.is_alive():
            tries = counts[0]
            child.join(HANG_S)
            if child.is_alive() and counts[0] == tries:
                note(work, "hang")
                child.kill()
                child.join()
        code = child.exitcode or 0
        if code and code != -signal.SIGKILL:
            note(work, signal.Signals(-code).name if code < 0 else f"exit code {code}")
    for path in work.glob("input-*"):
        args.keep.mkdir(exist_ok=True)
        shutil.copy(path, args.keep / f"{name}-{path.name}")
    found = Counter((work / "found").read_text().splitlines())
    unexpected = "; ".join(f"{what} ({times})" for what, times in found.items()) or "nothing unexpected"
    tried, accepted, refused = counts
    print(f"{name:11} {tried:8,} tries {accepted:8,} accepted {refused:8,} refused  {unexpected}", flush=True)


def main() -> int:
    args = arguments(Args, __doc__)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        import atheris

        with atheris.instrument_imports(include=list(PACKAGES)):
            from benchmarks.data import fuzz_readers as readers
    except ImportError:
        say("atheris is not installed: mutations are not guided by coverage")
        from benchmarks.data import fuzz_readers as readers
    names = args.only or tuple(readers.FAMILIES)
    with tempfile.TemporaryDirectory() as folder:
        readers.SEEDS.append(top := Path(folder))
        making = FORK.Process(target=lambda: (redirect(top / "output"), readers.make_seeds(top / "seeds")))
        making.start()  # in a child, so that the threads that training starts are no part of the others
        making.join()
        if making.exitcode:
            say((top / "output").read_text())
            return 1
        for name in names:
            run_family(name, top, args.seconds / len(names), args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
