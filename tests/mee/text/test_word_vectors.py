"""Word vectors: every format gives the same, words are counted once, and nothing is unpickled."""

import gzip
import json
import pickle
import sys

import numpy as np
import pytest
import torch

from mee.errors import InputError
from mee.text.config import TextConfig
from mee.text.word_vectors import WordVectorEncoder, read_vectors, split
from tests.mee.tiny_models import WORDS, save_vectors


def config(path, **changes):
    return TextConfig(encoder="word-vectors", vectors=str(path), **changes)


@pytest.mark.parametrize("form", ["text", "binary", "glove"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_vectors_written(tmp_path, form, packed):
    path = tmp_path / "vectors.bin"
    expected = save_vectors(path, form)
    if packed:
        (tmp_path / "vectors.bin.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "vectors.bin.gz"
    words, vectors = read_vectors(path, 1000, set())
    assert words == tuple(WORDS)
    assert vectors.dtype == torch.float32
    np.testing.assert_array_equal(vectors.numpy(), np.stack(list(expected.values())))


def test_the_most_frequent_words_and_those_of_the_captions_are_kept_once(tmp_path, monkeypatch):
    expected = save_vectors(tmp_path / "v.txt")
    encoder = WordVectorEncoder.learn(config(tmp_path / "v.txt", vocabulary=3), ["Singing on a ROOF, unheard-of"])
    assert encoder.words == ("a", "red", "blue", "singing", "on", "roof")
    [rows] = encoder.tokenize(["the singing, RED dog"])  # the and dog are known to the file alone
    assert rows.tolist() == [4, 2]
    np.testing.assert_array_equal(encoder.embedding(rows).numpy(), [expected["singing"], expected["red"]])
    assert not encoder.embedding.weight.requires_grad
    with pytest.raises(InputError, match=r"needs a file of vectors: --text.vectors FILE"):
        WordVectorEncoder.learn(TextConfig(encoder="word-vectors"), [])
    # of words that differ in case the lower-case one counts, or else the first
    expected = save_vectors(tmp_path / "v.txt", words=["Paris", "New", "PARIS", "new", "x"])
    words, vectors = read_vectors(tmp_path / "v.txt", 10, set())
    assert words == ("paris", "new", "x")
    np.testing.assert_array_equal(vectors.numpy(), [expected[word] for word in ("Paris", "new", "x")])
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(InputError, match=r"pip install 'mee\[words\]'"):
        WordVectorEncoder.learn(config(tmp_path / "v.txt"), [])


def test_the_text_vector_is_the_pooled_vectors_of_the_known_words_or_zeros(tmp_path):
    expected = save_vectors(tmp_path / "v.txt")
    encoder = WordVectorEncoder.learn(config(tmp_path / "v.txt", pooling=("mean", "max"), max_tokens=3), [])
    sentence = "A dog's frobnicated red-roof, and rain!"  # three words count: a, dog, red
    both = np.stack([expected[word] for word in ("a", "dog", "red")])
    got = encoder.encode([sentence], torch.device("cpu"))[0].numpy()
    np.testing.assert_allclose(got, [*both.mean(0), *both.max(0)], rtol=1e-5, atol=1e-6)
    assert [row.tolist() for row in encoder.tokenize(["xyzzy plugh", "!?"])] == [[0], [0]]
    words = {
        "A man's  DOG,\tisn’t red-hot.": "a man's dog isn't red hot",
        "Ünïcode ２ 'quoted'": "ünïcode 2 quoted",
    }
    assert {text: " ".join(split(text)) for text in (*words, "...")} == {**words, "...": ""}
    assert encoder.encode(["xyzzy"], torch.device("cpu")).eq(0).all()


def cut(form):
    def make(path):
        save_vectors(path, form)
        path.write_bytes(path.read_bytes()[:-30])

    return make


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("v.txt", lambda path: None, "no file of word vectors"),
        ("v.txt", lambda path: path.write_bytes(pickle.dumps({"a": 1})), "own format"),
        ("v.kv", save_vectors, "own format"),
        ("v.txt", lambda path: path.write_text(""), "is not in word2vec's"),
        ("v.txt", lambda path: path.write_text("once upon a time\nthere was no vector\n"), "is not in word2vec's"),
        ("v.txt", lambda path: path.write_text("0 6\n"), "holds no word vectors"),
        ("v.txt", lambda path: path.write_text("1 2\na 1 nan\n"), "not finite"),
        ("v.gz", save_vectors, "cannot be read"),
        *(("v.txt", cut(form), "is damaged") for form in ("text", "binary", "glove")),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path, name, make, said, monkeypatch):
    monkeypatch.setattr(pickle, "loads", None)
    make(tmp_path / name)
    with pytest.raises(InputError, match=said) as caught:
        WordVectorEncoder.learn(config(tmp_path / name), [])
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no words.json"),
        *((content, "cannot be read") for content in ("{", "[]")),
        *(
            (json.dumps({"columns": columns, "words": words}), "not different words")
            for columns, words in ((3, ["a", "a"]), (3, [1]), (0, ["a"]))
        ),
    ],
)
def test_damaged_words_of_a_checkpoint_are_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "words.json").write_text(content)
    with pytest.raises(InputError, match=said):
        WordVectorEncoder.load(config("gone.txt"), tmp_path)
