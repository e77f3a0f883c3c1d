"""The vocabulary: any sentence has tokens, and they come back as written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.text.tokenizer import FILE, PADDING, CaptionTokenizer

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip())


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_every_sentence_of_any_script_has_tokens_within_the_vocabulary(tokenizer, texts):
    read = tokenizer.tokenize(texts)
    assert len(read) == len(texts)
    for text, tokens in zip(texts, read):
        assert 1 <= len(tokens) <= 12
        assert ((tokens >= 0) & (tokens < tokenizer.size)).all()
        assert tokens.equal(tokenizer.tokenize([text])[0])


def test_a_vocabulary_is_saved_and_loaded_and_long_sentences_are_cut(tokenizer, sentences, tmp_path):
    tokenizer.save(tmp_path)
    again = CaptionTokenizer.load(tmp_path, 12)
    texts = [*sentences, "an unseen Zebra überholt ein 汽车"]
    assert all(ours.equal(theirs) for ours, theirs in zip(tokenizer.tokenize(texts), again.tokenize(texts)))
    assert again.size == tokenizer.size
    written = (tmp_path / FILE).read_text()
    again.save(tmp_path)
    assert (tmp_path / FILE).read_text() == written
    assert tokenizer.tokenize(["drums " * 500])[0].shape == (12,)
    least = CaptionTokenizer.learn(["a dog"], 1, 8)  # never smaller than the bytes
    assert least.size == 257
    assert len(least.tokenize(["ß"])[0]) == 3  # the space before it, and its two bytes


def test_case_width_and_outer_space_do_not_matter_and_pieces_can_be_read(tokenizer):
    first, second, third = tokenizer.tokenize(["a red circle", "  A Red CIRCLE\n", "ａ ｒｅｄ ｃｉｒｃｌｅ"])
    assert first.equal(second)
    assert first.equal(third)
    assert [len(tokens) for tokens in tokenizer.tokenize(["a"])] == [1]  # frequent words become few pieces
    assert len(tokenizer.tokenize(["circle"])[0]) <= len(" circle")
    pieces = tokenizer.pieces("A red zebra")
    assert len(pieces) == len(tokenizer.tokenize(["A red zebra"])[0])
    assert "".join(piece for piece in pieces if piece != "·") == "aredzebra"
    assert all(pieces)


@pytest.mark.parametrize(
    ("bad", "says"),
    [*((empty, "number 2 of 3") for empty in ("", "  ", "\n\t", "\u3000")), ("caf\udce9", "not UTF-8")],
)  # the last is how Python passes a Latin-1 argument
def test_a_sentence_without_words_or_not_of_text_is_refused(tokenizer, bad, says):
    with pytest.raises(InputError, match=says):
        tokenizer.tokenize(["a dog", bad, "a cat"])


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"nonsense", b"\xff\xfe{}", "foreign"])
def test_what_is_no_vocabulary_is_refused(tokenizer, tmp_path, content):
    says = {None: r"has no tokenizer\.json", "foreign": r"\[PAD\]"}.get(content, "cannot be read")
    if content == "foreign":
        tokenizer.save(tmp_path)
        content = (tmp_path / FILE).read_bytes().replace(PADDING.encode(), b"<pad>")
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match=says):
        CaptionTokenizer.load(tmp_path, 8)
