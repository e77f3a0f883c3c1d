"""Show the mixture weights of a sentence, and the attention of its text encoder as a picture.

example:
  mee explain model/ "a dog barks in the snow"
  mee explain model/ --sentences queries.txt --out pictures/
  mee explain model/ "a dog barks in the snow" --available appearance audio
  mee explain index/ "a dog barks in the snow"

One sentence: its weights, and explain-attention.png. A file of sentences: all weights, and explain-weights.png.
Existing pictures of these names are overwritten. Of an index, its text side gives the weights, without torch, and
pictures are drawn with --out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mee.data import read_lines
from mee.errors import InputError, did_you_mean
from scripts.console import DONE, Device, bar, errors_as_sentences, parse, pick_device, print_table, say
from scripts.search import At

if TYPE_CHECKING:
    from index.postgres import Place
    from index.queries import Queries
    from index.text_side import Text
    from mee.layout import Layout
    from mee.model import MEE

ATTENTION, WEIGHTS = "explain-attention.png", "explain-weights.png"


@dataclass(frozen=True, kw_only=True)
class ExplainArgs:
    """Arguments of mee explain."""

    model: Annotated[Positional[At], arg(metavar="MODEL")]  # made by mee train, or an index that mee index made
    sentence: Annotated[Positional[str | None], arg(metavar="[SENTENCE]")] = None  # in quotes
    sentences: Path | None = None  # UTF-8 text file, one sentence a line
    available: tuple[str, ...] = ()  # for a clip that has only the streams of these experts; default: all
    out: Path | None = None  # directory for the pictures; default: this one, and none of an index
    json: bool = False  # print one JSON object for each sentence
    device: Device = "auto"  # where to run the model
    verbose: bool = False  # say on stderr what encoded the sentences


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(ExplainArgs, "explain", argv, __doc__ or "")
    if args.sentence is not None and args.sentences is not None:
        raise InputError("give one sentence, or a file of them with --sentences, not both")
    if args.sentence is None and args.sentences is None:
        raise InputError("no sentence: name one, or a file with one a line by --sentences")
    if args.sentence is not None and not args.sentence.strip():
        raise InputError("the sentence is empty; write some words")
    given = [(args.sentence or "").strip()]
    sentences = given if args.sentences is None else read_lines(args.sentences, "file of sentences")

    import numpy as np

    encode, text, layout = _text_side(args)
    experts = layout.names
    for name in args.available:
        if name not in experts:
            guess = did_you_mean(name, experts)
            raise InputError(f"--available: this model has no expert '{name}'{guess}; it has {', '.join(experts)}")
    there = {name: not args.available or name in args.available for name in experts}
    counted = np.array([layout.missing == "evidence" or there[name] for name in experts])
    shown, absent = list(compress(experts, counted)), [name for name in experts if not there[name]]
    weights = encode(sentences).factors(counted, layout.missing)[:, 0, counted].tolist()
    for sentence, shares in zip(sentences, weights):
        if not all(map(math.isfinite, shares)):
            raise InputError(f"'{args.model}' gives no finite weights for '{sentence}'; train it again")
    pictures: list[Path | None] = [None] * len(sentences)
    out = args.out or (None if _is_index(args.model) else Path("."))
    if out and args.sentence is None:
        pictures = _draw_weights(out, sentences, shown, weights)
    elif out:
        pictures = [_draw_attention(out, text.model, sentences[0])]
    if args.json:
        for sentence, shares, picture in zip(sentences, weights, pictures):
            answer = {"sentence": sentence, "weights": dict(zip(shown, shares)), "absent": absent}
            print(json.dumps({**answer, "pictures": [str(picture)] if picture else []}))
    elif args.sentence is None:
        rows = [
            [f"{number}", sentence, *(f"{share:.3f}" for share in shares)]
            for number, (sentence, shares) in enumerate(zip(sentences, weights), start=1)
        ]
        print_table(
            "", ["#", "sentence", *(name if there[name] else f"({name})" for name in shown)], rows, words=2
        )
    else:
        rows = [
            [name, f"{share:.3f}", bar(share, 24) if there[name] else "absent, adds nothing"]
            for name, share in zip(shown, weights[0])
        ]
        print_table(f'"{sentences[0]}"', ["expert", "weight", ""], rows, words=3)
    if args.verbose:
        say(text.source)
    return DONE


def _is_index(place: Path | Place) -> bool:
    from index.storage import INDEX_FILE, SHARDS_FILE

    return not isinstance(place, Path) or any((place / file).is_file() for file in (INDEX_FILE, SHARDS_FILE))


def _text_side(args: ExplainArgs) -> tuple[Callable[[Sequence[str]], Queries], Text, Layout]:
    """Sentences -> queries, of an index as a search weighs them; what encodes them; and the experts."""
    from index.searcher import Searcher
    from index.text_side import Text

    if _is_index(args.model):
        searcher = Searcher.load(args.model, device=pick_device("cuda") if args.device == "cuda" else args.device)
        return searcher.encode, searcher.text, searcher.video_index.layout
    from mee.checkpoint import check_directory
    from mee.model import MEE

    assert isinstance(args.model, Path)
    check_directory(args.model)
    model = MEE.from_pretrained(args.model).to(pick_device(args.device))
    text = Text(lambda: model, reason="it was given")
    return text.encode, text, model.layout


def _draw_attention(out: Path, model: MEE, sentence: str) -> Path | None:
    """Draw the text encoder's attention; None where it has none."""
    from scripts.pictures import draw_attention, write_picture

    attention = model.text_encoder.attention(sentence)
    if attention is None:
        say(f"no picture: the text encoder '{model.config.text.encoder}' has no attention to draw")
        return None
    return write_picture(out / ATTENTION, draw_attention(attention, sentence))


def _draw_weights(
    out: Path, sentences: Sequence[str], experts: Sequence[str], weights: Sequence[Sequence[float]]
) -> list[Path | None]:
    """Draw the weights; returns, for each sentence, the picture that shows it or None."""
    import numpy as np

    from scripts.pictures import SHOWN_SENTENCES, draw_weights, write_picture

    path = write_picture(out / WEIGHTS, draw_weights(sentences, experts, np.asarray(weights)))
    if len(sentences) > SHOWN_SENTENCES:
        count = f"{SHOWN_SENTENCES} of {len(sentences)}"
        say(f"the picture shows the first {count} sentences; the weights of all are printed")
    return [path if number < SHOWN_SENTENCES else None for number in range(len(sentences))]
