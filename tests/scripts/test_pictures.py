"""Pictures: content, legibility, and text of any kind."""

import io
import itertools
import struct
import warnings

import cv2
import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from mee.text.base import Attention
from scripts import pictures
from scripts.pictures import (
    SHOWN_SENTENCES,
    SHOWN_TOKENS,
    draw_attention,
    draw_tokens,
    draw_weights,
    merged_picture,
)

DARK, LIGHT = (8, 29, 88), (255, 255, 217)  # both ends of YlGnBu, as ColorBrewer gives them
SENTENCE = "the quick brown fox jumps over a lazy dog while somebody plays unquestionably-long drums"
WORDS = tuple(SENTENCE.split())


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, in order."""
    saved, save = [], Figure.savefig

    def keep(figure, *arguments, **options):
        saved.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def attention(layers, heads, length):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(layers, heads, length, length, generator=generator).mul(3).softmax(-1)
    return Attention((WORDS * length)[:length], weights)


def pixels(png):
    return np.round(255 * imread(io.BytesIO(png))[:, :, :3]).astype(int)


def texts_of(figure):
    """All text in a figure."""
    return [" ".join(text.get_text().split()) for text in figure.findobj(Text) if text.get_text()]


def labels(axes, axis):
    return [label.get_text() for label in getattr(axes, f"get_{axis}ticklabels")()]


def test_columns_are_what_is_looked_at():
    looks = torch.tensor([[0.0, 1.0], [0.0, 1.0]])[None, None]  # both look at the second
    image = pixels(draw_attention(Attention(("a", "b"), looks), "a b"))
    dark, light = ((image == colour).all(-1).nonzero() for colour in (DARK, LIGHT))
    assert len(dark[0]) == pytest.approx(len(light[0]), rel=0.02)
    assert dark[0].mean() == pytest.approx(light[0].mean(), abs=3)
    assert np.percentile(light[1], 99) < np.percentile(dark[1], 1)


def test_a_grid_of_layers_and_heads_on_one_scale(figures):
    weights = torch.tensor([[0.5, 0.5], [0.3, 0.7]]).bfloat16().expand(2, 3, 2, 2).requires_grad_()
    draw_attention(Attention(("a", "b"), weights), "a b")
    images = [image for axes in figures[0].axes for image in axes.images]
    assert {image.get_clim() for image in images} == {(0.0, 0.7)}
    assert len(images) == 6
    for image in images:
        np.testing.assert_allclose(image.get_array(), [[0.5, 0.5], [0.3, 0.7]], rtol=1e-2)
    assert {"layer 1", "layer 2", "head 1", "head 2", "head 3", "“a b”"} <= set(texts_of(figures[0]))


@pytest.mark.parametrize(("heads", "length"), [(1, 1), (4, 8), (4, 30), (6, 30), (2, 40)])
def test_labels_of_tokens_do_not_overlap(figures, heads, length):
    draw_attention(attention(1, heads, length), "any")
    figures[0].dpi = 150
    axes = figures[0].axes[0]
    rows, columns = (
        [label.get_window_extent() for label in found]
        for found in (axes.get_yticklabels(), axes.get_xticklabels())
    )
    assert len(rows) == length
    assert all(lower.y1 <= upper.y0 for upper, lower in itertools.pairwise(rows))
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(columns))


def test_long_sentences_show_their_first_tokens_and_one_row_if_the_sentence_looks(figures):
    draw_attention(attention(1, 2, SHOWN_TOKENS + 24), " ".join(WORDS * 5))
    (note,) = (text for text in texts_of(figures[0]) if "adds up" in text)
    assert note.endswith("adds up to 1 over all tokens; here are the first 40 of 64.")
    assert figures[0].axes[0].images[0].get_array().shape == (SHOWN_TOKENS, SHOWN_TOKENS)
    weights = attention(1, 1, 12).weights[:, :, :1]  # as in soft attention over the states of a recurrent encoder
    draw_attention(Attention(WORDS[:12], weights), " ".join(WORDS[:12]))
    axes = figures[1].axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights[0, 0])
    assert (labels(axes, "x"), labels(axes, "y")) == (list(WORDS[:12]), [""])
    assert any("Row: the sentence." in text for text in texts_of(figures[1]))


def test_weights_are_in_their_cells(figures):
    weights = np.array([[0.125, 0.875], [0.996, 0.004], [0.5, 0.5]])
    draw_weights(["first", "second", "third"], ["looks", "sound"], weights)
    axes = figures[0].axes[0]
    numbers = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts[:6]}
    assert numbers == {(r, c): f"{weights[r, c]:.2f}" for r in range(3) for c in range(2)}
    assert labels(axes, "x") == ["looks", "sound"]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    assert {"first 1", "second 2", "third 3"} <= set(texts_of(figures[0]))


def test_many_sentences_show_the_first(figures):
    count = SHOWN_SENTENCES + 7
    png = draw_weights([f"sentence {n}" for n in range(count)], ["a", "b"], np.full((count, 2), 0.5))
    assert 0.8 < max(struct.unpack(">II", png[16:24])) / pictures.LARGEST < 1.02
    texts = texts_of(figures[0])
    assert any("the first 200 of 207 sentences" in text for text in texts)
    assert ("sentence 199 200" in texts, "sentence 200 201" in texts) == (True, False)


ODD = (
    "雪の中で犬が吠える", "$5 and $6", r"$\frac{$", "a\tb\x1b[31m\x00", "🐶‍🔥", "x" * 500,
    "שלום عربي", "", "\u0301",
)  # fmt: skip


def draw(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert draw_weights([text, "plain"], [text[:20], "audio"], np.full((2, 2), 0.5))
        assert draw_attention(Attention((text, "b"), torch.full((1, 1, 2, 2), 0.5)), text)


@pytest.mark.parametrize("text", ODD)
def test_odd_text_is_drawn_without_a_warning(text):
    draw(text)


@given(text=st.text(max_size=90))
@settings(max_examples=8)
def test_any_text_is_drawn_without_a_warning(text):
    draw(text)


def test_settings_of_the_user_change_nothing():
    plain = draw_weights(["a"], ["audio"], np.ones((1, 1)))
    with matplotlib.rc_context({"text.usetex": True, "font.family": ["monospace"], "text.parse_math": True}):
        assert draw_weights(["a"], ["audio"], np.ones((1, 1))) == plain
        assert matplotlib.rcParams["text.usetex"]


@given(text=st.text(max_size=60), most=st.integers(1, 30))
def test_one_line_is_one_line(text, most):
    line = pictures.one_line(text, most)
    assert len(line) <= most
    assert "\n" not in line
    assert pictures.one_line(line, most) == line.strip()


def test_a_token_has_the_mean_colour_of_its_patches_and_edges_to_others():
    picture = np.random.default_rng(1).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    groups = np.array([[7, 2, 7], [3, 3, 5]])  # patches of 2 x 2; those of token 7 do not touch
    drawn = merged_picture(picture, groups)
    times = drawn.shape[0] // 4
    assert drawn.shape == (4 * times, 6 * times, 3)
    centre = drawn[times // 2 :: times, times // 2 :: times]  # a pixel of each of the picture's
    pair = np.rint(np.concatenate([picture[:2, :2], picture[:2, 4:]], 1).reshape(-1, 3).mean(0))
    assert (centre[:2, :2] == pair).all()
    assert (centre[:2, 4:] == pair).all()
    assert (centre[2:, :4] == np.rint(picture[2:, :4].reshape(-1, 3).mean(0))).all()
    assert (centre[:2, 2:4] == picture[:2, 2:4]).all()
    assert (centre[2:, 4:] == picture[2:, 4:]).all()
    black = np.zeros((4, 6, 3), np.uint8)
    edge = (merged_picture(black, groups) == pictures.EDGE).all(-1)
    assert edge[2 * times, times]  # times is in the middle of a patch, which is 2 wide
    assert edge[times, 2 * times]
    assert not edge[3 * times, 2 * times]  # between two patches of token 3
    assert edge[3 * times, 4 * times]
    assert not edge[0].all()
    assert not merged_picture(black, np.zeros((2, 3), int)).any()


@pytest.mark.parametrize(("layers", "shown"), [(1, []), (2, [1]), (3, [1, 2]), (12, [2, 4, 6, 8, 10])])
def test_the_strip_spreads_over_the_layers(layers, shown):
    assert pictures.chosen_layers(layers) == shown
    groups = [np.arange(4).reshape(2, 2), *[np.zeros((2, 2), int)] * layers]
    png = draw_tokens(np.zeros((8, 8, 3), np.uint8), groups, "a $ b_{ 雪 " * 40)
    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) is not None
