"""Heat maps: what is drawn, that it can be read, and that no text breaks it."""

import io
import itertools
import struct
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread, imsave
from matplotlib.text import Text

from mee.text.base import Attention
from scripts.heat_maps import (
    LARGEST,
    MARK,
    SHOWN_SENTENCES,
    SHOWN_TOKENS,
    draw_attention,
    draw_weights,
    is_ours,
    one_line,
)

DARK, LIGHT = (8, 29, 88), (255, 255, 217)  # both ends of YlGnBu, as ColorBrewer gives them
SENTENCE = "the quick brown fox jumps over a lazy dog while somebody plays unquestionably-long drums"
WORDS = tuple(SENTENCE.split())


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, in order."""
    saved = []
    save = Figure.savefig

    def keep(figure, *arguments, **options):
        saved.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def attention(layers, heads, length, tokens=WORDS):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(layers, heads, length, length, generator=generator).mul(3).softmax(-1)
    return Attention((tokens * length)[:length], weights)


def pixels(png):
    return np.round(255 * imread(io.BytesIO(png))[:, :, :3]).astype(int)


def size(png):
    """Width and height, as the file says."""
    return struct.unpack(">II", png[16:24])


def said(figure):
    """All text in a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def where(image, colour):
    """Rows and columns of the pixels of one colour."""
    return (image == colour).all(-1).nonzero()


def test_columns_are_what_is_looked_at():
    looks = torch.tensor([[0.0, 1.0], [0.0, 1.0]])[None, None]  # both look at the second
    image = pixels(draw_attention(Attention(("a", "b"), looks), "a b"))
    dark, light = where(image, DARK), where(image, LIGHT)
    assert len(dark[0]) == pytest.approx(len(light[0]), rel=0.02)
    assert dark[0].mean() == pytest.approx(light[0].mean(), abs=3)
    assert np.percentile(light[1], 99) < np.percentile(dark[1], 1)


def test_one_scale_for_all_maps(figures):
    weights = torch.tensor([[0.5, 0.5], [0.3, 0.7]]).expand(2, 3, 2, 2)
    draw_attention(Attention(("a", "b"), weights), "a b")
    images = [image for axes in figures[0].axes for image in axes.images]
    assert len(images) == 6
    assert {image.get_clim() for image in images} == {(0.0, 0.7)}
    for image in images:
        np.testing.assert_allclose(image.get_array(), [[0.5, 0.5], [0.3, 0.7]], rtol=1e-6)


def test_the_grid_is_layers_by_heads(figures):
    draw_attention(attention(2, 3, 5), "the quick brown fox jumps")
    titles = said(figures[0])
    assert {"layer 1", "layer 2", "head 1", "head 2", "head 3"} <= set(titles)
    assert not {"layer 3", "head 4"} & set(titles)
    assert "“the quick brown fox jumps”" in titles


@pytest.mark.parametrize(("heads", "length"), [(1, 1), (4, 8), (4, 30), (6, 30), (2, 40)])
def test_labels_of_tokens_do_not_overlap(figures, heads, length):
    draw_attention(attention(1, heads, length), "any")
    figures[0].dpi = 150
    axes = figures[0].axes[0]
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert len(boxes) == length
    assert all(lower.y1 <= upper.y0 for upper, lower in itertools.pairwise(boxes))
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize(("layers", "heads", "length"), [(1, 1, 1), (2, 4, 12), (1, 8, 20), (3, 1, 30)])
def test_nothing_is_cut_at_the_edges(layers, heads, length):
    image = pixels(draw_attention(attention(layers, heads, length), " ".join(WORDS * 3)))
    for edge in (image[:8], image[-8:], image[:, :8], image[:, -8:]):
        assert (edge == 255).all()


def test_long_sentences_show_their_first_tokens(figures):
    draw_attention(attention(1, 2, SHOWN_TOKENS + 24), " ".join(WORDS * 5))
    (note,) = (text for text in said(figures[0]) if "adds up" in text)
    assert note.replace("\n", " ").endswith("adds up to 1 over all tokens; here are the first 40 of 64.")
    assert figures[0].axes[0].images[0].get_array().shape == (SHOWN_TOKENS, SHOWN_TOKENS)


def test_many_maps_keep_the_picture_within_bounds():
    assert 0.9 * LARGEST < max(size(draw_attention(attention(14, 1, 40), "x"))) < 1.02 * LARGEST


