"""Text vectors of many sentences by a frozen encoder, kept in a file, so that none is computed twice.

    $XDG_CACHE_HOME/mee/vectors-<digest>.sqlite     or ~/.cache/mee; a file for each encoder
    vectors     sentence   first 16 bytes of its SHA-256
                vector     dim numbers, float32 in little-endian order
                checksum   CRC-32 of the vector

The digest is of the encoder's settings, files and weights. The file is a cache: several processes may use it, a
damaged one is replaced, and where it cannot be written vectors are computed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from weakref import WeakKeyDictionary
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mee.errors import InputError
from mee.text.base import TextEncoder
from mee.text.config import TextConfig

FORMAT = 1  # to be raised where the same encoder gives other vectors
CHUNK = 1024  # sentences that are looked up, encoded and kept together
WAIT = 5.0  # seconds, for another process that writes
TABLE = "CREATE TABLE IF NOT EXISTS vectors (sentence BLOB PRIMARY KEY, vector BLOB, checksum INTEGER)"
FIND = "SELECT sentence, vector, checksum FROM vectors WHERE length(vector) = ? AND sentence IN"
Found = dict[bytes, NDArray[np.float32]]
_DIGESTS: WeakKeyDictionary[TextEncoder, str] = WeakKeyDictionary()  # frozen encoders do not change


@torch.no_grad()
def sentence_vectors(
    encoder: TextEncoder, config: TextConfig, sentences: Sequence[str], device: torch.device
) -> Tensor:
    """(S, dim) float32 text vectors on the CPU, by a frozen encoder on a device; `config`: its settings.

    Raises:
        InputError: a sentence is empty, or its vector has NaN or infinity in it.
    """
    vectors = torch.empty(len(sentences), encoder.dim)
    if not sentences:
        return vectors
    place, was_training = _place(encoder, config), encoder.training
    encoder.eval()
    for rows in torch.arange(len(sentences)).split(CHUNK):
        some = [sentences[row] for row in rows.tolist()]
        keys = [hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:16] for text in some]
        kept = _in_file(place, partial(_read, keys=keys, dim=encoder.dim))
        if new := {key: text for key, text in zip(keys, some) if key not in kept}:
            found = encoder.encode(list(new.values()), device, searched=True).float().cpu()
            if len(odd := (~found.isfinite().all(1)).nonzero()):
                text = list(new.values())[int(odd[0])]
                raise InputError(f"the text encoder gives NaN or infinity for '{text:.80}'; name another encoder")
            computed = dict(zip(new, found.numpy()))
            _in_file(place, partial(_write, new=computed))
            kept |= computed
        vectors[rows] = torch.from_numpy(np.stack([kept[key] for key in keys]))
    encoder.train(was_training)
    return vectors


def _place(encoder: TextEncoder, config: TextConfig) -> Path | None:
    """The encoder's file; None where there is no place for it."""
    with suppress(OSError, RuntimeError):
        if encoder not in _DIGESTS:
            _DIGESTS[encoder] = _digest(encoder, config)
        home = os.environ.get("XDG_CACHE_HOME", "")
        place = (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "mee"
        place.mkdir(parents=True, exist_ok=True)
        return place / f"vectors-{_DIGESTS[encoder]}.sqlite"
    return None


def _digest(encoder: TextEncoder, config: TextConfig) -> str:
    """Of all that its vectors depend on: settings, files and weights, which are read whole."""
    digest = hashlib.sha256(json.dumps([FORMAT, asdict(config) | {"encoder": "", "revision": ""}]).encode())
    with TemporaryDirectory() as folder:
        encoder.save(Path(folder))
        digest.update((tokens := encoder.tokens_file()).encode())
        for path in sorted(Path(folder).rglob("*")):
            if not (tokens and path.name == "tokenizer.json"):  # it also holds how the tokenizer was called last
                digest.update(path.name.encode() + path.read_bytes())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _in_file(place: Path | None, work: Callable[[sqlite3.Connection], Found]) -> Found:
    """What some work on the file finds, in one transaction; nothing where the file cannot be used."""
    if place is None:
        return {}
    for _ in range(2):
        try:
            with closing(sqlite3.connect(place, timeout=WAIT)) as file, file:
                file.execute(TABLE)
                return work(file)
        except sqlite3.OperationalError:  # it is locked, of other columns, or cannot be written
            break
        except sqlite3.DatabaseError:  # it is damaged
            for path in (place, Path(f"{place}-journal")):
                with suppress(OSError):
                    path.unlink()
    return {}


def _read(file: sqlite3.Connection, keys: Sequence[bytes], dim: int) -> Found:
    rows = file.execute(f"{FIND} ({','.join('?' * len(keys))})", (4 * dim, *keys))
    sound = (
        (key, vector) for key, vector, checksum in rows if isinstance(vector, bytes) and crc32(vector) == checksum
    )
    return {key: np.frombuffer(vector, "<f4").astype(np.float32) for key, vector in sound}


def _write(file: sqlite3.Connection, new: Found) -> Found:
    vectors = ((key, vector.astype("<f4").tobytes()) for key, vector in new.items())
    rows = [(key, vector, crc32(vector)) for key, vector in vectors]
    file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
    return {}
