"""Options of an extractor's word."""

import pytest

from features.errors import InputError
from features.extractors.pretrained.base import check_options, positive_count, positive_number
from features.extractors.spec import parse_spec

SPEC = parse_spec("x=a/b:fps=2.5,window=16,stride=0,odd=1e999,dot=1.0,digit=²")


def test_values():
    assert positive_number(SPEC, "fps", 1.0) == 2.5
    assert positive_number(SPEC, "window", 1.0) == 16.0
    assert positive_count(SPEC, "window", 1) == 16
    assert positive_number(SPEC, "lacking", 3.5) == 3.5
    assert positive_count(SPEC, "lacking", 3) == 3


@pytest.mark.parametrize("key", ["stride", "odd"])
def test_a_number_must_be_above_zero(key):
    with pytest.raises(InputError, match=f"{key} must be a number above 0, got '{SPEC.options[key]}'"):
        positive_number(SPEC, key, 1.0)


@pytest.mark.parametrize("key", ["stride", "fps", "dot", "digit"])
def test_a_count_must_be_whole(key):
    with pytest.raises(InputError, match=f"{key} must be a whole number above 0, got '{SPEC.options[key]}'"):
        positive_count(SPEC, key, 1)


def test_unknown_keys_are_named():
    with pytest.raises(
        InputError, match=r"'x=a/b:.*': there is no option 'odd' here; there are fps, stride, window"
    ):
        check_options(parse_spec("x=a/b:fps=2,odd=1"), ("window", "fps", "stride"))
