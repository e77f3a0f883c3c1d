"""A protocol's name and a path -> its benchmark, read and checked.

benchmark = load_benchmark("msrvtt-1ka", Path("annotations"))
benchmark.table      query_id, video_id, caption, split
benchmark.gallery    the test videos
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from mee.errors import InputError, did_you_mean
from mee.protocols.check import check
from mee.protocols.protocol import Benchmark, Protocol, Reading
from mee.protocols.table import PROTOCOLS

Reader = Callable[[Protocol, Path, str | None], Reading]


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        InputError: there is none; the message suggests the nearest name.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    raise InputError(
        f"no protocol is called '{name}'{did_you_mean(name, PROTOCOLS)}; there are {', '.join(PROTOCOLS)}"
    )


def load_benchmark(name: str, path: Path, *, train_list: str | None = None, partial: bool = False) -> Benchmark:
    """Read a protocol's annotation files, and refuse what does not match it.

    Training and validation captions are in the table where the files with them are there; files of the test alone
    suffice. A table of one's own (`folder`) without a column split is all test and gets none.

    Args:
        name: of the protocol.
        path: the directory with its files under their usual names, or one file where one suffices.
        train_list: which of the protocol's training lists; None takes the first, where there is one to take.
        partial: go on where the files fall short of the protocol, and say how in `Benchmark.shortfalls`.

    Raises:
        InputError: a name is unknown, a file is missing or broken, or what it holds is not the protocol's.
    """
    protocol = find_protocol(name)
    module, _, function = protocol.reader.partition(":")
    read: Reader = getattr(import_module(module), function)
    try:
        reading = read(protocol, path, train_list)
    except UnicodeEncodeError as error:  # JSON and pickles can spell what is no character
        raise InputError(
            f"{path}: an id or a caption of {name} holds half a character (a lone surrogate); fetch its files "
            "again"
        ) from error
    if train_list is not None and train_list not in protocol.train:
        own = [f"'{own}'" for own in protocol.train if own]
        raise InputError(
            f"'{train_list}' is no training list of {name}, which has {' and '.join(own) or 'one only'}; "
            + ("name one of its own" if own else "leave --train-list out")
        )
    return check(reading, protocol, path, train_list=train_list, partial=partial)
