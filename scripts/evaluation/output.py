"""What mee evaluate leaves: the result on stdout and in files."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mee.errors import InputError
from mee.evaluation import Made, Result, write_result
from scripts.evaluation.args import CommonArgs

if TYPE_CHECKING:
    from mee.evaluation import Measured


@dataclass(frozen=True)
class Outcome:
    """An evaluation, before it is written."""

    parts: dict[str, Any]  # of a Result, all but `made` and what was measured
    measured: Measured | None  # None for multiple choice
    device: str
    notes: Sequence[str] = ()


def check_output(args: CommonArgs) -> None:
    """Refuse names that could not be written to, before hours of work."""
    named = (("--result", args.result, (".json",)), ("--ranks", args.ranks, (".csv", ".parquet")))
    for flag, path, endings in named:
        if path is None:
            continue
        if path.suffix.lower() not in endings:
            raise InputError(
                f"{flag} is written as {' or '.join(endings)}, so '{path}' cannot be; give it such an ending"
            )
        if path.is_dir():
            raise InputError(f"{flag} '{path}' is a folder; name a file")
        if not path.parent.is_dir():
            raise InputError(
                f"{flag} '{path}' cannot be written: there is no folder '{path.parent}'; make it first"
            )


def write_output(args: CommonArgs, outcome: Outcome, argv: Sequence[str], seconds: float) -> Result:
    """Write the files that were asked for; each whole, or not at all."""
    import torch

    made = Made(
        mee=version("mee"),
        torch=torch.__version__,
        python=platform.python_version(),
        device=outcome.device,
        command=shlex.join(["mee", "evaluate", *argv]).encode("utf-8", "backslashreplace").decode(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
    )
    measured, parts = outcome.measured, dict(outcome.parts)
    if measured is not None:
        parts |= {"text_to_video": measured.t2v, "video_to_text": measured.v2t}
        parts |= {"best": measured.best, "worst": measured.worst}
    result = Result(made=made, **parts)
    if args.ranks is not None and measured is not None:
        from mee.evaluation import write_ranks

        write_ranks(args.ranks, measured)
    if args.result is not None:
        write_result(result, args.result)
    return result


def print_result(result: Result, *, json: bool) -> None:
    """On stdout: as one line of JSON, or as tables."""
    if json:
        print(result.model_dump_json())
        return
    from scripts.report import make_entries, print_report

    print_report(make_entries([result])[0])