def test_one_row_where_the_sentence_looks(figures):
    """As in soft attention over the states of a recurrent encoder."""
    weights = attention(1, 1, 12).weights[:, :, :1]
    draw_attention(Attention(WORDS[:12], weights), " ".join(WORDS[:12]))
    axes = figures[0].axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights[0, 0])
    assert [label.get_text() for label in axes.get_xticklabels()] == list(WORDS[:12])
    assert axes.get_yticklabels() == []
    assert any("the sentence looks at" in text for text in said(figures[0]))


def test_attention_in_half_precision_with_gradients(figures):
    weights = attention(1, 1, 3).weights.bfloat16().requires_grad_()
    assert draw_attention(Attention(("a", "b", "c"), weights), "a b c")


def test_weights_stand_in_their_cells(figures):
    weights = np.array([[0.125, 0.875], [0.996, 0.004], [0.5, 0.5]])
    draw_weights(["first", "second", "third"], ["looks", "sound"], weights)
    axes = figures[0].axes[0]
    numbers = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts[:6]}
    assert numbers == {(r, c): f"{weights[r, c]:.2f}" for r in range(3) for c in range(2)}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["looks", "sound"]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    assert {"first", "second", "third", "1", "2", "3"} <= set(said(figures[0]))


def test_many_sentences_show_the_first(figures):
    count = SHOWN_SENTENCES + 7
    png = draw_weights([f"sentence {n}" for n in range(count)], ["a", "b"], np.full((count, 2), 0.5))
    assert 0.9 * LARGEST < max(size(png)) < 1.02 * LARGEST
    assert any("the first 200 of 207 sentences" in text for text in said(figures[0]))
    assert "sentence 199" in said(figures[0])
    assert "sentence 200" not in said(figures[0])


ODD = (
    "雪の中で犬が吠える",
    "$5 and $6",
    r"$\frac{$",
    "a\tb\x1b[31m\x00",
    "🐶‍🔥",
    "x" * 500,
    "שלום عربي",
    "",
    "\u0301",
)


@pytest.mark.parametrize("text", ODD)
def test_any_text_is_drawn_without_a_warning(figures, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        draw_weights([text, "plain"], [text[:20], "audio"], np.full((2, 2), 0.5))
        draw_attention(Attention((text, "b"), torch.full((1, 1, 2, 2), 0.5)), text)
    lacks = text.startswith(("雪", "a\t", "🐶"))
    for figure in figures:
        assert any("· stands for a" in note for note in said(figure)) == lacks


@given(text=st.text(max_size=90))
@settings(max_examples=8)
def test_no_text_breaks_a_picture(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert draw_weights([text], ["audio"], np.ones((1, 1)))
        assert draw_attention(Attention((text,), torch.ones(1, 1, 1, 1)), text)


@given(text=st.text(max_size=60), most=st.integers(1, 30))
def test_one_line_is_one_line(text, most):
    line = one_line(text, most)
    assert len(line) <= most
    assert "\n" not in line
    assert one_line(line, most) == line.strip()


@pytest.mark.parametrize(
    ("text", "line"),
    [(" two \n words ", "two words"), ("unquestionably", "unquesti…"), ("雪 x", "· x"), ("\ufffd", "·")],
)
def test_what_one_line_makes(text, line):
    assert one_line(text, 9) == line


def test_settings_of_the_user_change_nothing():
    plain = draw_weights(["a"], ["audio"], np.ones((1, 1)))
    theirs = {"text.usetex": True, "font.family": ["monospace"], "text.parse_math": True}
    with matplotlib.rc_context(theirs):
        assert draw_weights(["a"], ["audio"], np.ones((1, 1))) == plain
        assert matplotlib.rcParams["text.usetex"]


def test_our_pictures_are_told_from_others(tmp_path):
    png = draw_attention(attention(1, 1, 2), "雪 in the title")
    files = {
        "ours.png": png,
        "notes.txt": b"tEXtSoftware\0" + MARK.encode(),
        "empty.png": b"",
        "cut.png": png[:20],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    imsave(tmp_path / "theirs.png", np.zeros((4, 4)))
    assert {path.name for path in tmp_path.iterdir() if is_ours(path)} == {"ours.png"}
