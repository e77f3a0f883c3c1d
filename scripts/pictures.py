"""Drawings of attention, mixture weights and merged tokens, as the bytes of a PNG.

    attention   a grid of layers x heads; a row is the token that attends, a column the one attended to
    weights     a row is a sentence, a column an expert; the number in a cell is the expert's mixture weight
    tokens      the model's input, the same after its last layer, and below it after some layers between

All maps of a drawing share one colour scale. Long text is wrapped and then cut (…).
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from features.errors import InputError
from features.files import write_whole
from mee.errors import visible
from scripts.console import say

if TYPE_CHECKING:
    from mee.text import Attention

SHOWN_TOKENS, SHOWN_SENTENCES = 40, 200  # more are not legible
STRIP = 5  # pictures at most below those of tokens
DPI, LARGEST = 150, 8000  # LARGEST: pixels on a side, where the resolution gives way
SHARPEST = 768  # pixels on the short side, at least, that edges between tokens are drawn on
EDGE = np.array([255, 255, 255], np.uint8)
COLOURS = "YlGnBu"
INK, GREY = "#222222", "#666666"
# whatever the user's own settings are
STYLE: Any = {"font.family": ["DejaVu Sans"], "font.size": 9, "text.usetex": False, "text.parse_math": False}
STYLE |= {"text.color": INK, "axes.titlesize": 9, "axes.titlecolor": GREY, "axes.linewidth": 0.6}
STYLE |= {"axes.edgecolor": "#b9b9b9", "xtick.major.size": 0, "ytick.major.size": 0}
ABOUT_TOKENS = (
    "A token of several patches has their mean colour, and an edge where it meets another; a patch that is still "
    "alone shows the picture."
)


@rc_context(STYLE)
def draw_attention(attention: Attention, sentence: str) -> bytes:
    """The maps of one sentence; of a very long one, those of its first SHOWN_TOKENS tokens.

    They are (layers, heads, L, L), or (layers, heads, 1, L) where the sentence as a whole looks.
    """
    maps = np.asarray(attention.weights.detach().float().cpu())[:, :, :SHOWN_TOKENS, :SHOWN_TOKENS]
    layers, heads, rows, length = maps.shape
    square = rows == length  # else not the tokens look, but the sentence
    tokens = [one_line(token, 12) for token in attention.tokens[:length]]
    side = max(0.12 * length, min(3.2 if square else 6.4, max(1.3, 8.2 / heads)))  # inches of a map
    size = min(9.0, 58 * side / length)  # points: a line fits into a token's cell
    tall = side if square else max(0.34, side / length)
    figure = Figure(figsize=(heads * side + 2, layers * tall + 1.8), layout="constrained")
    grid = figure.subplots(layers, heads, squeeze=False)
    for (layer, head), axes in np.ndenumerate(grid):
        image = axes.imshow(maps[layer, head], cmap=COLOURS, vmin=0, vmax=_ceiling(maps), aspect="auto")
        below = tokens if layer == layers - 1 else [""] * length
        axes.set_xticks(range(length), below, rotation=90, fontsize=size)
        axes.set_yticks(range(rows), tokens if head == 0 and square else [""] * rows, fontsize=size)
        if layer == 0:
            axes.set_title(f"head {head + 1}")
        if head == heads - 1:
            axes.yaxis.set_label_position("right")
            axes.set_ylabel(f"layer {layer + 1}", color=GREY, rotation=270, va="bottom")
    shrink = min(1, 3.2 / (layers * tall))
    figure.colorbar(image, ax=grid, label="share of attention", shrink=shrink, anchor=(0, 1))
    looks = f"Row: {'a token that looks' if square else 'the sentence'}. Column: the token it looks at."
    every = len(attention.tokens)
    beyond = f" over all tokens; here are the first {length} of {every}" if length < every else ""
    return _png(figure, f"“{sentence}”", f"{looks} Each row adds up to 1{beyond}.")


@rc_context(STYLE)
def draw_weights(sentences: Sequence[str], experts: Sequence[str], weights: NDArray[np.floating]) -> bytes:
    """The (S, M) weights of many sentences; of very many, those of the first SHOWN_SENTENCES."""
    shown, weights = sentences[:SHOWN_SENTENCES], weights[:SHOWN_SENTENCES]
    labels = [f"{_wrapped(sentence, 52, 2)}  {row}" for row, sentence in enumerate(shown, start=1)]
    beside = 1 + 0.065 * min(52, max(map(len, labels)))  # inches
    figure = Figure(figsize=(0.92 * len(experts) + beside, 0.34 * len(shown) + 1.5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights, cmap=COLOURS, vmin=0, vmax=_ceiling(weights), aspect="auto")
    for (row, column), share in np.ndenumerate(weights):
        colour = "white" if share > 0.6 * _ceiling(weights) else INK  # where the map is dark
        axes.text(column, row, f"{share:.2f}", ha="center", va="center_baseline", color=colour)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(experts)), [_wrapped(name, 11, 3) for name in experts])
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    figure.colorbar(image, ax=axes, label="weight", shrink=min(1, 3.2 / (0.34 * len(shown))), anchor=(0, 1))
    about = "Mixture weights: how much each expert counts for a sentence. Each row adds up to 1."
    if len(shown) < len(sentences):
        about += f" Here are the first {len(shown)} of {len(sentences)} sentences."
    return _png(figure, "", about)


@rc_context(STYLE)
def draw_tokens(picture: NDArray[np.uint8], groups: Sequence[NDArray[np.int64]], title: str) -> bytes:
    """Which patches of a (H, W, 3) picture, as the model sees it, became one token.

    groups: of (rows, columns), after 0, 1, … layers: the token that holds each patch.
    """
    last, strip = len(groups) - 1, chosen_layers(len(groups) - 1)
    height = 4.2
    width = 2 * height * picture.shape[1] / picture.shape[0]
    heights = [height, 2 * height / len(strip)] if strip else [height]
    figure = Figure(figsize=(width, sum(heights) + 1), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    left, right = parts[0, 0].subplots(1, 2)
    _show(left, picture, f"what the model sees: {groups[0].size} patches")
    _show(right, merged_picture(picture, groups[last]), f"after layer {last}: {_tokens(groups[last])}")
    for layer, axes in zip(strip, parts[1, 0].subplots(1, len(strip), squeeze=False)[0] if strip else ()):
        _show(axes, merged_picture(picture, groups[layer]), f"layer {layer}: {_tokens(groups[layer])}")
    return _png(figure, title, ABOUT_TOKENS)


def merged_picture(picture: NDArray[np.uint8], groups: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Fill and edge the tokens of a (H, W, 3) picture; patches of one token need not touch.

    groups: (rows, columns) the token that holds each patch; H and W are multiples of these. The result is
    (k H, k W, 3), k whole, so large that edges are thin.
    """
    high, wide = picture.shape[0] // groups.shape[0], picture.shape[1] // groups.shape[1]
    token = groups.repeat(high, 0).repeat(wide, 1)
    filled = picture.astype(float)
    for number, patches in zip(*np.unique(groups, return_counts=True)):
        if patches > 1:
            filled[token == number] = filled[token == number].mean(0)
    times = -(-SHARPEST // min(picture.shape[:2]))
    drawn: NDArray[np.uint8] = np.rint(filled).astype(np.uint8).repeat(times, 0).repeat(times, 1)
    token = token.repeat(times, 0).repeat(times, 1)
    for numbers, pixels in ((token, drawn), (token.T, drawn.transpose(1, 0, 2))):  # edges below, and to the right
        apart = numbers[1:] != numbers[:-1]
        pixels[:-1][apart] = pixels[1:][apart] = EDGE
    return drawn


def chosen_layers(layers: int) -> list[int]:
    """Which of the numbers 1 … layers - 1 have a picture in the strip: at most STRIP, evenly spread."""
    return sorted({round(layers * place / (STRIP + 1)) for place in range(1, STRIP + 1)} - {0, layers})


def one_line(text: str, most: int) -> str:
    """Any text on one line, without control characters, and cut to a number of characters."""
    text = visible(" ".join(text.split()))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def write_picture(path: Path, picture: bytes) -> Path:
    """Write it whole or not at all, over what was there."""
    try:
        write_whole(path, picture)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); name another place with --out") from error
    say(f"drawn: {path}")
    return path


