"""Merge schedules: what can be written, what each layer gets, one way to write it down."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features.extractors.token_merging.schedule import MergeSchedule, limited


@pytest.mark.parametrize(
    ("text", "layers", "tokens", "wanted"),
    [
        ("8", 3, 197, [8, 8, 8]),
        ("0", 3, 197, [0, 0, 0]),
        ("0.066", 2, 1214, [80, 80]),
        ("0.067", 2, 1568, [105, 105]),
        ("0.29", 1, 100, [29]),  # in floats, 28.999999999999996
        ("13:falling", 5, 197, [26, 19, 13, 6, 0]),
        ("0.1:falling", 3, 197, [38, 19, 0]),
        ("13:falling", 1, 197, [13]),
    ],
)
def test_each_layer_gets_its_share(text, layers, tokens, wanted):
    assert MergeSchedule.parse(text).wanted(layers, tokens) == wanted


def test_at_most_half_of_the_tokens_that_may_merge_do():
    assert MergeSchedule.parse("16").per_layer(12, 197, 1) == [16] * 11 + [10]
    assert MergeSchedule.parse("30").per_layer(4, 7, 5) == [1, 0, 0, 0]
    assert limited([3, 3], 1, 2) == [0, 0]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("08", "8"),
        (" 8 ", "8"),
        (".10", "0.1"),
        ("0.100:falling", "0.1:falling"),
        ("0:falling", "0"),
        ("0.0", "0"),
    ],
)
def test_one_schedule_is_written_in_one_way(text, canonical):
    assert MergeSchedule.parse(text).text == str(MergeSchedule.parse(text)) == canonical


@given(
    number=st.integers(0, 10**6 - 1) | st.decimals(0, 1, places=4).filter(lambda share: 0 < share < 1),
    falling=st.booleans(),
    tokens=st.integers(1, 2000),
    layers=st.integers(1, 30),
)
def test_what_is_written_down_says_the_same(number, falling, tokens, layers):
    schedule = MergeSchedule.parse(f"{number}:falling" if falling else str(number))
    again = MergeSchedule.parse(schedule.text)
    assert again.wanted(layers, tokens) == schedule.wanted(layers, tokens)
    assert again.text == schedule.text
    assert schedule.merges is (number > 0)


@given(r=st.integers(0, 300), layers=st.integers(2, 30), tokens=st.integers(1, 2000))
def test_falling_ends_at_none_and_merges_as_many_in_all(r, layers, tokens):
    counts = MergeSchedule.parse(f"{r}:falling").wanted(layers, tokens)
    assert (counts[0], counts[-1]) == (2 * r, 0)
    assert counts == sorted(counts, reverse=True)
    assert r * layers - layers < sum(counts) <= r * layers


@given(
    amount=st.integers(0, 100), layers=st.integers(1, 20), tokens=st.integers(1, 300), protected=st.integers(0, 6)
)
def test_a_token_always_remains(amount, layers, tokens, protected):
    assume(tokens > protected)
    merged = MergeSchedule.parse(str(amount)).per_layer(layers, tokens, protected)
    assert tokens - sum(merged) > protected
    assert all(0 <= count <= amount for count in merged)


@pytest.mark.parametrize(
    "text", ["", "eight", "-3", "1.5", "1.0", "8:rising", "8:", "8:falling:falling", "1e2", "٣"]
)
def test_nonsense_is_one_sentence(text):
    with pytest.raises(ValueError, match=r"neither a number of tokens a layer, such as 8, nor a share") as raised:
        MergeSchedule.parse(text)
    assert f"'{text}'" in str(raised.value)


@pytest.mark.parametrize(
    ("amount", "share"), [(-1, False), (Fraction(1, 2), False), (1, True), (Fraction(3, 2), True)]
)
def test_amounts_that_mean_nothing_are_refused(amount, share):
    with pytest.raises(ValueError, match="a whole number, or a share of the tokens below 1, got"):
        MergeSchedule(Fraction(amount), share=share)
