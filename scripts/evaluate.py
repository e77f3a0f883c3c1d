"""Measure retrieval both ways, of a model or of another system's scores, under one rule.

example:
  mee evaluate store/ captions.csv model/
  mee evaluate store/ annotations/ model/ --protocol msrvtt-1ka --result result.json --ablation
  mee evaluate annotations/ --scores theirs.npz --protocol msrvtt-1ka --result theirs.json
  mee report result.json theirs.json --out report.html

Of a model: captions of split test are ranked among their own clips; where the file names no split, those of the
videos that training held out. With --scores: a matrix (queries, clips), or two embedding tables, from any system,
with ids; its flags are listed by mee evaluate --scores FILE --help. Ties give the expected rank.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mee.evaluation import EvaluateConfig, EvaluateModelConfig, EvaluateScoresConfig, Made, Result, write_result
from mee.protocols import find_protocol
from scripts.console import (
    DONE,
    Columns,
    Device,
    check_output,
    complain,
    errors_as_sentences,
    parse,
    pick_device,
    say,
)

RANKS = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class OutputArgs(EvaluateConfig):
    """How to measure, and where to write it."""

    captions: Annotated[Positional[Path], arg(metavar="ANNOTATIONS")]  # table of captions, or --protocol's files
    columns: Columns = field(default_factory=dict)  # of your own table, where they have other names
    result: Path | None = None  # write the result: a .json file, for mee report
    ranks: Path | None = None  # write every query's rank and answers: a .csv or .parquet file
    json: bool = False  # print the result as JSON
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class StoreArgs:
    """The first positional argument: fields of the last base class come first."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute


@dataclass(frozen=True, kw_only=True)
class ModelArgs(EvaluateModelConfig, OutputArgs, StoreArgs):
    """Arguments of mee evaluate STORE ANNOTATIONS MODEL."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # made by mee train


@dataclass(frozen=True, kw_only=True)
class ScoresArgs(EvaluateScoresConfig, OutputArgs):
    """Arguments of mee evaluate ANNOTATIONS --scores FILE."""


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    started = time.monotonic()
    given = list(sys.argv[1:] if argv is None else argv)
    of_scores = any(word == "--scores" or word.startswith("--scores=") for word in given)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large memory pages: torch reads this when it is imported
    kind: type[ModelArgs | ScoresArgs] = ScoresArgs if of_scores else ModelArgs
    args = parse(kind, "evaluate", argv, __doc__ or "")

    if os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ:
        complain("note: mee evaluate works in one process, the first of a launch; this one has nothing to do")
        return DONE

    import torch

    from mee.evaluation import evaluate_model, evaluate_scores, write_ranks

    find_protocol(args.protocol)
    for flag, path, endings in (("--result", args.result, (".json",)), ("--ranks", args.ranks, RANKS)):
        if path is not None:
            check_output(flag, path, endings)
    device = pick_device(args.device)
    if isinstance(args, ModelArgs):
        from features.store import FeatureStore

        outcome = evaluate_model(args, FeatureStore(args.store), device, answers=args.ranks is not None)
    else:
        outcome = evaluate_scores(args, device)
    made = Made(
        mee=version("mee"),
        torch=torch.__version__,
        python=platform.python_version(),
        device=str(device),
        command=shlex.join(["mee", "evaluate", *given]).encode("utf-8", "backslashreplace").decode(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 3),
    )
    result = Result.model_validate({"made": made, **outcome.parts})
    if args.ranks is not None and outcome.answers is not None:
        write_ranks(args.ranks, outcome.answers)
    if args.result is not None:
        write_result(result, args.result)
    if args.json:
        print(json.dumps(json.loads(result.model_dump_json())))  # in ASCII: its text may come from anyone
    else:
        from scripts.report import make_entries, print_report

        print_report(make_entries([result])[0])
    for note in outcome.notes:
        say(note)
    return DONE
