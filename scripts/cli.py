"""`mee`: the table of commands, each loaded when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

COMMANDS = {
    "demo": ("scripts.demo.command", "render a small world of videos, and walk the whole way through it"),
    "precompute": ("scripts.precompute", "videos -> feature store"),
    "import": ("scripts.import_features", "features made elsewhere -> feature store"),
    "store": ("scripts.store", "look at a feature store, check it, merge several, export one"),
    "train": ("scripts.train", "feature store + captions -> model"),
    "index": ("scripts.build_index", "feature store + model -> index"),
    "gallery": ("scripts.gallery", "look at an index, check it, compact it, take clips out"),
    "search": ("scripts.search", "index + sentence -> the moments that fit"),
    "evaluate": ("scripts.evaluate", "feature store + captions + model, or scores of others -> a result"),
    "report": ("scripts.report.command", "results -> a table, Markdown, or a page with pictures"),
    "overlap": ("scripts.overlap", "videos or feature store -> test clips that training has nearly seen"),
    "explain": ("scripts.explain", "model + sentence -> what it listens to, as numbers and pictures"),
    "tokens": ("scripts.tokens", "picture + pretrained model -> which patches token merging makes one"),
}


def usage() -> str:
    """The help text."""
    rows = "\n".join(f"  mee {name:<12} {what}" for name, (_, what) in COMMANDS.items())
    return (
        "MEE finds videos from words.\n\n"
        f"{rows}\n\n"
        "Each command explains itself: mee search --help\n"
        "The whole way, on videos that it renders itself: mee demo\n\n"
        "example:\n"
        "  mee precompute videos/ store/            read four streams out of every video\n"
        "  mee train store/ captions.csv model/     learn from captions\n"
        "  mee index store/ model/ index/           make the library searchable\n"
        '  mee search index/ "a dog in the snow"    find the moment'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    name, *rest = arguments
    if name in ("-V", "--version"):
        print(f"mee {version('mee')}")
        return 0
    if name not in COMMANDS:
        print(
            f"mee: there is no command '{name}'; there are {', '.join(COMMANDS)}. See mee --help", file=sys.stderr
        )
        return 2
    code: int = import_module(COMMANDS[name][0]).main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
