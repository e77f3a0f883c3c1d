"""The vocabulary: any sentence has tokens, and they come back as written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.text.tokenizer import FILE, PADDING, CaptionTokenizer

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip())


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_every_sentence_of_any_script_has_tokens_within_the_vocabulary(tokenizer, texts):
    read = tokenizer.read(texts)
    assert len(read) == len(texts)
    for tokens in read:
        assert 1 <= len(tokens) <= 12
        assert ((tokens >= 0) & (tokens < tokenizer.size)).all()


def test_what_is_saved_is_loaded(tokenizer, sentences, tmp_path):
    tokenizer.save(tmp_path)
    again = CaptionTokenizer.load(tmp_path, 12)
    texts = [*sentences, "an unseen Zebra überholt ein 汽车"]
    assert all(ours.equal(theirs) for ours, theirs in zip(tokenizer.read(texts), again.read(texts)))
    assert again.size == tokenizer.size
    written = (tmp_path / FILE).read_text()
    again.save(tmp_path)
    assert (tmp_path / FILE).read_text() == written


def test_case_width_and_outer_space_do_not_matter(tokenizer):
    first, second, third = tokenizer.read(["a red circle", "  A Red CIRCLE\n", "ａ ｒｅｄ ｃｉｒｃｌｅ"])
    assert first.equal(second)
    assert first.equal(third)


def test_sentences_are_read_alone(tokenizer):
    short, long = tokenizer.read(["a dog", "a red circle moves left"])
    assert len(short) < len(long)
    assert short.equal(tokenizer.read(["a dog"])[0])


def test_frequent_words_become_few_pieces(tokenizer):
    assert len(tokenizer.read(["a"])[0]) == 1
    assert len(tokenizer.read(["circle"])[0]) <= len(" circle")


def test_pieces_are_what_a_person_reads(tokenizer):
    pieces = tokenizer.pieces("A red zebra")
    assert len(pieces) == len(tokenizer.read(["A red zebra"])[0])
    assert "".join(piece for piece in pieces if piece != "·") == "aredzebra"
    assert all(pieces)


def test_long_sentences_are_cut(tokenizer):
    assert tokenizer.read(["drums " * 500])[0].shape == (12,)


def test_a_vocabulary_is_never_smaller_than_the_bytes():
    tokenizer = CaptionTokenizer.learn(["a dog"], 1, 8)
    assert tokenizer.size == 257
    assert len(tokenizer.read(["ß"])[0]) == 3  # the space before it, and its two bytes


@pytest.mark.parametrize("empty", ["", "  ", "\n\t", "\u3000"])
def test_an_empty_sentence_is_refused_with_its_number(tokenizer, empty):
    with pytest.raises(InputError, match="number 2 of 3"):
        tokenizer.read(["a dog", empty, "a cat"])


def test_bytes_that_were_no_text_are_refused(tokenizer):
    with pytest.raises(InputError, match="not UTF-8"):
        tokenizer.read(["caf\udce9"])  # how Python hands over a Latin-1 argument


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"nonsense", b"\xff\xfe{}"])
def test_what_is_no_vocabulary_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"has no tokenizer\.json" if content is None else "cannot be read"):
        CaptionTokenizer.load(tmp_path, 8)


def test_a_foreign_vocabulary_is_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    path = tmp_path / FILE
    path.write_text(path.read_text().replace(PADDING, "<pad>"))
    with pytest.raises(InputError, match=r"\[PAD\]"):
        CaptionTokenizer.load(tmp_path, 8)
