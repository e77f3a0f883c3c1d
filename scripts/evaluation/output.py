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
from mee.evaluation.result import Made, Result, write_result
from scripts.evaluation.args import CommonArgs

if TYPE_CHECKING:
    from mee.evaluation.measure import Measured
    from mee.ranking.normalise import ClipConstants


@dataclass(frozen=True)
class Outcome:
    """An evaluation, before it is written."""

    parts: dict[str, Any]  # of a Result, all but `made`
    measured: Measured | None  # None for multiple choice
    constants: ClipConstants | None
    device: str
    notes: Sequence[str] = ()


def check_output(args: CommonArgs) -> None:
    """Refuse names that could not be written to, before hours of work.

    Raises:
        InputError: an ending is wrong, a folder is not there, or one file is named twice.
    """
    from mee.evaluation.constants_file import check_constants_path
    from mee.evaluation.rank_file import check_rank_path

    named = {"--result": args.result, "--ranks": args.ranks, "--constants": args.constants}
    paths = {flag: path for flag, path in named.items() if path is not None}
    if args.result is not None and args.result.suffix.lower() != ".json":
        raise InputError(
            f"a result is written as .json, so --result '{args.result}' cannot be; give it that ending"
        )
    if args.ranks is not None:
        check_rank_path(args.ranks)
    if args.constants is not None:
        check_constants_path(args.constants)
    for flag, path in paths.items():
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
    result = Result(made=made, **outcome.parts)
    if args.ranks is not None and outcome.measured is not None:
        _write_ranks(args, outcome.measured)
    if args.constants is not None and outcome.constants is not None and outcome.measured is not None:
        from mee.evaluation.constants_file import write_constants

        names = outcome.measured.names.clip_ids
        write_constants(args.constants, names, outcome.constants, result.rules.normalisation)
    if args.result is not None:
        write_result(result, args.result)
    return result


def _write_ranks(args: CommonArgs, measured: Measured) -> None:
    from mee.evaluation.rank_file import write_ranks

    assert args.ranks is not None
    clip_ids, top = measured.names.clip_ids, measured.top
    write_ranks(
        args.ranks,
        query_ids=measured.query_ids,
        ranks=measured.ranking.t2v.rank.cpu().numpy(),
        right_clip_ids=[clip_ids[clip] for clip in measured.right.tolist()],
        top_ids=[[clip_ids[clip] for clip in row] for row in top.candidate.tolist()],
        top_scores=top.score.numpy(),
    )


def print_result(result: Result, *, json: bool) -> None:
    """On stdout: as one line of JSON, or as tables."""
    if json:
        print(result.model_dump_json())
        return
    from scripts.report.entry import make_entries
    from scripts.report.terminal import print_report

    print_report(make_entries([result])[0])
