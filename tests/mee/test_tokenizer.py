"""The vocabulary: any sentence has tokens, and they come back as written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.tokenizer import PADDING, CaptionTokenizer

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip())


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_every_sentence_of_any_script_has_tokens_within_the_vocabulary(tokenizer, texts):
    tokens, lengths = tokenizer.encode(texts)
    assert tokens.shape[0] == len(texts)
    assert ((lengths >= 1) & (lengths <= 12)).all()
    assert tokens.shape[1] == lengths.max()
    assert ((tokens >= 0) & (tokens < tokenizer.size)).all()


def test_it_goes_to_json_and_back(tokenizer, sentences):
    again = CaptionTokenizer.from_json(tokenizer.to_json(), 12)
    texts = [*sentences, "an unseen Zebra überholt ein 汽车"]
    for ours, theirs in zip(tokenizer.encode(texts), again.encode(texts)):
        assert ours.equal(theirs)
    assert again.size == tokenizer.size
    assert again.to_json() == tokenizer.to_json()


def test_case_width_and_outer_space_do_not_matter(tokenizer):
    tokens, _ = tokenizer.encode(["a red circle", "  A Red CIRCLE\n", "ａ ｒｅｄ ｃｉｒｃｌｅ"])
    assert tokens[0].equal(tokens[1])
    assert tokens[0].equal(tokens[2])


def test_padding_is_marked_by_the_lengths(tokenizer):
    tokens, lengths = tokenizer.encode(["a dog", "a red circle moves left"])
    alone, _ = tokenizer.encode(["a dog"])
    assert lengths[0] < lengths[1]
    assert tokens[0, : lengths[0]].equal(alone[0])


def test_frequent_words_become_few_pieces(tokenizer):
    assert tokenizer.encode(["a"])[1].item() == 1
    assert tokenizer.encode(["circle"])[1].item() <= len(" circle")


def test_long_sentences_are_cut(tokenizer):
    assert tokenizer.encode(["drums " * 500])[0].shape == (1, 12)


def test_a_vocabulary_is_never_smaller_than_the_bytes():
    tokenizer = CaptionTokenizer.learn(["a dog"], 1, 8)
    assert tokenizer.size == 257
    assert tokenizer.encode(["ß"])[1].item() == 3  # the space before it, and its two bytes


@pytest.mark.parametrize("empty", ["", "  ", "\n\t", "\u3000"])
def test_an_empty_sentence_is_refused_with_its_number(tokenizer, empty):
    with pytest.raises(InputError, match="number 2 of 3"):
        tokenizer.encode(["a dog", empty, "a cat"])


def test_bytes_that_were_no_text_are_refused(tokenizer):
    with pytest.raises(InputError, match="not UTF-8"):
        tokenizer.encode(["caf\udce9"])  # how Python hands over a Latin-1 argument


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense"])
def test_what_is_no_vocabulary_is_refused(text):
    with pytest.raises(InputError, match="cannot be read"):
        CaptionTokenizer.from_json(text, 8)


def test_a_foreign_vocabulary_is_refused(tokenizer):
    foreign = tokenizer.to_json().replace(PADDING, "<pad>")
    with pytest.raises(InputError, match="has no"):
        CaptionTokenizer.from_json(foreign, 8)
