"""Requests that make no sense are refused with one sentence."""

import pytest

from index.request.request import Request
from mee.errors import InputError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing to look for: give a sentence, or a clip that others should be like"),
        ({"sentence": " "}, "a sentence is empty"),
        ({"sentence": "a dog", "also": ((1.0, ""),)}, "a sentence is empty"),
        ({"also": ((0.0, "a dog"),)}, "what 'a dog' counts"),
        ({"also": ((float("nan"), "a dog"),)}, "what 'a dog' counts"),
        ({"also": ((1.0, "a cat"), (-1e308, "a dog"))}, "what 'a dog' counts"),
        (
            {"sentence": "x", "weights": {"audio": -1.0}},
            "expert 'audio' must be a number from 0 on, got -1",
        ),
        ({"sentence": "x", "weights": {"audio": float("inf")}}, "must be a number from 0 on, got inf"),
        ({"sentence": "x", "weights": {"audio": 0.0}}, "no expert is given a weight above 0"),
        (
            {"sentence": "x", "weights": {"audio": 1.0}, "only": ("motion",)},
            "expert 'audio' is given a weight, but is not among those listened to only",
        ),
        ({"sentence": "x", "top": 0}, "top must be at least 1, got 0"),
        ({"sentence": "x", "moments": 0}, "moments must be at least 1, got 0"),
        ({"sentence": "x", "where": "duration <"}, "the filter 'duration <'"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Request(**fields)


def test_what_is_read():
    request = Request(sentence="a dog", also=((0.5, "at night"), (-1.0, "a cat")), like="clip1")
    assert request.sentences == ("a dog", "at night", "a cat")
    assert Request(like="clip1").sentences == ()
    assert Request(also=((-1.0, "a cat"),)).sentences == ("a cat",)
    assert Request(sentence="x", weights={"audio": 1.0, "motion": 0.0}, only=("audio",)).only == ("audio",)
