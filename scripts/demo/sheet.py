"""The contact sheet: for each sentence its best answers, and what every expert gave to their scores.

A green frame says that the sentence is true of the clip, by the facts it was rendered from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from features.job import Failed, run_isolated
from index.hit import Hit
from index.request import Request
from index.searcher import Searcher
from scripts.demo.render import middle_frame
from scripts.demo.words import Caption, is_true
from scripts.demo.world import Facts

ANSWERS = 4
COLOURS = {"appearance": "#3b75af", "motion": "#e08a2b", "audio": "#4f9a53", "face": "#b0559b"}
MARKS = {"appearance": "looks", "motion": "motion", "audio": "sound", "face": "face"}
LEGEND = (
    "Green frame: the sentence is true of the clip. Bars: what each expert gave to the score. –: no such stream"
)


def draw_sheet(folder: Path, queries: Sequence[Caption], facts: Mapping[str, Facts], path: Path) -> None:
    """Search the demo's index for each caption, and draw the answers; ``facts`` of every clip by its file name."""
    searcher = Searcher.load(folder / "index", device=torch.device("cpu"))
    answers = searcher.search([Request(sentence=caption.text, top=ANSWERS) for caption in queries])
    files = {folder / "videos" / hit.video: None for hits in answers for hit in hits}
    pictures = dict(run_isolated(middle_frame, files, workers=2))
    matplotlib.use("Agg")
    figure = Figure(figsize=(10.4, 0.3 + 1.95 * len(queries)), dpi=100, facecolor="white")
    legend, *rows = np.asarray(figure.subfigures(1 + len(queries), 1, height_ratios=[0.3, *[1.95] * len(queries)]))
    legend.text(0.008, 0.4, LEGEND, fontsize=8, color="#555555", va="center")
    for row, caption, hits in zip(rows, queries, answers):
        row.text(0.008, 0.90, f"“{caption.text}”", fontsize=11, weight="bold", va="center")
        axes = row.subplots(1, 2 * ANSWERS, width_ratios=[1.45, 0.9] * ANSWERS)
        row.subplots_adjust(left=0.008, right=0.985, top=0.79, bottom=0.06, wspace=0.05)
        for picture, bars, hit in zip(axes[::2], axes[1::2], hits):
            assert isinstance(hit, Hit)
            true = is_true(caption.claims, facts[hit.video])
            frame = pictures[folder / "videos" / hit.video]
            picture.imshow(np.full((1, 1, 3), 255, np.uint8) if isinstance(frame, Failed) else frame)
            picture.set(xticks=[], yticks=[])
            for side in picture.spines.values():
                side.set(color="#3f9142" if true else "#b9b9b9", linewidth=3.5 if true else 1)
            _draw_shares(bars, hit, searcher.modalities)
    figure.savefig(path)


def _draw_shares(axes: Axes, hit: Hit, modalities: Sequence[str]) -> None:
    """Each expert's contribution as a bar; a missing stream has a dash."""
    for place, modality in enumerate(reversed(modalities)):
        share = hit.experts.get(modality)
        if share:
            axes.barh(place, share.contribution, color=COLOURS.get(modality, "#777777"), height=0.62)
        label, shade = MARKS.get(modality, modality) + ("" if share else " –"), "#222222" if share else "#999999"
        axes.text(-0.05, place, label, fontsize=7, va="center", ha="right", color=shade)
    axes.axvline(0, color="#777777", linewidth=0.6)
    axes.set(xlim=(-0.62, 0.75), ylim=(-0.6, len(modalities) - 0.4))
    axes.set_title(f"{hit.score:.2f}", fontsize=8, pad=2)
    axes.set_axis_off()
