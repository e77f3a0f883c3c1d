"""Show results of mee evaluate: as tables on the terminal, as Markdown, or as one HTML page with pictures.

example:
  mee report result.json
  mee report result.json --out report.html --videos videos/
  mee report ours-seed0.json ours-seed1.json theirs.json --markdown report.md

Several results are compared. Those that measure different things (protocol, gallery, partial) get tables of their
own; other differences are listed in words. Each result is also compared with the first, query by query, with the
standard error of the difference. Results that differ only in the seed become one row, mean ± standard
deviation, if their names are equal or end with the seed: small-seed0, small-seed1. The page is a single file, with
frames of the clips if --videos is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mee.errors import InputError, count
from mee.files import whole_file
from scripts.console import DONE, check_output, errors_as_sentences, parse, say

STDOUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class ReportArgs:
    """Arguments of mee report."""

    results: Annotated[Positional[tuple[Path, ...]], arg(metavar="RESULT ...")]  # made by mee evaluate --result
    videos: Path | None = None  # folder of the gallery's videos, for frames of the best and worst queries
    out: Path | None = None  # write an HTML page to this file
    markdown: Path | None = None  # write Markdown to this file; - prints it instead of the tables


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(ReportArgs, "report", argv, __doc__ or "")
    _check(args)

    from mee.evaluation import read_result
    from scripts.report.entry import make_entries
    from scripts.report.page import markdown, page, wanted
    from scripts.report.terminal import print_report

    entries, repeated = make_entries([read_result(path) for path in args.results])
    notes = [f"Given again, and counted once: {count(repeated, 'result')}."] if repeated else []
    if args.out is not None:
        from scripts.report.frames import read_frames

        shots = read_frames(args.videos, wanted(entries)) if args.videos is not None else None
        _write(args.out, page(entries, shots, notes))
        say(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, everything in one file")
    if args.markdown == STDOUT:
        print(markdown(entries, notes), end="")
    elif args.markdown is not None:
        _write(args.markdown, markdown(entries, notes))
    elif args.out is None:
        print_report(entries, notes)
    return DONE


def _check(args: ReportArgs) -> None:
    """Refuse what makes no sense before anything is read."""
    if not args.results:
        raise InputError("no result to report on; name one: mee report result.json")
    if args.videos is not None and args.out is None:
        raise InputError("--videos gives the page its pictures; name the page too: --out report.html")
    for flag, path in (("--out", args.out), ("--markdown", args.markdown)):
        if path is None or (flag == "--markdown" and path == STDOUT):
            continue
        if path.suffix.lower() == ".json" or path in args.results:
            raise InputError(f"'{path}' looks like a result, and would be overwritten; choose another name")
        page = flag == "--out" and not path.is_dir()
        check_output(flag, path, (".html", ".htm") if page else (path.suffix.lower(),))
    if args.out is not None and args.out == args.markdown:
        raise InputError(f"--out and --markdown both name '{args.out}'; give each a file of its own")


def _write(path: Path, text: str) -> None:
    with whole_file(path, "reports") as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