def _tokens(groups: NDArray[np.int64]) -> str:
    count = len(np.unique(groups))  # class tokens and the like hold no patch
    return "1 token" if count == 1 else f"{count} tokens"


def _show(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
    axes.imshow(picture)
    axes.set_axis_off()
    axes.set_title(title)


def _ceiling(weights: NDArray[np.floating]) -> float:
    """Where the colours end: the largest weight, up to the next tenth; a picture of small ones is not blank."""
    return min(1.0, max(0.1, math.ceil(round(10 * float(weights.max()), 6)) / 10))


def _wrapped(text: str, columns: int, lines: int) -> str:
    """The same on a few lines."""
    return "\n".join(textwrap.wrap(one_line(text, 4 * len(text)), columns, max_lines=lines, placeholder=" …"))


def _png(figure: Figure, title: str, note: str) -> bytes:
    """With the title above and the note below; nothing is cut off."""
    wide, high = figure.get_size_inches()
    if title:
        figure.suptitle(_wrapped(title, int(wide * 9.5), 3), fontsize=11, weight="bold")
    figure.supxlabel(textwrap.fill(note, int(wide * 14)), fontsize=8, color=GREY)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # shown as a box
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        figure.savefig(file, format="png", dpi=min(DPI, LARGEST / max(wide, high)), bbox_inches="tight")
    return file.getvalue()
