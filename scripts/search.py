"""Find the moments that fit a sentence, and say why.

example:
  mee search index/ "a dog jumps into the snow"
  mee search index/ --top 3 --json < sentences.txt

Without a sentence, each line of stdin is one. The parts by expert add up to the score.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mee.errors import InputError
from scripts.console import DONE, Device, bar, clock, errors_as_sentences, parse, pick_device, print_table, say

if TYPE_CHECKING:
    from index.hit import Hit

BATCH = 256  # sentences searched together


@dataclass(frozen=True, kw_only=True)
class SearchArgs:
    """Arguments of mee search."""

    index: Annotated[Positional[Path], arg(metavar="INDEX")]  # made by mee index
    sentence: Annotated[Positional[str | None], arg(metavar="SENTENCE")] = None  # in quotes
    top: int = 10  # hits a sentence
    json: bool = False  # print one JSON object a hit
    model: Path | None = None  # the model, if it was moved since the index was made
    device: Device = "auto"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1, got {self.top}")


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(SearchArgs, "search", argv, __doc__ or "")
    if args.sentence is not None and not args.sentence.strip():
        raise InputError("the sentence is empty; write what to look for")

    from index.search import Searcher

    searcher = Searcher.load(args.index, device=pick_device(args.device), model=args.model)
    for sentences in _batches(args.sentence):
        for sentence, hits in zip(sentences, searcher.search(sentences, args.top)):
            if args.json:
                for hit in hits:
                    print(json.dumps({"query": sentence, **hit.to_dict()}), flush=True)
            else:
                print_hits(sentence, hits, searcher.modalities)
    return DONE


def _batches(sentence: str | None) -> Iterable[list[str]]:
    """The one sentence, or the lines of stdin; a person who types gets an answer to each line."""
    if sentence is not None:
        yield [sentence]
        return
    if sys.stdin.isatty():
        say("one sentence a line; Ctrl-D ends")
    size = 1 if sys.stdin.isatty() else BATCH
    batch: list[str] = []
    count = 0
    for line in _lines():
        if line.strip():
            batch.append(line.strip())
            count += 1
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
    if not count:
        raise InputError("no sentence: name one, or write one a line to stdin")


def _lines() -> Iterator[str]:
    """The lines of stdin."""
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is not {error.encoding} text: {error.reason}") from error


def print_hits(sentence: str, hits: Sequence[Hit], modalities: Sequence[str]) -> None:
    """A table of hits: each expert's part of the score as a number, and as a bar."""
    longest = max((abs(share.contribution) for hit in hits for share in hit.experts.values()), default=1.0)
    rows = []
    for hit in hits:
        cells = []
        for modality in modalities:
            share = hit.experts.get(modality)
            cells.append(f"{bar(share.contribution / longest, 6):6} {share.contribution:5.2f}" if share else "-")
        moment = f"{clock(hit.start_s)}-{clock(hit.end_s)}" if hit.end_s > hit.start_s else "-"  # a still
        rows.append([f"{hit.rank}", hit.video, moment, f"{hit.score:.3f}", *cells])
    print_table(f'"{sentence}"', ["#", "video", "moment", "score", *modalities], rows, words=2)
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
