"""What text encoders do not read of sentences: the counts are those of their own tokenizers without a limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.text import TextConfig, Unread, encoder_class
from mee.text.tokenizer import CaptionTokenizer
from mee.text.unread import Reader, reader_of
from tests.mee import tiny_models

CAPTIONS = ["a red circle moves left", "the dog barks twice", "rain falls on a tin roof"] * 3
LONG = " ".join(CAPTIONS[:3])


@pytest.fixture
def readers(tmp_path):
    """Of each kind of encoder, one that reads 8 tokens."""
    tiny_models.save_vectors(tmp_path / "words.txt")
    kinds = {
        "transformer": {},
        "recurrent": {},
        "word-vectors": {"vectors": str(tmp_path / "words.txt")},
        str(tiny_models.save("bert", tmp_path / "bert")): {},
    }
    configs = [TextConfig(encoder=kind, max_tokens=8, **more) for kind, more in kinds.items()]
    return [encoder_class(config).learn(config, CAPTIONS).reader() for config in configs]


def test_what_is_cut_is_counted(readers, tmp_path):
    for reader in readers:
        assert (reader.longest, reader.cuts([LONG, "a red circle", LONG[: len(CAPTIONS[0])]])) == (
            8,
            [True, False, False],
        )
        seen = Unread().look([reader], [LONG, "rain", *CAPTIONS])
        assert seen.notes("captions", "--longer") == [
            "note: 1 of 11 captions are longer than 8 tokens and are cut (--longer)"
        ]
    assert Unread().look(readers, CAPTIONS).notes("captions") == Unread().notes("captions") == []
    config = TextConfig(encoder=str(tmp_path / "bert"), max_tokens=8, prompts=("a b c d ", ""))
    assert encoder_class(config).learn(config, []).reader().cuts(["rain falls on"]) == [True]  # behind its prompt


@given(st.lists(st.text(alphabet="ab \n", min_size=1, max_size=30), max_size=12), st.integers(1, 9))
def test_a_sentence_is_cut_if_its_tokens_are_more_than_the_limit(sentences, longest):
    whole, cut = (CaptionTokenizer.learn(CAPTIONS, 300, n)._tokenizer for n in (1000, longest))
    expected = [len(whole.encode(sentence.strip()).ids) > longest for sentence in sentences]
    assert reader_of(cut).cuts(sentences) == expected


def test_the_smallest_limit_that_cuts_is_named_whatever_comes_later():
    one, other = (Reader(n, lambda sentences, n=n: [len(text) > n for text in sentences]) for n in (5, 3))
    seen = Unread().look([one, other], ["four"]).look([one, other], ["a", "longer"]).look([one], ["longest"])
    assert (seen.sentences, seen.cut, seen.longest) == (4, 3, 3)


def test_sentences_without_a_word_that_is_known(readers):
    strange = ["zzzqqq xyzzy", "the of and a", "????", "ein Hund bellt laut"]
    known = ["a DOG zzzqqq", "Rain!", "it falls"]
    for reader in readers[:3]:
        seen = Unread().look([reader], [*strange, *known], words=True)
        assert seen.notes("sentences") == [
            "note: 4 of 7 sentences have no content word that the model knows, so their hits mean little: "
            "'zzzqqq xyzzy', 'the of and a', '????'"
        ]
    assert Unread().look(readers[3:], strange, words=True).some == ["the of and a", "????"]  # it reads any word
    assert Unread().look([], strange, words=True).notes("sentences") == []


def test_scripts_that_do_not_part_their_words_are_known_by_their_letters():
    reader = reader_of(CaptionTokenizer.learn(["一只狗在雨中奔跑"] * 3, 400, 64)._tokenizer)
    assert [reader.knows(word) for word in ("狗在奔跑", "猫睡觉")] == [True, False]
