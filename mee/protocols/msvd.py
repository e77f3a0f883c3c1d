"""MSVD: 1,200 / 100 / 670 videos without sound, up to about 80 captions each, every one a query of its own.

    raw-captions.pkl                             {video: [[token, …], …]}
    raw-captions.json, msvd_captions.json        {video: [caption, …]}
    train_list.txt, val_list.txt, test_list.txt  a video a line, such as -4wsuPCjDBc_5_15

A caption's query id is its video and its number, from 0: -4wsuPCjDBc_5_15#0.

Reading a pickle that holds lists, tuples, dicts and text, and refusing all others.

Only the codes that make those are carried out. No code that names, calls or builds anything is known here, so
nothing in a file can run. Python's own unpickler reads it through a memory map, since the one in C takes memory
for whatever length or memo place a file claims. Whoever unfolds what it gave must count, since a small file may
hold one long list a million times.
"""

from __future__ import annotations

import mmap
import pickle
from pathlib import Path
from typing import Any, ClassVar, NoReturn, final

from mee.errors import InputError
from mee.protocols.files import AnnotationFiles, name_id, read_ids, read_json
from mee.protocols.protocol import Protocol, Reading, caption_table

_PLAIN = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET "
    "EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 STRING BINSTRING SHORT_BINSTRING"  # the last are Python 2's
)
_REFUSED = "GLOBAL STACK_GLOBAL INST REDUCE OBJ NEWOBJ NEWOBJ_EX BUILD EXT1 EXT2 EXT4 PERSID BINPERSID"


def load_plain_pickle(path: Path) -> Any:
    """What a pickle holds.

    Raises:
        InputError: it is no whole pickle, or holds something else than lists, tuples, dicts and text.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Unpickler(content, path).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle is a program gone wrong: any exception may come of it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path} cannot be read as a pickle of lists, dicts and text ({reason})") from error


def _code(name: str) -> int:
    return int(getattr(pickle, name)[0])


def _refuse(unpickler: Any) -> NoReturn:
    raise InputError(
        f"{unpickler.path} asks for more than lists, dicts and text, which could run code; if you trust it, load "
        "it yourself and save what it holds as JSON"
    )


def _text_keys(name: str, keys: slice) -> Any:
    """The code that puts values into a dict, for keys that are text: others may take for ever to hash."""
    carry_out = _DEFAULT[_code(name)]

    def put(unpickler: Any) -> None:
        if not all(isinstance(key, str) for key in unpickler.stack[keys]):
            raise ValueError("a key that is no text")
        carry_out(unpickler)

    return put


_DEFAULT: dict[int, Any] = dict(pickle._Unpickler.dispatch)  # what Python does at each code


@final
class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = {
        **{_code(name): _DEFAULT[_code(name)] for name in _PLAIN.split()},
        **{_code(name): _refuse for name in _REFUSED.split()},
        _code("SETITEM"): _text_keys("SETITEM", slice(-2, -1)),
        _code("SETITEMS"): _text_keys("SETITEMS", slice(None, None, 2)),
        _code("DICT"): _text_keys("DICT", slice(None, None, 2)),
    }

    def __init__(self, content: mmap.mmap, path: Path) -> None:
        super().__init__(content, encoding="utf-8")
        self.path = path


_CAPTIONS = ("raw-captions.pkl", "raw-captions.json", "msvd_captions.json", "msvd_captions.*.json")
_UNFOLDED = 16  # characters of captions for a byte of a file: real ones unfold to two or three


def read(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """Captions of the listed videos."""
    files = AnnotationFiles(path, protocol, ("msvd_data", "MSVD", "high-quality/structured-symlinks"))
    captions_file = files.need(*_CAPTIONS)
    ids: dict[str, tuple[str, ...]] = {}
    read_files = {"captions": captions_file}
    for split in ("train", "val", "test"):
        names = (f"{split}_list.txt", f"msvd_{split}_list.txt")
        found = files.need(*names) if split == "test" else files.find(*names)
        if found is not None:
            ids[split] = read_ids(found)
            read_files[f"{split} list"] = found
    captions = _captions(captions_file)
    rows = [
        (f"{video}#{number}", video, caption, split)
        for split, videos in ids.items()
        for video in videos
        for number, caption in enumerate(captions.get(video, ()))
    ]
    return Reading(table=caption_table(rows), ids=ids, files=read_files)


def _captions(path: Path) -> dict[str, list[str]]:
    content = load_plain_pickle(path) if path.suffix.lower() == ".pkl" else read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold captions by video, {{video: [caption, …]}}; fetch it again")
    budget = _UNFOLDED * path.stat().st_size
    captions: dict[str, list[str]] = {}
    for video, spoken in content.items():
        if not isinstance(spoken, (list, tuple)):
            raise InputError(f"{path}: {name_id(video)} has no list of captions; fetch the file again")
        captions[video] = []
        for number, caption in enumerate(spoken):
            budget -= _length(caption)
            if budget < 0:
                raise InputError(f"{path} holds the same text again and again, as no file of captions does")
            captions[video].append(_text(caption, f"{path}: caption {number} of {name_id(video)}"))
    return captions


def _length(caption: Any) -> int:
    """What a caption will take in characters, without making it."""
    if isinstance(caption, (list, tuple)):
        return 1 + sum(len(token) + 1 if isinstance(token, str) else 1 for token in caption)
    return 1 + len(caption) if isinstance(caption, str) else 1


def _text(caption: Any, place: str) -> str:
    if isinstance(caption, str):
        return caption
    if isinstance(caption, (list, tuple)) and all(isinstance(token, str) for token in caption):
        return " ".join(caption)
    raise InputError(f"{place} is neither text nor a list of words; fetch the file again")
