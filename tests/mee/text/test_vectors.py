"""Text vectors that are kept: computed once, right whatever is found in the file, and never a condition."""

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import torch

from mee.text import vectors
from mee.text.config import TextConfig
from mee.text.vectors import sentence_vectors
from tests.mee.conftest import BagOfWords, refusal

BAG, CPU = TextConfig(encoder="bag"), torch.device("cpu")
SENTENCES = [f"{first} with {second}" for first in ("red", "green", "rain") for second in ("drums", "singing")]


class Counted(BagOfWords):
    """Counts the sentences that it encodes."""

    def __init__(self, seed=0):
        super().__init__()
        self.register_buffer("scale", torch.rand(self.dim, generator=torch.Generator().manual_seed(seed)))
        self.encoded = 0

    def forward(self, rows, lengths):
        self.encoded += len(rows)
        return super().forward(rows, lengths) * self.scale


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mee"


def encoded(sentences=SENTENCES, seed=0, config=BAG):
    """The vectors, checked, and how many of them were computed."""
    encoder = Counted(seed)
    found = sentence_vectors(encoder, config, sentences, CPU)
    assert found.equal(Counted(seed).encode(sentences, CPU) if sentences else torch.empty(0, encoder.dim))
    return encoder.encoded


@pytest.mark.parametrize("chunk", [1, 4, 1024])
def test_a_sentence_is_computed_once(folder, monkeypatch, chunk):
    monkeypatch.setattr(vectors, "CHUNK", chunk)
    assert encoded(SENTENCES[:4]) == 4
    assert encoded(SENTENCES[2:]) == 2  # the others are kept
    assert encoded() == encoded(SENTENCES[::-1]) == encoded([]) == 0
    assert encoded(seed=1) == 6  # other weights
    assert encoded(config=TextConfig(encoder="bag", max_tokens=5)) == 6  # other settings
    assert encoded(config=TextConfig(encoder="elsewhere")) == 0  # where it comes from does not matter
    assert len(list(folder.iterdir())) == 3


def change(path, statement):
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement)


DAMAGE = {
    "junk": lambda path: path.write_bytes(b"junk" * 5000),
    "cut": lambda path: os.truncate(path, 5000),
    "zeros": lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(8192)),
    "another number": lambda path: change(path, "UPDATE vectors SET vector = zeroblob(40)"),
    "another size": lambda path: change(path, "UPDATE vectors SET vector = zeroblob(4), checksum = 558161692"),
    "text": lambda path: change(path, "UPDATE vectors SET vector = printf('%040d', 0)"),
    "nothing": lambda path: change(path, "UPDATE vectors SET vector = NULL"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_ignored_and_replaced(folder, damage):
    assert encoded() == 6
    (path,) = folder.iterdir()
    DAMAGE[damage](path)
    assert encoded() == 6
    assert encoded() == 0


def test_no_place_to_keep_them_costs_time_only(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "WAIT", 0.0)
    assert encoded() == 6
    (path,) = folder.iterdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")  # a process that writes and writes
        assert encoded() == 6
    assert encoded() == 0
    change(path, "DROP TABLE vectors")
    change(path, "CREATE TABLE vectors (other)")
    assert encoded() == encoded() == 6
    path.unlink()
    path.mkdir()
    assert encoded() == 6
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert encoded() == encoded() == 6
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # ignored
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert encoded() == 6
    assert encoded() == 0
    assert [path.parent.parent.name for path in (tmp_path / "home").rglob("vectors-*")] == [".cache"]


def test_several_may_read_and_write_together(folder):
    several = [SENTENCES[start:] + [f"{word} drums" for word in "abcdef"[:start]] for start in range(6)] * 3
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(encoded, several))
    assert encoded() == 0


def test_vectors_that_are_not_finite_are_refused(folder, says):
    encoder = Counted()
    encoder.scale[0] = torch.inf
    says(refusal(sentence_vectors, encoder, BAG, SENTENCES, CPU))


def test_an_encoder_is_digested_once(folder, monkeypatch):
    encoder, other = Counted(), Counted()
    sentence_vectors(encoder, BAG, SENTENCES, CPU)
    monkeypatch.setattr(vectors, "_digest", lambda *_: "another")
    sentence_vectors(encoder, BAG, SENTENCES, CPU)
    assert encoder.encoded == 6  # found where they were kept
    sentence_vectors(other, BAG, SENTENCES, CPU)
    assert other.encoded == 6
