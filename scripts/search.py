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
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from index.request import Request
from mee.errors import InputError
from scripts.console import (
    DONE,
    Device,
    bar,
    clock,
    errors_as_sentences,
    parse,
    pick_device,
    print_table,
    say,
    visible,
)

if TYPE_CHECKING:
    from index.hit import Hit, VideoHits


if TYPE_CHECKING:
    from index.request import Request
    from index.searcher import Answer


TERM = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\*(.*)", re.DOTALL)
Sentences = Annotated[tuple[str, ...], arg(metavar="[WEIGHT*]SENTENCE")]


@dataclass(frozen=True, kw_only=True)
class SearchArgs:
    """Arguments of mee search."""

    index: Annotated[Positional[Path], arg(metavar="INDEX")]  # made by mee index
    sentence: Annotated[Positional[str | None], arg(metavar="SENTENCE", constructor=str)] = None  # in quotes
    top: int = 10  # hits a sentence; with --by-video, videos
    also: UseAppendAction[Sentences] = ()  # a sentence that counts beside the first; give it again for more
    less: UseAppendAction[Sentences] = ()  # "not this": a sentence that counts against; give it again for more
    like: Annotated[str | None, arg(metavar="CLIP", constructor=str)] = None  # more like this clip; counts 1
    only: Annotated[tuple[str, ...], arg(metavar="EXPERT [EXPERT ...]")] = ()  # listen to these experts alone
    weights: Annotated[tuple[str, ...], arg(metavar="EXPERT=NUMBER [EXPERT=NUMBER ...]")] = ()
    """Weights of experts, in the place of the model's; an expert that is not named counts 0."""
    where: Annotated[str | None, arg(metavar="FILTER", constructor=str)] = None
    """Only clips of which this is true: 'duration < 30 and split == "test"'. There are clip_id, video, start_s,
    end_s, duration (seconds), and the columns of the metadata; comparisons, in (...), and, or, not, is None,
    .startswith(...), "part" in column."""
    video: Annotated[str | None, arg(metavar="NAME", constructor=str)] = None  # only clips of this video
    by_video: bool = False  # find videos: each once, its best moments under it
    moments: int = 3  # of a video, at most, with --by-video
    plain: bool = False  # without the offsets of mee gallery normalise, if the index carries them
    exact: bool = False  # read every vector, where the index is of a kind that may miss a clip
    json: bool = False  # print one JSON object a hit; with --by-video, a video
    model: Path | None = None  # the model, if it was moved since the index was made
    device: Device = "auto"  # cuda: clips are scored there, too, which copies the index there first

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1, got {self.top}")
        if self.moments < 1:
            raise ValueError(f"moments must be at least 1, got {self.moments}")

    @property
    def reads_lines(self) -> bool:
        """Whether the sentences come from stdin."""
        return self.sentence is None and self.like is None

    def request(self, sentence: str | None) -> Request:
        """What is asked for, with a sentence."""
        also = [
            *(_term(text, "--also", 1) for text in self.also),
            *(_term(text, "--less", -1) for text in self.less),
        ]
        if self.video is not None and not _is_text(self.video):
            raise InputError(f"--video {self.video!r} is not UTF-8 text")
        return Request(
            sentence=sentence,
            also=tuple(also),
            like=self.like,
            only=self.only,
            weights=_weights(self.weights),
            where=self.where,
            video=self.video,
            top=self.top,
            by_video=self.by_video,
            moments=self.moments,
            plain=self.plain,
            exact=self.exact,
        )


def _term(text: str, flag: str, sign: int) -> tuple[float, str]:
    """How much a sentence counts, and the sentence."""
    match = TERM.fullmatch(text)
    weight, sentence = (float(match[1]), match[2].strip()) if match else (1.0, text.strip())
    if not sentence:
        raise InputError(f"{flag} {text!r} has no sentence; write it like {flag} '0.5*at night'")
    if not weight > 0:
        other = "; what should count against is given with --less" if weight < 0 and sign > 0 else ""
        raise InputError(f"{flag} {text!r} must count more than 0{other}")
    return sign * weight, sentence


def _is_text(name: str) -> bool:
    """Whether its bytes on the command line were text."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _weights(given: Sequence[str]) -> dict[str, float]:
    """Weights by expert."""
    weights: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            weight = float(number)
        except ValueError:
            raise InputError(f"--weights {text!r} is not like audio=0.7") from None
        if name in weights:
            raise InputError(f"--weights gives expert {name!r} two weights; give it one")
        weights[name] = weight
    return weights


BATCH = 256  # sentences searched together


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(SearchArgs, "search", argv, __doc__ or "")
    if args.sentence is not None and not args.sentence.strip():
        raise InputError("the sentence is empty; write what to look for")
    request = args.request("any" if args.reads_lines else args.sentence)  # refused before anything is loaded

    from index.searcher import Searcher

    device = pick_device(args.device)
    scored_on = device if args.device == "cuda" else None  # not by default: all vectors are copied there first
    searcher = Searcher.load(args.index, device=device, model=args.model, index_device=scored_on)
    searcher.check(request)
    for number, requests in enumerate(_batches(args) if args.reads_lines else [[request]]):
        if number:
            searcher.refresh()
        for request, answer in zip(requests, searcher.search(requests)):
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


def print_hits(title: str, hits: Sequence[Hit], modalities: Sequence[str]) -> None:
    """A row a clip."""
    parts = _parts(hits, modalities)
    rows = [[f"{hit.rank}", hit.video, *cells] for hit, cells in zip(hits, parts)]
    _print_rows(title, rows, hits, modalities)


def print_videos(title: str, videos: Sequence[VideoHits], modalities: Sequence[str]) -> None:
    """A row a moment; a video's name stands beside its best."""
    hits = [hit for video in videos for hit in video.hits]
    names = [
        [f"{video.rank}", video.video] if not place else ["", ""]
        for video in videos
        for place in range(len(video.hits))
    ]
    rows = [[*name, *cells] for name, cells in zip(names, _parts(hits, modalities))]
    _print_rows(title, rows, hits, modalities)


def _print_rows(title: str, rows: Sequence[Sequence[str]], hits: Sequence[Hit], modalities: Sequence[str]) -> None:
    offset = ["offset"] if _with_offsets(hits) else []
    print_table(title, ["#", "video", "moment", "score", *modalities, *offset], rows, words=2)
    print(flush=True)


def _parts(hits: Sequence[Hit], modalities: Sequence[str]) -> list[list[str]]:
    """Moment, score and parts of each hit; with offsets, what is taken off stands last."""
    longest = max((abs(share.contribution) for hit in hits for share in hit.experts.values()), default=1.0) or 1.0
    offsets = _with_offsets(hits)
    rows = []
    for hit in hits:
        cells = []
        for modality in modalities:
            share = hit.experts.get(modality)
            part = share.contribution + 0.0 if share else 0.0  # not -0.0
            cells.append(f"{bar(part / longest, 6):6} {part:5.2f}" if share else "-")
        if offsets:
            cells.append(f"{0 - hit.offset:.2f}")
        moment = f"{clock(hit.start_s)}-{clock(hit.end_s)}" if hit.end_s > hit.start_s else "-"  # a still
        rows.append([moment, f"{hit.score:.3f}", *cells])
    return rows


def _with_offsets(hits: Sequence[Hit]) -> bool:
    return any(hit.offset for hit in hits)


if __name__ == "__main__":
    sys.exit(main())
