"""Render a small set of videos and run every step on it, with the commands that you will use.

example:
  mee demo
  mee demo /tmp/world --seed 1
  mee demo --open

Renders about 250 short files with known content, extracts four streams, trains a model on captions, builds an
index, measures retrieval on test clips and runs five searches. Everything stays in DIR; run it again to resume it.
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
from scripts.console import (
    DONE,
    INTERRUPTED,
    TERMINATED,
    Terminated,
    counting_bar,
    parse,
    print_line,
    print_table,
    resumable,
    say,
)

if TYPE_CHECKING:
    from scripts.demo.words import Caption
    from scripts.demo.world import DemoClip

# Few clips and little text: a small joint space, a high learning rate, few epochs.
TRAINING = "--embed-dim 128 --text.width 128 --loss max-margin --epochs 12 --batch-size 32 --learning-rate 2e-3"
# What the five searches are about.
ABOUT = (("audio",), ("motion",), ("appearance",), ("face",), ("appearance", "motion"))
STAMP = "demo.json"
MADE = {
    "videos": "the rendered files",
    "captions.csv": "video_id, caption, split",
    "store": "their streams: appearance, motion, audio, face",
    "model": "the trained model",
    "index": "what mee search reads",
    "result.json": "the figures above, for mee report to compare",
    "report.html": "the same as a page with pictures",
    "answers.png": "the five searches as a picture",
}


@dataclass(frozen=True, kw_only=True)
class DemoArgs:
    """Arguments of mee demo."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")] = Path("mee-demo")  # directory for all files
    seed: int = 0  # another seed renders other clips and trains from other weights
    open: bool = False  # serve the index when all is done, at once if it was, and open its page in the browser

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(DemoArgs, "demo", argv, __doc__ or "")
    from scripts.demo.words import make_captions
    from scripts.demo.world import make_clips

    start = time.monotonic()
    folder: Path = args.folder
    if args.open and _is_complete(folder, args.seed):
        return _serve(folder)
    clips = make_clips(args.seed)
    captions = make_captions(clips, args.seed)
    _render(folder, args.seed, clips, captions)
    _command(f"precompute {_in(folder, 'videos', 'store')}")
    if (folder / "model").exists():
        say(f"using the trained model in {folder / 'model'}")
    else:
        _command(f"train {_in(folder, 'store', 'captions.csv', 'model')} {TRAINING} --seed {args.seed}")
    _command(f"index {_in(folder, 'store', 'model', 'index')}")
    result = _in(folder, "result.json")
    _command(f"evaluate {_in(folder, 'store', 'captions.csv', 'model')} --ablation --result {result}")
    _command(f"report {result} --videos {_in(folder, 'videos')} --out {_in(folder, 'report.html')}")
    tests = [caption for caption in captions if caption.split == "test"]
    _print_weights(folder, tests)
    first = {caption.speaks_of: caption for caption in reversed(tests)}
    queries = [first[kind] for kind in ABOUT if kind in first]
    for caption in queries:
        _command(f"search {_in(folder, 'index')} {shlex.quote(caption.text)} --top 3")
    from scripts.demo.sheet import draw_sheet

    draw_sheet(folder, queries, {clip.name: clip.facts for clip in clips}, folder / "answers.png")
    print()
    print_line(f"Done in {time.monotonic() - start:.0f} s. {folder} now has:")
    for name, what in MADE.items():
        print_line(f"  {folder / name!s:<28} {what}")
    print("\nSearch for something else:")
    print_line(f"  mee search {_in(folder, 'index')} {shlex.quote(queries[0].text)}")
    print("\nSee and play what is found:")
    print_line(f"  mee serve {_in(folder, 'index')} --videos {_in(folder, 'videos')}")
    print("\nThe same with your own videos and captions:")
    print("  mee precompute VIDEOS STORE && mee train STORE CAPTIONS MODEL && mee index STORE MODEL INDEX")
    return _serve(folder) if args.open else DONE


def _serve(folder: Path) -> int:
    """Show the page until it is stopped."""
    from scripts.serve import ServeArgs, serve

    print()
    return serve(ServeArgs(index=folder / "index", videos=folder / "videos", open=True))


def _is_complete(folder: Path, seed: int) -> bool:
    """Whether a demo of this seed has come to its end here."""
    stamp = folder / STAMP
    made = stamp.is_file() and json.loads(stamp.read_text()) == _world(seed)
    return made and all((folder / name).exists() for name in MADE)


def _world(seed: int) -> dict[str, int]:
    """What the rendered files follow from."""
    from scripts.demo.render import VERSION

    return {"seed": seed, "version": VERSION}


def _in(folder: Path, *names: str) -> str:
    return " ".join(shlex.quote(str(folder / name)) for name in names)


def _command(line: str) -> None:
    """Print and run a command; the demo stops if it fails."""
    from scripts.cli import main as mee

    print()
    print_line(f"$ mee {line}")
    sys.stdout.flush()
    code = mee(shlex.split(line))
    if code in (INTERRUPTED, TERMINATED):
        raise Terminated if code == TERMINATED else KeyboardInterrupt
    if code != DONE:
        raise InputError(f"the demo stopped: mee {line.split()[0]} ended with exit code {code}")


def _render(folder: Path, seed: int, clips: Sequence[DemoClip], captions: Sequence[Caption]) -> None:
    """Render missing files; files of another seed or version are removed first."""
    from scripts.demo.render import render_world

    world, stamp = _world(seed), folder / STAMP
    if folder.exists() and any(folder.iterdir()) and not stamp.is_file():
        raise InputError(f"'{folder}' exists and is not a demo; name another place")
    folder.mkdir(parents=True, exist_ok=True)
    if stamp.is_file() and json.loads(stamp.read_text()) != world:
        for path in (folder / name for name in (*MADE, "model.training")):
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    stamp.write_text(json.dumps(world) + "\n")
    print_line(f"Rendering short videos and stills with known facts into {folder / 'videos'}")
    sys.stdout.flush()
    with counting_bar("render", "files") as progress:
        render_world(folder, clips, captions, os.cpu_count() or 1, progress)


def _print_weights(folder: Path, captions: Sequence[Caption]) -> None:
    """The mean mixture weights of the captions about one stream only."""
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
    title = "Mean mixture weights of test captions about one stream only"
    print_table(title, ["captions about", *model.modalities], rows)
