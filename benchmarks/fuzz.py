"""Fuzz the readers of files that may come from anyone: each reads a mutated file, or refuses it in one sentence.

example:
  python -m benchmarks.fuzz --seconds 600
  python -m benchmarks.fuzz --seconds 60 --only imports store --seed 7

The time is divided among the families of fuzz_readers.py. Each runs in child processes with limits; where atheris
is installed, the coverage of our packages guides it. A line a family: tries, files accepted and refused, and what
is unexpected: other exceptions and where they come from, signals, hangs, memory. Their inputs, each below a line
with its file's name, are in --keep.
"""

from __future__ import annotations

import json
import mmap
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
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import arguments, say

HANG_S, MEMORY_KB, SPACE = 20, 1 << 20, 8 << 30  # seconds and memory of a try; address space of a child
TOKENS = [b'"', b",", b"\n", b"\r", b"\0", b"\\", b"{", b"[", b"null", b"NaN", b"1e999", b"-1", b"'", b"\t"]
TOKENS += [b"../", b"9" * 30, b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800", b"\xe2\x80\xae", b"\x1b[2J"]
TOKENS += [b"(" * 300, b"[" * 5000]
VALUES = [None, True, -1, 0, 1.5, 1e308, 2**31, 2**63, 10**30, "", "x", "../x", "\x1b[2J", "\u202e", [], {}]
VALUES += [[1], {"a": 1}, [[1] * 3], "9" * 400, "x" * 100_000, "\ud800"]
NUMBERS = (0, 1, 255, 10**6, 2**31 - 1, 2**31, 2**63 - 1, 2**64 - 1)
PACKAGES = ("mee", "features", "index")
OURS = tuple(f"{Path(__file__).parents[1] / package}/" for package in PACKAGES)


@dataclass(frozen=True)
class Args:
    seconds: float = 600.0  # for all families together
    only: tuple[str, ...] = ()  # families; default: all
    seed: int = 0
    keep: Path = Path("fuzz-found")  # folder for inputs with unexpected results


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """A file's content, changed in its bytes, or in its values where it is JSON or begins with JSON."""
    length = int.from_bytes(raw[:8], "little")
    if rng.random() < 0.6:
        with suppress(ValueError, RecursionError):
            if raw[:1] in (b"{", b"["):
                return json.dumps(changed(json.loads(raw), rng)).encode()
            if raw[8:9] == b"{" and length < len(raw):
                head = json.dumps(changed(json.loads(raw[8 : 8 + length]), rng)).encode()
                return len(head).to_bytes(8, "little") + head + raw[8 + length :]
    new = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        place, other, size = rng.randrange(len(new) + 1), rng.randrange(len(new) + 1), rng.choice((1, 2, 4, 8))
        number = rng.choice((*NUMBERS, rng.getrandbits(60))).to_bytes(8, "little")[:size]
        token, some = rng.choice(TOKENS), bytes(new[other : other + 200]) * rng.choice((1, 1, 20))
        kinds = [
            (place, place + size, number),
            (place, place, token),
            (place, place, some),
            (place, place + 9, b""),
        ]
        kinds += [(place, place + 1, bytes([rng.randrange(256)])), (place, len(new), b"")]
        start, end, text = rng.choice(kinds)
        new[start:end] = text
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


class Hang(BaseException):
    """A try takes too long."""


def fuzz(name: str, seeds: Path, work: Path, seconds: float, rng: random.Random, counts: mmap.mmap) -> None:
    """In a child: try until the time is over. counts: 8 bytes each of tries, accepted, refused."""
    from benchmarks.fuzz_readers import FAMILIES

    def stop(*_: object) -> None:
        raise Hang

    def count(kind: int) -> None:
        counts[8 * kind : 8 * kind + 8] = (total(counts, kind) + 1).to_bytes(8, "little")

    def attempt(data: bytes) -> None:
        file, before = files[(data or b"\0")[0] % len(files)], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seeds, folder)
        (folder / file).write_bytes(data[1:])
        (work / "last").write_bytes(f"{file}\n".encode() + data[1:])
        count(0)
        signal.alarm(HANG_S)
        try:
            FAMILIES[name].seal(folder)
            FAMILIES[name].read(folder, folder / file)
            count(1)
        except (Exception, Hang) as error:
            if type(error).__name__ not in ("InputError", "Refused") or "\n" in str(error):
                frames = traceback.extract_tb(error.__traceback__)
                last = ([frame for frame in frames if frame.filename.startswith(OURS)] or frames)[-1]
                at = f"{'/'.join(Path(last.filename).parts[-3:])}:{last.lineno}"
                note(work, f"{type(error).__name__} at {at}")
            count(2)
        signal.alarm(0)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > MEMORY_KB:
            note(work, f"more than 1 GB of memory for {file}")
            os._exit(0)  # the highest use never falls: go on in a new process

    def other(data: bytes, size: int, number: int) -> bytes:
        chance = random.Random(number)
        return (data[:1] + mutate(data[1:], chance) if chance.random() < 0.5 else fresh(chance))[:size]

    def fresh(chance: random.Random) -> bytes:
        number = chance.randrange(len(files))
        return bytes([number]) + mutate((seeds / files[number]).read_bytes(), chance)

    folder = work / "files"
    files = sorted(path.relative_to(seeds) for path in seeds.rglob("*") if path.is_file() and path.stat().st_size)
    signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if atheris := sys.modules.get("atheris"):
        options = [f"-max_total_time={max(1, int(seconds))}", "-timeout=0", "-rss_limit_mb=0", "-max_len=1000000"]
        options += [f"-handle_{kind}=0" for kind in ("segv", "abrt", "bus", "ill", "fpe", "int", "term")]
        options += ["-len_control=0", f"-artifact_prefix={work}/", f"-seed={rng.randrange(1, 2**31)}"]
        atheris.Setup(["fuzz", *options], attempt, custom_mutator=other)
        atheris.Fuzz()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        attempt(fresh(rng))


def total(counts: mmap.mmap, kind: int) -> int:
    return int.from_bytes(counts[8 * kind : 8 * kind + 8], "little")


def note(work: Path, what: str) -> None:
    """Count what is unexpected, and keep the first input of each kind."""
    with (work / "found").open("a+") as file:
        file.seek(0)
        if what + "\n" not in (before := file.readlines()):
            shutil.copy(work / "last", work / f"input-{len(set(before))}")
        file.write(what + "\n")


def run_family(name: str, top: Path, seconds: float, args: Args) -> None:
    """Fork children until the time is over, and print what they found."""
    end, work, counts, rng = (
        time.monotonic() + seconds,
        top / "work" / name,
        mmap.mmap(-1, 24),
        random.Random(args.seed),
    )
    work.mkdir(parents=True)
    while (left := end - time.monotonic()) > 0.5:
        if not (child := os.fork()):
            for output in (1, 2):
                os.dup2(os.open(work / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND), output)
            try:
                fuzz(name, top / "seeds" / name, work, left, rng, counts)
            finally:
                os._exit(0)
        rng.random()
        tries, since = -1, time.monotonic()
        while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.1)
            if total(counts, 0) != tries:
                tries, since = total(counts, 0), time.monotonic()
            elif time.monotonic() - since > 2 * HANG_S:  # in a library, which an alarm does not interrupt
                note(work, "hang in a library")
                os.kill(child, signal.SIGKILL)
                break
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code < 0 and code != -signal.SIGKILL:
            note(work, signal.Signals(-code).name)
    found = Counter((work / "found").read_text().splitlines()) if (work / "found").exists() else {}
    for path in work.glob("input-*"):
        args.keep.mkdir(exist_ok=True)
        shutil.copy(path, args.keep / f"{name}-{path.name}")
    tried, accepted, refused = (total(counts, kind) for kind in range(3))
    unexpected = "; ".join(f"{what} ({times})" for what, times in found.items()) or "nothing unexpected"
    print(f"{name:11} {tried:8,} tries {accepted:8,} accepted {refused:8,} refused  {unexpected}", flush=True)


def main() -> int:
    args = arguments(Args, __doc__)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        import atheris

        with atheris.instrument_imports(include=list(PACKAGES)):
            from benchmarks import fuzz_readers as readers
    except ImportError:
        say("atheris is not installed: mutations are not guided by coverage")
        from benchmarks import fuzz_readers as readers
    names = args.only or tuple(readers.FAMILIES)
    with tempfile.TemporaryDirectory() as folder:
        readers.SEEDS.append(top := Path(folder))
        if not (making := os.fork()):  # the threads that training starts are no part of the children
            with (top / "output").open("w") as out, redirect_stdout(out), redirect_stderr(out):
                readers.make_seeds(top / "seeds")
            os._exit(0)
        if os.waitpid(making, 0)[1]:
            say((top / "output").read_text())
            return 1
        for name in names:
            run_family(name, top, args.seconds / len(names), args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
