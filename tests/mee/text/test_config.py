"""Settings of the text encoder refuse nonsense."""

import math

import pytest

from mee.text.config import ENCODERS, TextConfig


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"width": 100, "heads": 8}, r"width 100 must divide by 2 x heads \(8\)"),
        ({"width": 0}, "sizes of the text encoder must be positive"),
        ({"layers": 0}, "sizes of the text encoder must be positive"),
        ({"heads": -1}, "sizes of the text encoder must be positive"),
        ({"max_tokens": 0}, "sizes of the text encoder must be positive"),
        ({"vocabulary": 0}, "sizes of the text encoder must be positive"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"dropout": math.nan}, "dropout must be in"),
        ({"encoder": " "}, "the text encoder must be transformer, recurrent, word-vectors, or"),
        ({"encoder": "some/bert", "tuned_layers": -2}, "tuned-layers must be -1 .* got -2"),
        ({"tuned_layers": 2}, "tuned-layers is for pretrained models; the encoder 'transformer' always learns"),
        ({"encoder": "recurrent", "pooling": ("max",)}, "recurrent encoder pools by its attention"),
        ({"vectors": "v.txt"}, "'word-vectors', not for 'transformer'"),
        ({"revision": "main"}, "'transformer' has none"),
        ({"pooling": ()}, "the text encoder: at least one pooling is needed"),
        ({"pooling": ("mean", "mean")}, "the text encoder: every pooling counts once"),
        ({"pooling": ("cls",)}, "the text encoder: pooling must be one of .*'cls'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        TextConfig(**fields)


def test_whatever_is_not_one_of_ours_is_a_pretrained_model():
    assert not any(TextConfig(encoder=name).pretrained for name in ENCODERS)
    for tuned in (-1, 0, 3):
        assert TextConfig(encoder="some/bert", tuned_layers=tuned).pretrained
