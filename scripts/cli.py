"""`mee`: the table of commands; each is imported when it is called."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import cast

from mee.errors import did_you_mean, name_id

COMMANDS = {
    "open": ("scripts.open.command", "a folder of videos -> a page that finds their moments"),
    "demo": ("scripts.demo.command", "render a small set of videos and run every step on it"),
    "precompute": ("scripts.precompute", "videos -> feature store"),
    "import": ("scripts.import_features", "features from other tools -> feature store"),
    "store": ("scripts.store", "list, verify, merge and export feature stores"),
    "train": ("scripts.train", "feature store + captions -> model"),
    "model": ("scripts.model", "feature store -> model without captions"),
    "index": ("scripts.build_index", "feature store + model -> index"),
    "gallery": ("scripts.gallery", "list, verify, compact, remove from and normalise an index"),
    "search": ("scripts.search", "index + sentence -> the moments that fit"),
    "serve": ("scripts.serve.command", "index + videos -> a page and an API that play the moments"),
    "library": ("scripts.open.library", "list and free what mee open keeps"),
    "evaluate": ("scripts.evaluate", "feature store + captions + model, or another system's scores -> result"),
    "report": ("scripts.report.command", "results -> tables, Markdown, or a page with pictures"),
    "overlap": ("scripts.overlap", "videos or feature store -> test videos that are also in the training set"),
    "explain": ("scripts.explain", "model + sentence -> its mixture weights and attention"),
    "tokens": ("scripts.tokens", "picture + pretrained model -> the patches that token merging joins"),
}


def usage() -> str:
    """The help text."""
    rows = "\n".join(f"  mee {name:<12} {what}" for name, (_, what) in COMMANDS.items())
    return (
        "MEE finds videos from words.\n\n"
        f"{rows}\n\n"
        "Help of a command: mee search --help\n"
        "Everything on rendered videos: mee demo\n\n"
        "example:\n"
        "  mee open videos/                         all in one: read the videos, and show the page\n"
        "  mee precompute videos/ store/            extract streams from every video (--preset offline)\n"
        "  mee model store/ model/                  make a model without captions, or\n"
        "  mee train store/ captions.csv model/     train on captions\n"
        "  mee index store/ model/ index/           make the videos searchable\n"
        '  mee search index/ "a dog in the snow"    find the moment'
    )


def _print(text: str, code: int) -> int:
    """Print help, where wrong usage requests it on stderr; returns the exit code."""
    stream = sys.stderr if code else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:  # a full disk, a pipe that nobody reads
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 1
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return _print(usage(), 0) if arguments else _print(usage(), 2)
    name, *rest = arguments
    if name in ("-V", "--version"):
        return _print(f"mee {version('mee')}", 0)
    if name not in COMMANDS:
        return _print(f"mee: no command {name_id(name)}{did_you_mean(name, COMMANDS)}; see mee --help", 2)
    from scripts.console import errors_as_sentences, prepare_process  # here: help needs none of it

    prepare_process()
    gc.set_threshold(100_000, 20, 20)  # what imports allocate stays: no garbage is in it, here or at exit
    atexit.register(gc.freeze)
    return errors_as_sentences(lambda words: cast(int, import_module(COMMANDS[name][0]).main(words)))(rest)


if __name__ == "__main__":
    sys.exit(main())
