"""What text encoders do not read of sentences: the counts are those of their own tokenizers without a limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.config import tower_settings
from mee.text import TextConfig, Unread, encoder_class, tower_class
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
    tower = tower_class().learn(tower_settings(str(tiny_models.save("clip", tmp_path / "clip"))), []).reader()
    assert (tower.longest, tower.cuts(["rain " * 18, "rain " * 19])) == (20, [False, True])  # as its model reads
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


def test_words_that_are_common_or_not_known(readers):
    """The first three encoders learn their words; the last one reads any word."""
    common = ["the of and a", "Of the... with it!"]
    strange = ["zzzqqq xyzzy", "????", "ein Hund bellt laut", "with xyzzy"]
    others = ["a DOG zzzqqq", "Rain!", "it falls", "the dog's roof", "rain qqq, qqq and xyzzy"]
    about_common = "note: 2 of 11 sentences have only very common words, so their hits mean little: "
    about_common += "'the of and a', 'Of the... with it!'"
    for reader in readers[:3]:
        seen = Unread().look([reader], [*common, *strange, *others], words=True)
        assert [note for note in seen.notes("sentences") if " cut" not in note] == [
            about_common,
            "note: 4 of 11 sentences have no content word that the model knows, so their hits mean little: "
            "'zzzqqq xyzzy', '????', 'ein Hund bellt laut'",
            "note: 2 of 11 sentences have words that the model does not know, so what these add means little: "
            "'zzzqqq', 'qqq', 'xyzzy'",
        ]
        one = Unread().look([reader], others[:1], words=True)
        assert one.notes("sentences")[-1:] == [
            "note: the sentence has words that the model does not know, so what these add means little: 'zzzqqq'"
        ]
    assert (
        Unread().look(readers, [*common, *strange, *others], words=True).partly == 0
    )  # one of them reads them all
    any_word = Unread().look(readers[3:], [*common, *strange, *others], words=True)
    assert (any_word.common, any_word.unknown, any_word.partly, any_word.some["unknown"]) == (2, 1, 0, ["????"])
    unread = Unread().look([], [*common, *strange, *others], words=True)  # nothing is known of how it is read
    assert unread.notes("sentences") == [about_common]
    many = Unread().look(readers[:1], [f"rain qq{'z' * n}" for n in range(1, 300)], words=True)
    assert (many.partly, len(many.some["partly"])) == (299, 3)


def test_scripts_that_do_not_part_their_words_are_known_by_their_letters():
    captions = [
        "一只狗在跑",
        "一只猫在跑",
        "狗跑了",
        "猫在雨中",
        "狗在雨中",
        "两只鸟在树上",
        "树上有一只猫",
        "鸟跑了",
    ]
    reader = reader_of(CaptionTokenizer.learn(captions * 3, 8000, 64)._tokenizer)
    assert [reader.knows(word) for word in ("狗在树上", "两只猫跑了", "书籍阅读")] == [True, True, False]
