"""The contact sheet: for each sentence its best answers, and what every expert gave to their scores.

A green frame says that the sentence is true of the clip, by the facts it was rendered from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from index.hit import Hit
from index.searcher import Searcher
from scripts.demo.captions import Caption, is_true
from scripts.demo.facts import Facts

ANSWERS = 4
COLOURS = {"appearance": "#3b75af", "motion": "#e08a2b", "audio": "#4f9a53", "face": "#b0559b"}
TRUE, UNTRUE = "#3f9142", "#b9b9b9"
LEGEND = (
    "Green frame: the sentence is true of the clip. Bars: what each expert gave to the score. –: no such stream"
)
MARKS = {"appearance": "looks", "motion": "motion", "audio": "sound", "face": "face"}


def draw_sheet(folder: Path, asked: Sequence[Caption], facts: Mapping[str, Facts], path: Path) -> None:
    """Search the demo's index for each caption, and draw the answers.

    Args:
        folder: the demo's.
        asked: sentences, with what they claim.
        facts: of every clip, by its file name.
        path: of the PNG.
    """
    searcher = Searcher.load(folder / "index", device=torch.device("cpu"))
    answers = searcher.search([caption.text for caption in asked], ANSWERS)
    matplotlib.use("Agg")
    figure = Figure(figsize=(10.4, 0.3 + 1.95 * len(asked)), dpi=100, facecolor="white")
    legend, *rows = np.asarray(figure.subfigures(1 + len(asked), 1, height_ratios=[0.3, *[1.95] * len(asked)]))
    legend.text(0.008, 0.4, LEGEND, fontsize=8, color="#555555", va="center")
    for row, caption, hits in zip(rows, asked, answers):
        row.text(0.008, 0.90, f"“{caption.text}”", fontsize=11, weight="bold", va="center")
        axes = row.subplots(1, 2 * ANSWERS, width_ratios=[1.45, 0.9] * ANSWERS)
        row.subplots_adjust(left=0.008, right=0.985, top=0.79, bottom=0.06, wspace=0.05)
        for number, hit in enumerate(hits):
            picture, bars = axes[2 * number], axes[2 * number + 1]
            _draw_clip(picture, folder / "videos" / hit.video, true=is_true(caption.claims, facts[hit.video]))
            _draw_shares(bars, hit, searcher.modalities)
    figure.savefig(path)


def _draw_clip(axes: Axes, path: Path, *, true: bool) -> None:
    axes.imshow(middle_frame(path))
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color=TRUE if true else UNTRUE, linewidth=3.5 if true else 1)


def _draw_shares(axes: Axes, hit: Hit, modalities: Sequence[str]) -> None:
    """Each expert's contribution as a bar; a missing stream has a dash."""
    for place, modality in enumerate(reversed(modalities)):
        share = hit.experts.get(modality)
        if share:
            axes.barh(place, share.contribution, color=COLOURS.get(modality, "#777777"), height=0.62)
        label = MARKS.get(modality, modality) + ("" if share else " –")
        axes.text(
            -0.05, place, label, fontsize=7, va="center", ha="right", color="#222222" if share else "#999999"
        )
    axes.axvline(0, color="#777777", linewidth=0.6)
    axes.set_xlim(-0.62, 0.75)
    axes.set_ylim(-0.6, len(modalities) - 0.4)
    axes.set_title(f"{hit.score:.2f}", fontsize=8, pad=2)
    axes.set_axis_off()


def middle_frame(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: an image itself, or the middle frame of a short video."""
    image = cv2.imread(str(path)) if path.suffix in (".png", ".jpg", ".webp") else None
    if image is not None:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.asarray(frames[len(frames) // 2], np.uint8)
