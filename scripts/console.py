"""What all commands share: parsing, tables, bars, devices, and errors as one sentence.

Results go to stdout, progress and warnings to stderr. Exit codes: 0 done, 1 could not, 2 wrong usage, 3 done with
failures listed.

How a job is getting on: a live line on a terminal, and a plain one now and then everywhere else.

precompute  ━━━━━━━╸━━━  120/1003  3.2 clips/s, 31.4 x real time, 4:36:10 left, 2 failed
"""

from __future__ import annotations

import functools
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, TypeVar, cast, final

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from tyro.constructors import PrimitiveConstructorSpec, StructConstructorSpec, StructTypeInfo

from features.errors import InputError as FeaturesInputError
from mee.errors import InputError

if TYPE_CHECKING:
    import torch

    from features.job import JobReport


DONE, COULD_NOT, FAILURES_LISTED = 0, 1, 3
INTERRUPTED = 130  # what shells expect after Ctrl-C
Device = Literal["auto", "cpu", "cuda"]
Arguments = TypeVar("Arguments")
NOTHING = ("None", "False", "", "''", "['None']")  # defaults that help does not show


def parse(
    arguments: type[Arguments],
    command: str,
    argv: Sequence[str] | None,
    about: str,
    default: Arguments | None = None,
) -> Arguments:
    """Turn argv into a frozen dataclass; wrong usage exits with 2, --help with 0."""
    options = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    start = tyro.MISSING_NONPROP if default is None else default
    prog = f"mee {command}"
    return tyro.cli(
        arguments, prog=prog, description=about, args=argv, config=options, default=start, registry=FLAGS
    )


def parse_form(forms: Mapping[str, type], command: str, argv: Sequence[str] | None, about: str) -> Any:
    """The same of a command with sub-commands: one dataclass by the name of each, and its docstring its help."""
    options = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    return tyro.extras.subcommand_cli_from_dict(
        dict(forms), prog=f"mee {command}", description=about, args=argv, config=options, registry=FLAGS
    )


def by_name(form: str, read: Callable[[str], Any], sign: str = "=") -> PrimitiveConstructorSpec[Any]:
    """How words such as audio=0.7 motion=1 become a mapping; a ValueError of `read` refuses its word."""

    def mapping(words: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for word in words:
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


FLAGS = tyro.constructors.ConstructorRegistry()
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


class Command(Protocol):
    """A script's main: takes argv, returns the exit code."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def errors_as_sentences(command: Command) -> Command:
    """Print what is wrong with input as one sentence, instead of a traceback, and return the exit code."""
    return _guarded(command, "stopped")


def resumable(command: Command) -> Command:
    """The same of a command that goes on from where it was stopped."""
    return _guarded(command, "stopped; what is done is kept, the same command goes on from there")


def _guarded(command: Command, stopped: str) -> Command:
    @functools.wraps(command)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            return command(argv)
        except (InputError, FeaturesInputError) as error:
            complain(f"error: {error}")
        except BrokenPipeError:  # the reader of our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            where = f": '{error.filename}'" if error.filename else ""
            complain(f"error: {error.strerror or error}{where}")
        except KeyboardInterrupt:
            say(stopped)
            return INTERRUPTED
        return COULD_NOT

    return run


def say(message: str) -> None:
    """A line for the person who waits, on stderr; of several processes the first speaks for all."""
    if os.environ.get("RANK", "0") == "0":
        complain(message)


def complain(message: str) -> None:
    """A line on stderr, whichever process this is."""
    print(message, file=sys.stderr, flush=True)


def results() -> Console:
    """Where results go: stdout, never narrower than a table needs where no terminal sets the width."""
    console = Console(highlight=False, markup=False, emoji=False)  # a file may be called "[red] :car:.mp4"
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=120)


def progress_console() -> Console:
    """Where progress goes: stderr."""
    return Console(stderr=True, highlight=False)


@contextmanager
def counting_bar(what: str, things: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that goes in the end; gives the function that moves it, of (done, of)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(things), TimeRemainingColumn())
    console = progress_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        row = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(row, completed=done, total=of)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> None:
    """A table on stdout; the first columns hold `words`, the others numbers, which stand to the right."""
    console = results()
    if title:
        console.print(title, style="italic", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(visible, row))
    console.print(table)


def visible(text: str) -> str:
    """Text of one line that does nothing to a terminal: control characters, in a file's name say, as escapes."""
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) == "Cc" else letter
        for letter in text
    )


def bar(share: float, width: int = 12) -> str:
    """A bar for a share in [0, 1], in eighths of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def clock(seconds: float) -> str:
    """Seconds as 1:02:03.4, without leading zeros."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def pick_device(name: Device) -> torch.device:
    """The device to run on; auto takes a GPU where there is one.

    Raises:
        InputError: cuda is asked for, and there is none.
    """
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


LINE_S = 30.0  # from one plain line to the next: a log is read afterwards


@final
class JobProgress:
    """A context manager; `show` is called with the report whenever it may have changed."""

    def __init__(self, files: int) -> None:
        """``files``: that are left to do."""
        self._files, self._begun = files, time.monotonic()
        self._next_line = self._begun + LINE_S
        console = progress_console()
        self._live = console.is_terminal
        columns = (TextColumn("precompute"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
        self._bar = Progress(*columns, console=console, disable=not (files and self._live))
        self._row = self._bar.add_task("files", total=files, pace="starting workers")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def took(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def show(self, report: JobReport) -> None:
        """Bring the line up to date; a plain one is written at most every LINE_S seconds."""
        done = len(report.outcomes)
        if self._live:
            self._bar.update(self._row, completed=done, pace=self._pace(report))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_S
            say(f"{done} of {self._files} files, {self._pace(report)}")

    def _pace(self, report: JobReport) -> str:
        took, done = max(self.took, 1e-3), len(report.outcomes)
        left = duration(took / done * (self._files - done)) + " left" if done else "? left"
        speed = f"{report.clips_so_far / took:.1f} clips/s, {report.seconds_so_far / took:.1f} x real time"
        return f"{speed}, {left}, {len(report.failures)} failed"


def duration(seconds: float) -> str:
    """Seconds as 4:36:10, without leading zeros: 0:07."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
