"""Render a small world of videos, and walk the whole way through it with the commands that you will use.

example:
  mee demo
  mee demo /tmp/world --seed 1

Renders about 250 short files with known facts, reads their four streams, trains a mixture on captions, makes an
index, measures retrieval on captions of clips that training never saw, and answers five sentences. What it leaves
in DIR stays; calling it again does only what is missing.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mee.errors import InputError
from scripts.console import DONE, parse, print_table, progress_console, resumable, say

if TYPE_CHECKING:
    from scripts.demo.words import Caption
    from scripts.demo.world import DemoClip

# A small world and little text: small spaces, a high rate, few epochs.
TRAINING = "--embed-dim 128 --text.width 128 --loss max-margin --epochs 12 --batch-size 32 --learning-rate 2e-3"
ASKED = (("audio",), ("motion",), ("appearance",), ("face",), ("appearance", "motion"))  # what the five speak of
MADE = {
    "videos": "the rendered files",
    "captions.csv": "video_id, caption, split",
    "store": "their streams: appearance, motion, audio, face",
    "model": "the trained mixture",
    "index": "what is searched",
    "result.json": "the figures above, for mee report to compare",
    "report.html": "the same as a page with pictures",
    "answers.png": "the five searches as a picture",
}


@dataclass(frozen=True, kw_only=True)
class DemoArgs:
    """Arguments of mee demo."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")] = Path("mee-demo")  # where everything goes
    seed: int = 0  # another seed renders another world, and trains from other weights

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(DemoArgs, "demo", argv, __doc__ or "")
    from scripts.demo.words import make_captions
    from scripts.demo.world import make_clips

    begun = time.monotonic()
    folder: Path = args.folder
    clips = make_clips(args.seed)
    captions = make_captions(clips, args.seed)
    _render(folder, args.seed, clips, captions)
    _command(f"precompute {_in(folder, 'videos', 'store')}")
    if (folder / "model").exists():
        say(f"there is a trained model in {folder / 'model'} already")
    else:
        _command(f"train {_in(folder, 'store', 'captions.csv', 'model')} {TRAINING} --seed {args.seed}")
    _command(f"index {_in(folder, 'store', 'model', 'index')}")
    result = _in(folder, "result.json")
    _command(f"evaluate {_in(folder, 'store', 'captions.csv', 'model')} --ablation --result {result}")
    _command(f"report {result} --videos {_in(folder, 'videos')} --out {_in(folder, 'report.html')}")
    tests = [caption for caption in captions if caption.split == "test"]
    _print_weights(folder, tests)
    first = {caption.speaks_of: caption for caption in reversed(tests)}
    asked = [first[kind] for kind in ASKED if kind in first]
    for caption in asked:
        _command(f"search {_in(folder, 'index')} {shlex.quote(caption.text)} --top 3")
    from scripts.demo.sheet import draw_sheet

    draw_sheet(folder, asked, {clip.name: clip.facts for clip in clips}, folder / "answers.png")
    print(f"\nDone in {time.monotonic() - begun:.0f} s. In {folder} there are now:")
    for name, what in MADE.items():
        print(f"  {folder / name!s:<28} {what}")
    print(f'\nAsk it something else:\n  mee search {_in(folder, "index")} "{asked[0].text}"')
    print("\nDo the same with your own videos and captions:")
    print("  mee precompute VIDEOS STORE && mee train STORE CAPTIONS MODEL && mee index STORE MODEL INDEX")
    return DONE


def _in(folder: Path, *names: str) -> str:
    return " ".join(shlex.quote(str(folder / name)) for name in names)


def _command(line: str) -> None:
    """Run one of the public commands as a person would, and show it; the demo ends where one fails."""
    from scripts.cli import main as mee

    print(f"\n$ mee {line}", flush=True)
    code = mee(shlex.split(line))
    if code != DONE:
        raise InputError(f"the demo ends here: mee {line.split()[0]} ended with exit code {code}")


def _render(folder: Path, seed: int, clips: Sequence[DemoClip], captions: Sequence[Caption]) -> None:
    """Render what is missing; what was made from another world is removed first."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from scripts.demo.render import VERSION, render_world

    world = {"seed": seed, "version": VERSION}
    stamp = folder / "demo.json"
    if folder.exists() and any(folder.iterdir()) and not stamp.is_file():
        raise InputError(f"'{folder}' is there already and is not a demo; name another place")
    folder.mkdir(parents=True, exist_ok=True)
    if stamp.is_file() and json.loads(stamp.read_text()) != world:
        for path in (folder / name for name in (*MADE, "model.training")):
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    stamp.write_text(json.dumps(world) + "\n")
    columns = (TextColumn("render"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    print(f"Rendering short videos and stills with known facts into {folder / 'videos'}", flush=True)
    with Progress(*columns, console=progress_console()) as progress:
        row = progress.add_task("files", total=len(clips))
        render_world(folder, clips, captions, os.cpu_count() or 1, lambda: progress.advance(row))


def _print_weights(folder: Path, captions: Sequence[Caption]) -> None:
    """The mean mixture weights of the captions that speak of one stream only."""
    from mee.encode import encode_captions
    from mee.model import MEE

    model = MEE.from_pretrained(folder / "model")
    rows = []
    for kind in model.modalities:
        sentences = [caption.text for caption in captions if caption.speaks_of == (kind,)]
        if sentences:
            weights = encode_captions(model, sentences).logits.softmax(-1).mean(0).tolist()
            rows.append([f"{kind} ({len(sentences)} captions)", *(f"{100 * weight:.0f} %" for weight in weights)])
    print()
    print_table(
        "Where the mixture looks: mean weight of each expert, for test captions that speak of one thing only",
        ["captions about", *model.modalities],
        rows,
    )


if __name__ == "__main__":
    sys.exit(main())
