"""Find the moments that fit a sentence, and say why.

example:
  mee search index/ "a dog jumps into the snow"
  mee search index/ "a dog" --also "0.5*at night" --less "a cat"
  mee search index/ --like "walk.mp4#t=10,20" --only audio
  mee search index/ "a dog" --where 'duration < 30 and video.startswith("news/")'
  mee search index/ "a dog" --by-video --top 3
  mee search index/ --top 3 --json < sentences.txt

Without a sentence and without --like, each line of stdin is one. The parts by expert add up to the score.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mee.errors import InputError
from scripts.console import DONE, errors_as_sentences, parse, pick_device, say, visible
from scripts.hit_tables import print_hits, print_videos
from scripts.search_args import SearchArgs

if TYPE_CHECKING:
    from index.request import Request
    from index.search import Answer

BATCH = 256  # sentences searched together


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(SearchArgs, "search", argv, __doc__ or "")
    if args.sentence is not None and not args.sentence.strip():
        raise InputError("the sentence is empty; write what to look for")
    request = args.request("any" if args.reads_lines else args.sentence)  # refused before anything is loaded

    from index.search import Searcher

    device = pick_device(args.device)
    scored_on = device if args.device == "cuda" else None  # not by default: all vectors are copied there first
    searcher = Searcher.load(args.index, device=device, model=args.model, index_device=scored_on)
    searcher.check(request)
    for number, requests in enumerate(_batches(args) if args.reads_lines else [[request]]):
        if number:
            searcher.refresh()
        for request, answer in zip(requests, searcher.answer(requests)):
            _print(request, answer, searcher.modalities, as_json=args.json)
    return DONE


def _batches(args: SearchArgs) -> Iterable[list[Request]]:
    """What the lines of stdin ask for; a person who types gets an answer to each line."""
    if sys.stdin.isatty():
        say("one sentence a line; Ctrl-D ends")
    size = 1 if sys.stdin.isatty() else BATCH
    batch: list[Request] = []
    count = 0
    for line in _lines():
        if line.strip():
            batch.append(args.request(line.strip()))
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


def _print(request: Request, answer: Answer, modalities: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        for found in answer:
            print(json.dumps({"query": request.sentence, **found.to_dict()}), flush=True)
        return
    from index.hit import Hit

    hits = [found for found in answer if isinstance(found, Hit)]
    videos = [found for found in answer if not isinstance(found, Hit)]
    if request.by_video:
        print_videos(_title(request), videos, modalities)
    else:
        print_hits(_title(request), hits, modalities)
    if not answer:
        say("nothing is found: no clip is allowed by --where and --video and has what is listened to")


def _title(request: Request) -> str:
    """What was asked for, as a sum: "a dog" + 0.5 * "at night" - "a cat"."""
    terms = [] if request.sentence is None else [(1.0, f'"{request.sentence}"')]
    terms += [(weight, f'"{sentence}"') for weight, sentence in request.also]
    terms += [] if request.like is None else [(1.0, f"clip {request.like}")]
    parts: list[str] = []
    for weight, term in terms:
        sign = "-" if weight < 0 else "+" if parts else ""
        parts.append(" ".join(filter(None, [sign, "" if abs(weight) == 1 else f"{abs(weight):g} *", term])))
    return visible(" ".join(parts))


if __name__ == "__main__":
    sys.exit(main())
