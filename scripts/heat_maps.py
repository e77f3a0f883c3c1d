"""Two heat maps, as the bytes of a PNG.

    attention   a grid of layers x heads; in each map a row is a token that looks, a column one that it looks at
    weights     a row is a sentence, a column an expert, and the number in a cell the expert's mixture weight

All maps of a picture share one colour scale. Long text is wrapped and then cut (…); a character that the font
lacks is drawn as ·, and the picture says so below. Our PNGs bear a mark that tells them from other files.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mee.text.base import Attention

SHOWN_TOKENS, SHOWN_SENTENCES = 40, 200  # more make no picture that a person reads
MARK = "mee explain"
DPI, LARGEST = 150, 8000  # LARGEST: pixels on a side, where the resolution gives way
FONT = "DejaVu Sans"  # comes with matplotlib
STYLE: Any = {"font.family": [FONT], "text.usetex": False}  # whatever the user's own settings are
COLOURS = "YlGnBu"
LACKED = "·"
INK, GREY, LINE = "#222222", "#666666", "#b9b9b9"
CELL, GAP, BAR = 0.12, 0.09, 0.13  # inches: the least side of a token's cell; between maps; width of a colour bar
ROW, COLUMN = 0.34, 0.92  # inches of a cell of the weights
LOOKS = "Row: a token that looks. Column: the token it looks at. Each row adds up to 1."
LOOKED_AT = "Column: the token that the sentence looks at. Each row adds up to 1."
ADDS_UP = "Mixture weights: how much each expert counts for a sentence. Each row adds up to 1."


@rc_context(STYLE)
def draw_attention(attention: Attention, sentence: str) -> bytes:
    """The maps of one sentence; of a very long one, those of its first SHOWN_TOKENS tokens.

    Args:
        attention: (layers, heads, L, L), or (layers, heads, 1, L) where the sentence as a whole looks.
        sentence: stands above.
    """
    maps = np.asarray(attention.weights.detach().float().cpu())[:, :, :SHOWN_TOKENS, :SHOWN_TOKENS]
    layers, heads, rows, length = maps.shape  # one row where not the tokens look, but the sentence
    square = rows == length
    tokens = [one_line(token, 12) for token in attention.tokens[:length]]
    side = max(length * CELL, min(3.2 if square else 6.4, max(1.3, 8.2 / heads)))
    tall = side if square else max(ROW, rows * side / length)
    width, height = heads * (side + GAP) - GAP, layers * (tall + GAP) - GAP
    size = min(9.0, 58 * side / length)  # points: a line fits into a cell of 72 * side / length
    fits = 0.8 * size * max(map(len, tokens)) < 72 * side / length
    look: dict[str, Any] = {"fontsize": size, "color": INK, "parse_math": False}
    figure = _figure(width, height)
    for layer in range(layers):
        for head in range(heads):
            left, top = head * (side + GAP), layer * (tall + GAP)
            axes = figure.add_axes((left / width, 1 - (top + tall) / height, side / width, tall / height))
            image = axes.imshow(maps[layer, head], cmap=COLOURS, vmin=0, vmax=_ceiling(maps), aspect="auto")
            _bare(axes)
            if layer == 0:
                axes.set_title(f"head {head + 1}", fontsize=9, color=GREY, pad=4)
            if head == heads - 1:
                name = axes.annotate(f"layer {layer + 1}", (1, 0.5), (6, 0), "axes fraction", "offset points")
                name.set(rotation=270 if square else 0, fontsize=9, color=GREY, va="center")
            if head == 0 and square:
                axes.set_yticks(range(length), tokens, **look)
            if layer == layers - 1:
                axes.set_xticks(range(length), tokens, rotation=0 if fits else 90, **look)
    _colour_bar(
        figure, image, left=width + (0.38 if square else 0.75), height=min(height, 3.2), label="share of attention"
    )
    looks = LOOKS if square else LOOKED_AT
    notes = [looks]
    if length < len(attention.tokens):
        notes = [f"{looks[:-1]} over all tokens; here are the first {length} of {len(attention.tokens)}."]
    return _png(figure, sentence, notes, [sentence, *attention.tokens[:length]])


@rc_context(STYLE)
def draw_weights(sentences: Sequence[str], experts: Sequence[str], weights: NDArray[np.floating]) -> bytes:
    """The weights of many sentences; of very many, those of the first SHOWN_SENTENCES.

    Args:
        sentences: S of them.
        experts: M names.
        weights: (S, M), each row sums to 1.
    """
    shown, weights = sentences[:SHOWN_SENTENCES], weights[:SHOWN_SENTENCES]
    width, height = COLUMN * len(experts), ROW * len(shown)
    figure = _figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    image = axes.imshow(weights, cmap=COLOURS, vmin=0, vmax=_ceiling(weights), aspect="auto")
    for row, column in np.ndindex(*weights.shape):
        share = float(weights[row, column])
        colour = "white" if share > 0.6 * _ceiling(weights) else INK  # where the map is dark
        axes.text(column, row, f"{share:.2f}", ha="center", va="center_baseline", fontsize=9, color=colour)
    _bare(axes)
    for edge in range(1, len(shown)):
        axes.axhline(edge - 0.5, color="white", linewidth=1.2)
    for edge in range(1, len(experts)):
        axes.axvline(edge - 0.5, color="white", linewidth=1.2)
    long = max(map(len, experts)) > 11
    slant: dict[str, Any] = {"rotation": 35, "ha": "left", "rotation_mode": "anchor"} if long else {}
    names = [one_line(name, 32) for name in experts]
    axes.set_xticks(range(len(experts)), names, fontsize=9, color=INK, parse_math=False, **slant)
    axes.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False)
    _label_rows(axes, [_wrapped(sentence, 52, 2) for sentence in shown])
    _colour_bar(figure, image, left=width + 0.2, height=min(height, 3.2), label="weight")
    notes = [ADDS_UP]
    if len(shown) < len(sentences):
        notes.append(f"Here are the first {len(shown)} of {len(sentences)} sentences.")
    return _png(figure, "", notes, [*experts, *shown])


def _figure(width: float, height: float) -> Figure:
    """As large as the maps, in inches; what stands around them is added when it is saved."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)  # no screen, and none of pyplot's global state
    return figure


