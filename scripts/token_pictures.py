"""Which patches of a picture became one token, as the bytes of a PNG.

    what the model sees   |   the same after its last layer
    after some of the layers before it, from left to right

A token of several patches is filled with their mean colour and edged where it meets another; a patch that stays
alone shows the picture. Patches of one token need not touch. Our PNGs bear a mark that tells them from others.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.heat_maps import one_line

MARK = "mee tokens"
STRIP = 5  # pictures at most in the lower row
DPI = 150
LARGE, GAP, TITLE = 4.2, 0.12, 0.3  # inches: height of an upper picture; between pictures; above them
SHARPEST = 768  # pixels on the short side, at least, that edges are drawn on
INK, GREY = "#222222", "#666666"
EDGE = np.array([255, 255, 255], np.uint8)
STYLE: Any = {"font.family": ["DejaVu Sans"], "text.usetex": False}  # whatever the user's own settings are
ABOUT = (
    "A token of several patches has their mean colour, and an edge where it meets another; a patch that is still "
    "alone shows the picture."
)


def merged_picture(picture: NDArray[np.uint8], groups: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Fill and edge the tokens of a picture.

    Args:
        picture: (H, W, 3).
        groups: (rows, columns) the token that holds each patch; H and W are multiples of these.

    Returns:
        (k H, k W, 3), k whole, so large that edges are thin.
    """
    rows, columns = groups.shape
    high, wide = picture.shape[0] // rows, picture.shape[1] // columns
    patches = picture.reshape(rows, high, columns, wide, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1, 3)
    _, token, patches_of = np.unique(groups.ravel(), return_inverse=True, return_counts=True)
    sums = np.zeros((len(patches_of), 3))
    np.add.at(sums, token, patches.mean(1))
    filled = np.where(
        (patches_of[token] > 1)[:, None, None], (sums / patches_of[:, None])[token][:, None], patches
    )
    flat = filled.reshape(rows, columns, high, wide, 3).transpose(0, 2, 1, 3, 4).reshape(picture.shape)
    times = -(-SHARPEST // min(picture.shape[:2]))
    drawn = np.rint(flat).astype(np.uint8).repeat(times, 0).repeat(times, 1)
    _edge(drawn, groups, high * times)
    _edge(drawn.transpose(1, 0, 2), groups.T, wide * times)
    return drawn


def _edge(drawn: NDArray[np.uint8], groups: NDArray[np.int64], high: int) -> None:
    """Draw the horizontal edges between patches of different tokens."""
    wide = drawn.shape[1] // groups.shape[1]
    for row in range(1, len(groups)):
        apart = (groups[row] != groups[row - 1]).repeat(wide)
        drawn[row * high - 1 : row * high + 1, apart] = EDGE


def chosen_layers(layers: int) -> list[int]:
    """Which of the numbers 1 … layers - 1 have a picture in the strip: at most STRIP, evenly spread."""
    return sorted({round(layers * place / (STRIP + 1)) for place in range(1, STRIP + 1)} - {0, layers})


@rc_context(STYLE)
def draw_tokens(picture: NDArray[np.uint8], groups: Sequence[NDArray[np.int64]], title: str) -> bytes:
    """The whole picture.

    Args:
        picture: (H, W, 3), what the model sees.
        groups: of (rows, columns), after 0, 1, … layers.
        title: stands above.
    """
    last, strip = len(groups) - 1, chosen_layers(len(groups) - 1)
    large = LARGE * picture.shape[1] / picture.shape[0]
    width = 2 * large + GAP
    small = (width - GAP * (len(strip) - 1)) / len(strip) if strip else 0.0
    low = min(LARGE, small * picture.shape[0] / picture.shape[1])
    height = TITLE + LARGE + (TITLE + low if strip else 0)
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)  # no screen, and none of pyplot's global state

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))

    _show(place(0, TITLE, large, LARGE), picture, f"what the model sees: {groups[0].size} patches")
    _show(
        place(large + GAP, TITLE, large, LARGE),
        merged_picture(picture, groups[last]),
        f"after layer {last}: {_tokens(groups[last])}",
    )
    for number, layer in enumerate(strip):
        axes = place(number * (small + GAP), TITLE + LARGE + TITLE, small, low)
        _show(axes, merged_picture(picture, groups[layer]), f"layer {layer}: {_tokens(groups[layer])}")
    look: dict[str, Any] = {"parse_math": False, "va": "bottom"}
    figure.text(
        0, 1 + 0.08 / height, one_line(title, int(width * 11)), fontsize=11, weight="bold", color=INK, **look
    )
    figure.text(0, -0.1 / height, ABOUT, fontsize=8, color=GREY, va="top", wrap=True)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12, metadata={"Software": MARK})
    return file.getvalue()


def is_ours(path: Path) -> bool:
    """Whether a file is a picture that this module drew."""
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith(b"\x89PNG\r\n\x1a\n") and b"tEXtSoftware\0" + MARK.encode() in head


def _show(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
    axes.imshow(picture, interpolation="antialiased", aspect="auto")
    axes.set_axis_off()
    axes.set_title(title, fontsize=8, color=GREY, pad=3)


def _tokens(groups: NDArray[np.int64]) -> str:
    count = len(np.unique(groups))  # class tokens and the like hold no patch
    return "1 token" if count == 1 else f"{count} tokens"
