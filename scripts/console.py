"""What all commands share: parsing, tables, progress bars, devices, and errors as one sentence.

Results go to stdout, progress and warnings to stderr. Exit codes: 0 done, 1 could not, 2 wrong usage, 3 done with
failures listed. Text goes through `shown`: names and messages come from files that anyone may have made.

The progress of a job is a live line on a terminal, and everywhere else a plain line now and then.

precompute  ━━━━━━━╸━━━  120/1003  3.2 clips/s, 31.4 x real time, 2 failed  4:36:10
"""

from __future__ import annotations

import codecs
import functools
import io
import logging
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Never, TypeVar, cast

import tyro
from rich.console import Console
from rich.table import Table
from tyro.constructors import PrimitiveConstructorSpec, StructConstructorSpec, StructTypeInfo

from features.errors import InputError as FeaturesInputError
from mee.errors import LONGEST, InputError, visible

if TYPE_CHECKING:
    import torch

    from features.job import JobReport

DONE, COULD_NOT, FAILURES_LISTED = 0, 1, 3
INTERRUPTED, TERMINATED = 130, 143  # what shells expect after Ctrl-C and SIGTERM
STYLES = re.compile(r"\x1b\[[\d;]*m")
NARROWEST = 40  # columns
LINE_S = 30.0  # seconds between plain lines of progress
Device = Literal["auto", "cpu", "cuda"]
Arguments = TypeVar("Arguments")
NOTHING = ("None", "False", "", "''", "['None']")  # defaults that help does not show
Command = Callable[..., int]  # a script's main: takes argv, returns the exit code


def parse(
    kind: type[Arguments], command: str, argv: Sequence[str] | None, about: str, default: Any = None
) -> Arguments:
    """Turn argv into a frozen dataclass; wrong usage exits with 2, --help with 0."""
    options = {**OPTIONS, "default": tyro.MISSING_NONPROP if default is None else default}
    with _visible_usage(argv), _without_typeguard():
        parsed: Arguments = tyro.cli(kind, prog=f"mee {command}", description=about, args=argv, **options)
    return parsed


def parse_form(forms: Mapping[str, type], command: str, argv: Sequence[str] | None, about: str) -> Any:
    """The same of a command with sub-commands: one dataclass by the name of each, and its docstring its help."""
    options = {**OPTIONS, "prog": f"mee {command}", "description": about}
    with _visible_usage(argv):
        return tyro.extras.subcommand_cli_from_dict(dict(forms), args=argv, **options)


@contextmanager
def _without_typeguard() -> Iterator[None]:
    """tyro compares our own defaults with their annotations by a library whose import takes 70 ms."""
    known = "typeguard" in sys.modules
    if not known:
        stand_in: Any = ModuleType("typeguard")
        stand_in.check_type, stand_in.TypeCheckError = lambda value, _: value, TypeError
        sys.modules["typeguard"] = stand_in
    try:
        yield
    finally:
        if not known:
            del sys.modules["typeguard"]


@contextmanager
def _visible_usage(argv: Sequence[str] | None) -> Iterator[None]:
    """Wrong usage is described with words of argv; where these are not all plain, without colours."""
    if all(shown(word) == word for word in (sys.argv[1:] if argv is None else argv)):
        yield
        return
    try:
        with redirect_stderr(said := io.StringIO()):
            yield
    finally:
        for line in STYLES.sub("", said.getvalue()).splitlines():
            complain(line)