def is_ours(path: Path) -> bool:
    """Whether a file is a picture that this module drew."""
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith(b"\x89PNG\r\n\x1a\n") and b"tEXtSoftware\0" + MARK.encode() in head


def one_line(text: str, most: int) -> str:
    """Text that the font can draw, on one line and cut to a number of characters."""
    text = _drawable(" ".join(text.split()))
    return text if len(text) <= most else text[: most - 1] + "…"


def _wrapped(text: str, columns: int, lines: int) -> str:
    """The same on a few lines."""
    return "\n".join(textwrap.wrap(one_line(text, len(text)), columns, max_lines=lines, placeholder=" …"))


def _drawable(text: str) -> str:
    return "".join(character if _has(character) else LACKED for character in text)


def _has(character: str) -> bool:
    return character.isspace() or (character != "\N{REPLACEMENT CHARACTER}" and ord(character) in _glyphs())


@cache
def _glyphs() -> frozenset[int]:
    """Code points of the font that text is drawn in; others would each raise a warning, and be a box."""
    return frozenset(get_font(findfont(FONT)).get_charmap())


def _ceiling(weights: NDArray[np.floating]) -> float:
    """Where the colours end: the largest weight, up to the next tenth; a picture of small ones is no blank."""
    return min(1.0, max(0.1, math.ceil(round(10 * float(weights.max()), 6)) / 10))


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0, pad=3)
    for side in axes.spines.values():
        side.set(color=LINE, linewidth=0.6)


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Numbers, and labels that begin at one line, to the left of the rows."""
    figure = cast(Figure, axes.figure)
    look: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8}
    texts = [
        axes.text(0, row, label, color=INK, linespacing=1.05, parse_math=False, **look)
        for row, label in enumerate(labels)
    ]
    inches = max(text.get_window_extent().width for text in texts) / figure.dpi + 0.09
    left = -inches / figure.get_size_inches()[0]
    for row, text in enumerate(texts):
        text.set_x(left)
        number = axes.annotate(f"{row + 1}", (left, row), (-7, 0), look["transform"], "offset points")
        number.set(ha="right", va="center", fontsize=8, color=GREY)


def _colour_bar(figure: Figure, image: AxesImage, *, left: float, height: float, label: str) -> None:
    """At the top, `left` inches from the left: beside the maps."""
    height = max(0.9, height)  # room for its numbers
    wide, high = figure.get_size_inches()
    place = figure.add_axes((left / wide, 1 - height / high, BAR / wide, height / high))
    bar = figure.colorbar(image, cax=place, ticks=MaxNLocator(5))
    bar.outline.set(edgecolor=LINE, linewidth=0.6)
    place.tick_params(labelsize=8, length=2, color=LINE, labelcolor=INK)
    place.set_ylabel(label, fontsize=8, color=GREY)


def _png(figure: Figure, title: str, notes: Sequence[str], texts: Sequence[str]) -> bytes:
    """Put the title above and the notes below all that is drawn, and save; nothing is cut off."""
    wide, high = figure.get_size_inches()
    around = figure.get_tightbbox()  # inches
    columns = max(40, int(around.width * 9.5))
    if any(not _has(character) for text in texts for character in text):
        notes = [*notes, f"{LACKED} stands for a character that the font lacks, or a part of one."]
    if title:
        above = _wrapped(f"“{title}”", columns, 3)
        text = figure.text(around.x0 / wide, (around.y1 + 0.14) / high, above, parse_math=False)
        text.set(fontsize=11, weight="bold", color=INK, va="bottom")
    below = "\n".join(line for note in notes for line in textwrap.wrap(note, max(50, int(around.width * 13))))
    text = figure.text(around.x0 / wide, (around.y0 - 0.1) / high, below)
    text.set(fontsize=8, color=GREY, va="top", linespacing=1.3)
    whole = figure.get_tightbbox()
    dpi = min(DPI, LARGEST / max(whole.width, whole.height))
    file = io.BytesIO()
    about = {"Software": MARK, "Description": title} if title else {"Software": MARK}
    figure.savefig(file, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.12, metadata=about)
    return file.getvalue()
