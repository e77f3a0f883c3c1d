"""MSVD: 1,200 / 100 / 670 videos without sound, up to about 80 captions each, every one a query of its own.

    raw-captions.pkl                             {video: [[token, …], …]}
    raw-captions.json, msvd_captions.json,
    captions_msvd.json                           {video: [caption, …]}
    AllVideoDescriptions.txt                     video caption; lines that begin with # are comments
    train_list.txt, val_list.txt, test_list.txt  a video a line, such as -4wsuPCjDBc_5_15

A caption's query id is its video and its number, from 0: -4wsuPCjDBc_5_15#0.

Of a pickle, only the opcodes that make lists, tuples, dicts and text are executed; those that name, call or build
anything are unknown here, so nothing in a file can run. Python's own unpickler reads it, since the one in C
allocates memory for any memo index that a file claims. Tuples become lists, which cannot be keys: hashing nested
ones could take forever. A small file may reference one long list a million times, so the characters read are
limited.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, final

from mee.data import read_text
from mee.errors import InputError, name_id, usable
from mee.files import limited
from mee.protocols.files import AnnotationFiles, read_json
from mee.protocols.protocol import Protocol, Reading, caption_table, numbered

_LINES = "AllVideoDescriptions.txt"
_JSON = ("raw-captions.json", "msvd_captions.json", "captions_msvd.json", "msvd_captions.*.json")
_UNFOLDED = 16  # characters of captions for a byte of a file: real ones unfold to two or three
_PLAIN = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET "
    "EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 STRING BINSTRING SHORT_BINSTRING"  # the last are Python 2's
)
_LISTS = {"EMPTY_TUPLE": "EMPTY_LIST", "TUPLE": "LIST"}
_KNOWN: dict[int, Any] = dict(pickle._Unpickler.dispatch)  # Python's function for each opcode


def read(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """Captions of the listed videos."""
    files = AnnotationFiles(path, protocol, ("msvd_data", "MSVD", "high-quality/structured-symlinks"))
    captions_file = files.need("raw-captions.pkl", *_JSON, _LINES, role="captions")
    names = ("{}_list.txt", "msvd_{}_list.txt")
    files.need(*(name.format("test") for name in names))
    ids = files.read_lists(*names)
    rows = numbered(ids, _captions(captions_file))
    return Reading(table=caption_table(rows), ids=ids, files=files.read)


def _captions(path: Path) -> dict[str, list[str]]:
    if path.name == _LINES:
        described: dict[str, list[str]] = {}
        for number, line in enumerate(read_text(path).split("\n"), 1):
            video, _, caption = line.strip().partition(" ")
            if video and not caption and not line.startswith("#"):
                raise InputError(f"{path}: line {number} has no caption; fetch the file again")
            if caption and not line.startswith("#"):
                described.setdefault(video, []).append(caption)
        return described
    if path.suffix.lower() == ".pkl":
        risk = "anything else could run code; if you trust it, load it yourself and save its content as JSON"
        with usable(f"{path} is not a complete pickle of lists, dicts and text only ({risk})"), limited(path):
            content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="utf-8").load()
    else:
        content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(video, str) for video in content):
        raise InputError(f"{path} does not hold captions by video, {{video: [caption, …]}}; fetch it again")
    budget = _UNFOLDED * path.stat().st_size
    captions: dict[str, list[str]] = {}
    for video, texts in content.items():
        if not isinstance(texts, list):
            raise InputError(f"{path}: {name_id(video)} has no list of captions; fetch the file again")
        captions[video] = []
        for number, caption in enumerate(texts):
            words = [caption] if isinstance(caption, str) else caption
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                fault = "is neither text nor a list of words; fetch the file again"
                raise InputError(f"{path}: caption {number} of {name_id(video)} {fault}")
            budget -= 1 + sum(len(word) + 1 for word in words)
            if budget < 0:
                raise InputError(f"{path} repeats the same text, as no file of captions does")
            captions[video].append(" ".join(words))
    return captions


def _code(name: str) -> int:
    return int(getattr(pickle, name)[0])


def _group(length: int) -> Callable[[Any], None]:
    """The code that makes a tuple of what was read last."""

    def load(unpickler: Any) -> None:
        unpickler.stack[-length:] = [unpickler.stack[-length:]]

    return load


@final
class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = {
        **{_code(name): _KNOWN[_code(name)] for name in _PLAIN.split()},
        **{_code(name): _KNOWN[_code(instead)] for name, instead in _LISTS.items()},
        **{_code(f"TUPLE{length}"): _group(length) for length in (1, 2, 3)},
    }
