"""Find the moments that fit a sentence, and say why.

example:
  mee search index/ "a dog jumps into the snow"
  mee search index/ "a dog" --also "0.5*at night" --less "a cat"
  mee search index/ --like "walk.mp4#t=10,20" --only audio
  mee search index/ "a dog" --where 'duration < 30 and video.startswith("news/")'
  mee search index/ "a dog" --by-video --top 3
  mee search index/ --said "good morning"
  mee search index/ "a dog" --export dogs.edl
  mee search index/ --top 3 --json < sentences.txt

Each hit shows what every expert adds to its score, and what is said or written there that fits best. Without a
sentence, --like, --said and --written, each line of stdin is a query.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, Suppress, UseAppendAction, arg
from tyro.constructors import PrimitiveConstructorSpec

from index.request import Request
from mee.errors import InputError
from scripts.console import (
    DONE,
    Device,
    bar,
    by_name,
    check_output,
    clock,
    errors_as_sentences,
    parse,
    pick_device,
    print_table,
    say,
)

if TYPE_CHECKING:
    from index.hit import Hit, VideoHits
    from index.searcher import Searcher

BATCH = 256  # lines of stdin searched together
WEIGHTED = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\*(.*)", re.DOTALL)


def term_of(given: str) -> tuple[float, str]:
    """0.5*at night -> (0.5, "at night"); without a number, 1."""
    match = WEIGHTED.fullmatch(given)
    weight, sentence = (float(match[1]), match[2].strip()) if match else (1.0, given.strip())
    if not sentence:
        raise InputError(f"{given!r} has no sentence; write it like '0.5*at night'")
    if not weight > 0:
        raise InputError(f"the weight of {given!r} must be above 0; --less is for what should count against")
    return weight, sentence


Term = Annotated[
    tuple[float, str],
    PrimitiveConstructorSpec(
        1,
        "[WEIGHT*]SENTENCE",
        lambda given: term_of(given[0]),
        lambda value: isinstance(value, tuple),
        lambda _: [],
    ),
]
Weights = Annotated[Mapping[str, float], by_name("EXPERT=NUMBER", float)]


@dataclass(frozen=True, kw_only=True)
class QueryArgs(Request):
    """What to look for."""

    # A field of Request is a flag by itself, its comment the help. Here are those that are written another way.
    sentence: Annotated[Positional[str | None], arg(metavar="[SENTENCE]")] = None  # in quotes
    also: UseAppendAction[tuple[Term, ...]] = ()  # one more sentence to look for; may be repeated
    less: UseAppendAction[tuple[Term, ...]] = ()  # a sentence that lowers the score; may be repeated
    # what comes next in the same video; may be repeated for what comes after that
    then: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SENTENCE")] = ()
    like: Annotated[str | None, arg(metavar="CLIP")] = None  # find clips like this one, with or without a sentence
    example: Suppress[str | None] = None  # --like-file gives it
    good: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CLIP")] = ()  # this one fits; may be repeated
    # this one does not, and is not found again; may be repeated
    bad: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CLIP")] = ()
    # the first of two clips is closer to what is meant; may be repeated
    closer: Annotated[UseAppendAction[tuple[tuple[str, str], ...]], arg(metavar="CLIP CLIP")] = ()
    only: Annotated[tuple[str, ...], arg(metavar="EXPERT [EXPERT ...]")] = ()  # score with these experts only
    weights: Weights = field(default_factory=dict)  # use these mixture weights; experts not named get 0
    # only clips that match, such as 'duration < 30 and split == "test"'. Columns: clip_id, video, start_s, end_s,
    # duration (in seconds) and those of the metadata, `in backticks` if the name is no plain word. Operators:
    # comparisons, "part" in column, in (...), and, or, not, is None, .startswith(...)
    where: Annotated[str | None, arg(metavar="FILTER")] = None
    video: Annotated[str | None, arg(metavar="NAME")] = None  # only clips of this video
    # only clips in which somebody says these words, side by side; without a sentence: all of them, by time
    said: Annotated[str | None, arg(metavar="WORDS")] = None
    written: Annotated[str | None, arg(metavar="WORDS")] = None  # the same of what is written in the picture

    def __post_init__(self) -> None:
        self.request(self.sentence or ("any" if self.reads_lines else self.sentence))

    @property
    def reads_lines(self) -> bool:
        """Whether the sentences come from stdin."""
        others = (self.sentence, self.like, self.example, self.said, self.written)
        return not self.good and all(each is None for each in others)

    def request(self, sentence: str | None) -> Request:
        """The request with this sentence; refuses what makes no sense."""
        if any("\ud800" <= letter <= "\udfff" for letter in self.video or ""):  # bytes that were no text
            raise InputError(f"--video {self.video!r} is not UTF-8 text")
        settings = {field.name: getattr(self, field.name) for field in fields(Request)}
        also = (*self.also, *((-weight, text) for weight, text in self.less))
        return Request(**settings | {"sentence": sentence, "also": also})


@dataclass(frozen=True, kw_only=True)
class SearchArgs:
    """Arguments of mee search."""

    index: Annotated[Positional[Path], arg(metavar="INDEX")]  # made by mee index
    query: OmitArgPrefixes[QueryArgs]
    json: bool = False  # print one JSON object for each hit, or for each video with --by-video
    # also write the hits as a cut list: .edl or .otio for editing programs, .ffconcat for ffmpeg, .csv or .json
    export: Annotated[Path | None, arg(metavar="FILE")] = None
    model: Path | None = None  # the model, if it was moved since the index was made
    # where the model runs if the index has no text side; cuda: it runs there, and the clips are scored there
    device: Device = "auto"
    verbose: bool = False  # say on stderr what encoded the sentences

    def __post_init__(self) -> None:
        if self.export is not None:
            from index.cut_list import ENDINGS

            check_output("--export", self.export, [*ENDINGS.values()])
            if self.query.reads_lines:
                raise InputError("--export writes the hits of one search; name the sentence")


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(SearchArgs, "search", argv, __doc__ or "")
    query = args.query
    first = query.request("any" if query.reads_lines else query.sentence)

    from index.searcher import Searcher

    gpu = pick_device("cuda") if args.device == "cuda" else None  # not by default: all vectors are copied there
    searcher = Searcher.load(args.index, device=gpu or args.device, model=args.model, index_device=gpu)
    if query.reads_lines:  # before the first line is waited for
        searcher.check(first)
    for number, requests in enumerate(_batches(query) if query.reads_lines else [[first]]):
        if number:
            searcher.refresh()
        for request, answer in zip(requests, searcher.search(requests)):
            if args.export is not None and answer:
                _export(args.export, _title(request), answer, searcher)
            if not answer and query.min_score is not None:
                say(f"nothing scores {query.min_score:g} or more for {_title(request)}")
            if args.json:
                for found in answer:
                    print(json.dumps({"query": request.sentence, **found.to_dict()}), flush=True)
                continue
            print_hits(_title(request), answer, searcher.modalities)
            if not answer and query.min_score is None:
                filters = "--where and --video, or --said and --written,"
                say(f"no hits: no clip matches {filters} and has a stream of the experts searched with")
    for note in searcher.text.unread.notes("sentences"):
        say(note)
    if args.verbose:
        say(searcher.text.source)
    return DONE


def _batches(query: QueryArgs) -> Iterator[list[Request]]:
    """Requests for the lines of stdin; on a terminal each line is answered at once."""
    if sys.stdin.isatty():
        say("one sentence a line; Ctrl-D ends")
    size = 1 if sys.stdin.isatty() else BATCH
    batch: list[Request] = []
    count = 0
    try:
        for line in filter(None, map(str.strip, sys.stdin)):
            batch.append(query.request(line))
            count += 1
            if len(batch) == size:
                yield batch
                batch = []
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is not {error.encoding} text: {error.reason}") from error
    if batch:
        yield batch
    if not count:
        raise InputError("no sentence: name one, or write one a line to stdin")


def _export(path: Path, title: str, found: Sequence[Hit] | Sequence[VideoHits], searcher: Searcher) -> None:
    """Write hits, or the moments of videos, as a cut list."""
    from index.cut_list import ENDINGS, cut_list
    from mee.files import whole_file

    moments = searcher.video_index.moments([hit.clip_id for one in found for hit in one.hits])
    form = next(form for form, ending in ENDINGS.items() if ending == path.suffix.lower())
    text = cut_list(moments, form, title=title)
    with whole_file(path, "cut lists") as aside:
        aside.write_text(text, encoding="utf-8", newline="")


def _title(request: Request) -> str:
    """The query as a sum: "a dog" + 0.5 * "at night" - "a cat"."""
    terms = [] if request.sentence is None else [(1.0, f'"{request.sentence}"')]
    terms += [(weight, f'"{sentence}"') for weight, sentence in request.also]
    terms += [] if request.like is None else [(1.0, f"clip {request.like}")]
    terms += [(1.0, f"good {clip}") for clip in request.good] + [(-1.0, f"bad {clip}") for clip in request.bad]
    if not terms:
        return ", ".join(f'{name} "{words}"' for name, words in request.words.items())
    parts: list[str] = []
    for weight, term in terms:
        sign = "-" if weight < 0 else "+" if parts else ""
        parts.append(" ".join(filter(None, [sign, "" if abs(weight) == 1 else f"{abs(weight):g} *", term])))
    return " ".join(parts)


def print_hits(title: str, found: Sequence[Hit] | Sequence[VideoHits], modalities: Sequence[str]) -> None:
    """A row for each clip; of videos, a row for each moment, the name beside the best one; then their words."""
    moments: list[tuple[list[str], Hit]] = []
    for one in found:
        moments += [([f"{one.rank}", one.video] if hit is one.hits[0] else ["", ""], hit) for hit in one.hits]
    shares = [share.contribution for _, hit in moments for share in hit.experts.values()]
    longest = max(map(abs, shares), default=0.0) or 1.0
    offset = ["offset"] if any(hit.offset for _, hit in moments) else []
    rows, words = [], []
    for names, hit in moments:
        cells = []
        for modality in modalities:
            share = hit.experts.get(modality)
            part = share.contribution + 0.0 if share else 0.0  # not -0.0
            cells.append(f"{bar(part / longest, 6):6} {part:5.2f}" if share and share.weight else "-")
        moment = f"{clock(hit.start_s)}-{clock(hit.end_s)}" if hit.end_s > hit.start_s else "-"  # a still
        rows.append([*names, moment, f"{hit.score:.3f}", *cells, *(f"{0 - hit.offset:.2f}" for _ in offset)])
        words += [[names[0], clock(said.start_s), name, said.text] for name, said in hit.words.items()]
    print_table(title, ["#", "video", "moment", "score", *modalities, *offset], rows, words=2)
    if words:
        print_table("", ["#", "at", "stream", "words"], words, words=4)
    print(flush=True)
