"""What worker processes do in the tests of the pool: a task is a tuple, its first word says what happens."""

import os
import signal
import threading
import time

from features.errors import InputError
from features.job import process

LARGE = 4 << 20  # bytes, more than a pipe holds


def work(task):
    kind, *rest = task
    match kind:
        case "say":
            yield from rest
        case "pid":
            yield os.getpid()
        case "threads":
            yield os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]
        case "large":
            for number in range(rest[0]):
                yield number, bytes(LARGE)
        case "large-once":
            yield os.getpid()
            yield bytes(16 * LARGE)
        case "exit":
            yield "before"
            os._exit(7)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            yield "before"
            time.sleep(600)
        case "pid-and-hang":
            yield os.getpid()
            time.sleep(600)
        case "allocate":
            yield len(bytearray(rest[0]))
        case "spin":
            threading.stack_size()  # holds the interpreter's lock now and then, as a decoder may
            while True:
                pass
        case "memory":
            yield "before"
            raise MemoryError
        case "count":
            for number in range(rest[0]):
                yield number
                with open(rest[1], "a") as marks:
                    marks.write("x")
                yield bytes(LARGE)
        case "print":
            os.write(1, b"a decoder says something\n")
            yield "printed"
        case "worn":
            yield os.getpid()
            process.came_near = lambda: True
        case "bug":
            raise RuntimeError("not caught by the work")
        case "signals":
            yield sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def shots(file):
    """In the place of scripts.report.frames.read_shots: what a decoder may do to its process."""
    path, wanted = file
    match path.stem:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(600)
        case "bomb":
            bytearray(8 << 30)
    from scripts.report.frames import read_shots

    yield from read_shots((path, wanted))


def start():
    """An ordinary worker; the others do not start."""
    return work


def dies():
    os._exit(5)


def has_no_memory():
    raise MemoryError


def refuses():
    raise InputError("give it at least --memory 2.0, not 0.1")
