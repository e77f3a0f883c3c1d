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

import os
import sys
import time
from collections.abc import Sequence

from scripts.console import DONE, complain, errors_as_sentences, parse, say
from scripts.evaluation import ModelArgs, ScoresArgs


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    begun = time.monotonic()
    given = list(sys.argv[1:] if argv is None else argv)
    of_scores = any(word == "--scores" or word.startswith("--scores=") for word in given)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large memory pages: torch reads this when it is imported
    about = __doc__ or ""
    args: ModelArgs | ScoresArgs = (
        parse(ScoresArgs, "evaluate", argv, about) if of_scores else parse(ModelArgs, "evaluate", argv, about)
    )

    if os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ:
        complain("note: mee evaluate works in one process, the first of a launch; this one has nothing to do")
        return DONE

    from mee.protocols import find_protocol
    from scripts.evaluation import Outcome, check_output, print_result, write_output

    find_protocol(args.protocol)
    check_output(args)
    outcome: Outcome
    if isinstance(args, ScoresArgs):
        from scripts.evaluation import evaluate_scores

        outcome = evaluate_scores(args)
    else:
        from scripts.evaluation import evaluate_model

        outcome = evaluate_model(args)
    result = write_output(args, outcome, given, time.monotonic() - begun)
    print_result(result, json=args.json)
    for note in outcome.notes:
        say(note)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