def by_name(form: str, read: Callable[[str], Any], sign: str = "=") -> PrimitiveConstructorSpec[Any]:
    """How words such as audio=0.7 motion=1 become a mapping; a ValueError of `read` refuses its word."""

    def mapping(words: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for word in re.split(rf"\0|,(?=\w+{sign})", "\0".join(words)) if words else ():
            name, _, text = word.partition(sign)
            if name in values:
                raise ValueError(f"'{name}' is given twice in {' '.join(words)}")
            try:
                values[name] = read(text)
            except ValueError:
                text = ""
            if not name or not text:
                raise ValueError(f"'{word}' is not of the form {form}")
        return values

    return PrimitiveConstructorSpec("*", f"{form} ...", mapping, lambda value: isinstance(value, Mapping), list)


Columns = Annotated[Mapping[str, str], by_name("video_id=COLUMN caption=COLUMN", str)]
FLAGS = tyro.constructors.ConstructorRegistry()
OPTIONS: Any = {"config": (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone), "registry": FLAGS}
SEEN = object()  # marks a dataclass whose fields the rule below is reading


@FLAGS.struct_rule
def _quiet_defaults(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Help shows a default only where it says something: not None, off, or nothing."""
    if not is_dataclass(info.type) or SEEN in info.markers:
        return None
    spec = tyro.constructors.ConstructorRegistry.get_struct_spec(replace(info, markers=(*info.markers, SEEN)))
    if not isinstance(spec, StructConstructorSpec):
        return None
    hint = tyro.conf.arg(help_behavior_hint=lambda text: "" if text in NOTHING else f"(default: {text})")
    return replace(
        spec, fields=tuple(replace(one, type=cast(type, Annotated[one.type, hint])) for one in spec.fields)
    )


def errors_as_sentences(command: Command, stopped: str = "stopped") -> Command:
    """Print what is wrong with input as one sentence instead of a traceback, and return the exit code."""

    @functools.wraps(command)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            try:
                return command(argv)
            finally:
                sys.stdout.flush()
        except (InputError, FeaturesInputError) as error:
            complain(f"error: {error}")
        except BrokenPipeError:  # the reader of our output has closed it
            _discard_output()
        except OSError as error:
            where = f": '{error.filename}'" if error.filename else ""
            complain(f"error: {error.strerror or error}{where}")
            _discard_output()
        except UnicodeEncodeError as error:
            complain(
                f"error: '{error.object[:LONGEST]}' cannot be written in the encoding {error.encoding}; choose a "
                "locale with UTF-8, such as LC_ALL=C.UTF-8"
            )
        except MemoryError:
            complain("error: there is not enough memory; close other programs, or take a smaller input")
        except KeyboardInterrupt as end:
            by_signal = isinstance(end, Terminated)
            say(stopped.replace("stopped", "stopped by SIGTERM", by_signal))
            return TERMINATED if by_signal else INTERRUPTED
        return COULD_NOT

    return run


def _discard_output() -> None:
    """What is still in the buffer of stdout cannot be written, at the end of the process neither."""
    with suppress(OSError):
        sys.stdout.flush()
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def resumable(command: Command) -> Command:
    """The same for a command that continues where it was stopped, by Ctrl-C or SIGTERM."""

    @functools.wraps(command)
    def run(argv: Sequence[str] | None = None) -> int:
        with sigterm_stops():
            return command(argv)

    return errors_as_sentences(run, "stopped; what is done is kept, the same command goes on from there")


class Terminated(KeyboardInterrupt):
    """SIGTERM came: stop as on Ctrl-C."""


@contextmanager
def sigterm_stops() -> Iterator[None]:
    """Let SIGTERM, which Slurm and torchrun send before they kill, end a command as Ctrl-C does."""

    came = False

    def stop(*_: object) -> Never:
        nonlocal came
        came = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what is done is being written
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as end:
        raise Terminated if came else end from None  # Ray makes another interrupt of ours
    finally:
        signal.signal(signal.SIGTERM, before)


def prepare_process() -> None:
    """Let a command run whatever its streams are, and what libraries say be visible; may be called again.

    A closed stream becomes /dev/null, so that no file that is opened later takes its number. What the encoding of
    stdout or stderr lacks is escaped; stdin is read as UTF-8 where the locale's encoding is ASCII.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)
            setattr(sys, name, open(opened, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper) and codecs.lookup(sys.stdin.encoding).name == "ascii":
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    warnings.formatwarning = _visible_warning
    logging.setLogRecordFactory(_VisibleRecord)


def _visible_warning(*about: Any, plain: Callable[..., str] = warnings.formatwarning, **more: Any) -> str:
    return "".join(f"{shown(line)}\n" for line in plain(*about, **more).splitlines())


class _VisibleRecord(logging.LogRecord):
    def getMessage(self) -> str:
        return "\n".join(map(shown, super().getMessage().split("\n")))


def shown(text: str) -> str:
    """Text from outside, for a line of a terminal: visible, and shortened in its middle."""
    return visible(text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}")


def say(message: str) -> None:
    """A line on stderr; of several processes only the first prints it."""
    if _is_first():
        complain(message)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def complain(message: str) -> None:
    """A line on stderr, whichever process this is."""
    print(shown(message), file=sys.stderr, flush=True)


def print_line(text: str, style: str | None = None) -> None:
    """A line on stdout."""
    results().print(shown(text), style=style, soft_wrap=True)


def results() -> Console:
    """Where results go: stdout, 120 columns wide if it is not a terminal, and never too narrow for a word."""
    console = Console(highlight=False, markup=False, emoji=False)  # a file may be called "[red] :car:.mp4"
    console.width = max(console.width, NARROWEST) if console.is_terminal else 120
    return console


def progress_console() -> Console:
    """Where progress goes: stderr."""
    return Console(stderr=True, highlight=False)


@contextmanager
def counting_bar(what: str, things: str) -> Iterator[Callable[..., None]]:
    """A bar on stderr, on a terminal only; yields the function that updates it, of (done, of, what, things)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    label, unit = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[things]}"))
    columns = (label, BarColumn(), MofNCompleteColumn(), unit, TimeRemainingColumn())
    console = progress_console()
    hidden = not console.is_terminal or not _is_first()
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        row = progress.add_task(what, total=None, things=things)

        def update(done: int, of: int, what: str = what, things: str = things) -> None:
            progress.update(row, completed=done, total=of, description=shown(what), things=shown(things))

        yield update


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> None:
    """A table on stdout; the first columns hold `words`, the others numbers, aligned to the right."""
    if title:
        print_line(title, "italic")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        table.add_column(shown(name), justify="left" if number < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(shown, row))
    results().print(table)


def some(names: Sequence[str]) -> str:
    """The first three of some names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def check_output(flag: str, path: Path, endings: Sequence[str]) -> None:
    """Refuse, before the work, a file that could not be written after it."""
    if path.suffix.lower() not in endings:
        raise InputError(f"{flag} is written as {' or '.join(endings)}, not as '{path}'; give it such an ending")
    if path.is_dir():
        raise InputError(f"{flag} '{path}' is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{flag} '{path}' cannot be written: there is no folder '{path.parent}'; make it first")


def bar(share: float, width: int = 12) -> str:
    """A bar for a share in [0, 1], in eighths of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def clock(seconds: float, digits: int = 1) -> str:
    """Seconds as 1:02:03.4, without leading zeros; with 0 `digits` as 1:02:03."""
    minutes, rest = divmod(round(seconds, digits), 60)
    hours, minutes = divmod(int(minutes), 60)
    end = f"{rest:0{digits + 3}.{digits}f}" if digits else f"{rest:02.0f}"
    return f"{hours}:{minutes:02d}:{end}" if hours else f"{minutes}:{end}"


def pick_device(name: Device) -> torch.device:
    """The device to run on; auto takes a GPU if there is one.

    Raises:
        InputError: cuda is requested and not available.
    """
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


@contextmanager
def job_progress() -> Iterator[Callable[[JobReport], None]]:
    """Yields the function that shows a report of a job."""
    start = time.monotonic()
    next_line, live = start + LINE_S, progress_console().is_terminal

    def show(report: JobReport) -> None:
        nonlocal next_line
        took, done, files = max(time.monotonic() - start, 1e-3), len(report.outcomes), report.todo
        speed = f"{report.clips_so_far / took:.1f} clips/s, {report.seconds_so_far / took:.1f} x real time"
        if live:
            update(done, files, things=f"{speed}, {len(report.failures)} failed")
        elif time.monotonic() >= next_line:
            next_line = time.monotonic() + LINE_S
            left = clock(took / done * (files - done), 0) if done else "?"
            say(f"{done} of {files} files, {speed}, {left} left, {len(report.failures)} failed")

    with counting_bar("precompute", "starting workers") as update:
        yield show
