"""Find the moments that fit a sentence, and say why.

example:
  mee search index/ "a dog jumps into the snow"
  mee search index/ "a dog" --also "0.5*at night" --less "a cat"
  mee search index/ --like "walk.mp4#t=10,20" --only audio
  mee search index/ --like-file photo.jpg
  mee search index/ "a dog" --where 'duration < 30 and video.startswith("news/")'
  mee search index/ "a dog" --by-video --top 3
  mee search index/ "a man pours flour" --then "a cake in the oven" --within 60
  mee search index/ --said "good morning"
  mee search index/ "a dog" --export dogs.edl
  mee search index/ '?q=a+dog&less=a+cat&by_video=1' --json
  mee search index/ --top 3 --json < sentences.txt

Each hit shows what every expert adds to its score, and what is said or written there that fits best. With --then,
videos are ranked by the mean score of moments in this order. Without a sentence, --like, --like-file, --said and
--written, each line of stdin is a query. In place of the sentence and all flags of a search, the address of a
search in the page may be given (quoted, with or without http://…); nothing is fetched.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl

from tyro.conf import OmitArgPrefixes, Positional, Suppress, UseAppendAction, arg
from tyro.constructors import PrimitiveConstructorSpec

from index.request import Request
from mee.errors import InputError, count, usable
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
    from index.postgres import Place
    from index.searcher import Searcher

BATCH = 256  # lines of stdin searched together
NOTHING = "no clip fits the filters and has a stream of the experts searched with"
APART = (
    "no video has moments for all parts in this order, each within {:g} s of the one before; allow more seconds"
)
ADDRESS = re.compile(r"(?:https?://[^\s?#]+)?\?([^#]*)(?:#.*)?", re.DOTALL)
ASKS = frozenset(("q", "also", "less", "like", "example", "good", "said", "written"))  # an address has one of them
NO_FLAGS = ("q", "example", "only", "size", "token", "scale")  # names in addresses
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


def _place(given: Sequence[str]) -> Path | Place:
    if "://" not in given[0]:
        return Path(given[0])
    from index.postgres import place_of  # here: most searches need none of it

    return place_of(given[0])


if TYPE_CHECKING:
    At = Path | Place
else:  # where an index is, a folder or a database
    At = Annotated[Path, PrimitiveConstructorSpec(1, "INDEX", _place, lambda _: True, lambda at: [str(at)])]
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
    # find clips like a file from outside: a picture, or 60 s of video or sound at most; nothing of it is kept
    like_file: Annotated[Path | None, arg(metavar="FILE")] = None
    good: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CLIP")] = ()  # this one fits; may be repeated
    # this one does not, and is not found again; may be repeated
    bad: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CLIP")] = ()
    # the first of two clips is closer to what is meant, and the other is not found again; may be repeated
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
        others = (self.sentence, self.like, self.like_file, self.example, self.said, self.written)
        return not self.good and all(each is None for each in others)

    def request(self, sentence: str | None) -> Request:
        """The request with this sentence; refuses what makes no sense."""
        if any("\ud800" <= letter <= "\udfff" for letter in self.video or ""):  # bytes that were no text
            raise InputError(f"--video {self.video!r} is not UTF-8 text")
        settings = {field.name: getattr(self, field.name) for field in fields(Request)}
        also = (*self.also, *((-weight, text) for weight, text in self.less))
        example = self.example if self.like_file is None else str(self.like_file)
        return Request(**settings | {"sentence": sentence, "also": also, "example": example})


@dataclass(frozen=True, kw_only=True)
class SearchArgs:
    """Arguments of mee search."""

    index: Annotated[Positional[At], arg(metavar="INDEX")]  # made by mee index: a folder, or postgresql://…
    query: OmitArgPrefixes[QueryArgs]
    json: bool = False  # print one JSON object for each hit, or for each video with --by-video or --then
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


def query_of(address: str) -> QueryArgs | None:
    """The search of an address of the page, which is only read; None: it is none, but a sentence.

    Raises:
        InputError: it asks for nothing, or what it asks for makes no sense.
    """
    found = ADDRESS.fullmatch(address)
    pairs = [(name, value) for name, value in parse_qsl(found[1]) if value.strip()] if found else []
    if not ASKS & {name for name, _ in pairs}:
        return None
    flags, weights, only = [], [], [value for name, value in pairs if name == "only"]
    for name, value in pairs:
        flag, (field, _, expert) = f"--{name.replace('_', '-')}", name.partition(".")
        if field == "weights":  # weights=audio=0.7, or weights.audio=0.7 of a slider
            expert, _, number = (expert, "", value) if expert else value.rpartition("=")
            weights += [f"{expert}={number}"] if not only or expert in only else []
        elif name == "closer":
            with usable(f"closer={value} of the address names no clips"):
                flags += [flag, *(urlsafe_b64decode(f"{key}==").decode() for key in value.split("."))]
        elif isinstance(getattr(Request, name, None), bool):
            flags += [] if value in ("0", "false", "off") else [flag]
        elif name not in NO_FLAGS:
            flags.append(f"{flag}={value}")
    words = ["INDEX", "any", *flags, "--only", *only, "--weights", *weights]
    sentence, example = (dict(pairs).get(name) for name in ("q", "example"))
    return replace(parse(SearchArgs, "search", words, "").query, sentence=sentence, example=example)


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(SearchArgs, "search", argv, __doc__ or "")
    query, top = args.query, args.query.top
    if asked := query_of(query.sentence or ""):
        if query != QueryArgs(sentence=query.sentence, top=top):
            raise InputError(
                "an address has all of its search: of the flags of a search, give --top alone besides"
            )
        query = asked if top == Request.top else replace(asked, top=top)
    first = query.request("any" if query.reads_lines else query.sentence)

    from index.searcher import Searcher

    gpu = pick_device("cuda") if args.device == "cuda" else None  # not by default: all vectors are copied there
    searcher = Searcher.load(args.index, device=gpu or args.device, model=args.model, index_device=gpu)
    if query.like_file is not None:
        from scripts import example

        made = example.ExampleMaker(searcher, args.device).make(query.like_file)
        searcher.meaning.examples[str(query.like_file)] = made.queries
        for note in made.notes:
            say(note)
        if args.verbose:
            lacks = f"; it has no {', '.join(made.missing)}" if made.missing else ""
            say(f"the file is compared by {', '.join(made.streams)}{lacks}")
    if query.reads_lines:  # before the first line is waited for
        searcher.check(first)
    for number, requests in enumerate(_batches(query) if query.reads_lines else [[first]]):
        if number:
            searcher.refresh()
        for request, answer in zip(requests, searcher.search(requests)):
            if args.export is not None and answer:
                _export(args.export, _title(request), answer, searcher)
            if not answer:
                say(f"no hits for {_title(request)}: {why_none(searcher, request)}")
            if args.json:
                for found in answer:
                    print(json.dumps({"query": request.sentence, **found.to_dict()}), flush=True)
                continue
            print_hits(_title(request) + _order(request), answer, searcher.modalities, mean=bool(request.then))
    for note in searcher.text.unread.notes("sentences"):
        say(note)
    if args.verbose:
        say(searcher.text.source)
    return DONE


def why_none(searcher: Searcher, request: Request) -> str:
    """Why a request finds nothing, in words."""
    passed = replace(request, top=max(1, request.offset), offset=0)
    if request.offset and (there := len(searcher.search([passed], again=True)[0])):
        noun = "video" if request.by_video or request.then else "hit"
        return f"the offset {request.offset:,} passes over all there is, {count(there, noun)}"
    if request.min_score is not None:
        return f"nothing scores {request.min_score:g} or more"
    return APART.format(request.within) if request.then else NOTHING


def _order(request: Request) -> str:
    """How the hits below a title are chosen and sorted."""
    after = f", after the best {request.offset:,}" if request.offset else ""
    return after + (f", by {request.sort}" if request.sort != "score" else "")


def _batches(query: QueryArgs) -> Iterator[list[Request]]:
    """Requests for the lines of stdin; on a terminal each line is answered at once."""
    if sys.stdin.isatty():
        say("one sentence a line; Ctrl-D ends")
    size = 1 if sys.stdin.isatty() else BATCH
    batch: list[Request] = []
    lines = 0
    try:
        for line in filter(None, map(str.strip, sys.stdin)):
            batch.append(query.request(line))
            lines += 1
            if len(batch) == size:
                yield batch
                batch = []
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is not {error.encoding} text: {error.reason}") from error
    if batch:
        yield batch
    if not lines:
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
    terms += [] if request.example is None else [(1.0, f"file {request.example}")]
    terms += [(1.0, f"good {clip}") for clip in request.good] + [(-1.0, f"bad {clip}") for clip in request.bad]
    if not terms:
        return ", ".join(f'{name} "{words}"' for name, words in request.words.items())
    parts: list[str] = []
    for weight, term in terms:
        sign = "-" if weight < 0 else "+" if parts else ""
        parts.append(" ".join(filter(None, [sign, "" if abs(weight) == 1 else f"{abs(weight):g} *", term])))
    return ", then ".join([" ".join(parts), *(f'"{sentence}"' for sentence in request.then)])


def print_hits(
    title: str, found: Sequence[Hit] | Sequence[VideoHits], modalities: Sequence[str], *, mean: bool = False
) -> None:
    """A row for each clip; of videos, a row for each moment, the name beside the first one; then their words.

    mean: show the score of videos, too.
    """
    moments: list[tuple[list[str], Hit]] = []
    for one in found:
        names = [f"{one.rank}", one.video, *([f"{one.score:.3f}"] if mean else [])]
        moments += [(names if hit is one.hits[0] else [""] * len(names), hit) for hit in one.hits]
    shares = [share.contribution for _, hit in moments for share in hit.experts.values()]
    longest = max(map(abs, shares), default=0.0) or 1.0
    offset = ["offset"] if any(hit.offset for _, hit in moments) else []
    alike = ["alike"] if any(hit.copies for _, hit in moments) else []
    rows, words = [], []
    for names, hit in moments:
        cells = []
        for modality in modalities:
            share = hit.experts.get(modality)
            part = share.contribution + 0.0 if share else 0.0  # not -0.0
            cells.append(f"{bar(part / longest, 6):6} {part:5.2f}" if share and share.weight else "-")
        moment = f"{clock(hit.start_s)}-{clock(hit.end_s)}" if hit.end_s > hit.start_s else "-"  # a still
        rows.append([*names, moment, f"{hit.score:.3f}", *cells, *(f"{0 - hit.offset:.2f}" for _ in offset)])
        rows[-1] += [f"+{len(hit.copies)}" if hit.copies else "" for _ in alike]
        words += [[names[0], clock(said.start_s), name, said.text] for name, said in hit.words.items()]
    heads = ["#", "video", *(["mean"] if mean else []), "moment", "score"]
    print_table(title, [*heads, *modalities, *offset, *alike], rows, words=2)
    if words:
        print_table("", ["#", "at", "stream", "words"], words, words=4)
    print(flush=True)
