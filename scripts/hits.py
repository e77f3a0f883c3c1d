"""Hits as tables: each expert's part of the score as a number, and as a bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.console import bar, clock, print_table

if TYPE_CHECKING:
    from index.hit import Hit
    from index.request import VideoHits


def print_hits(title: str, hits: Sequence[Hit], modalities: Sequence[str]) -> None:
    """A row a clip."""
    parts = _parts(hits, modalities)
    rows = [[f"{hit.rank}", hit.video, *cells] for hit, cells in zip(hits, parts)]
    _print(title, rows, hits, modalities)


def print_videos(title: str, videos: Sequence[VideoHits], modalities: Sequence[str]) -> None:
    """A row a moment; a video's name stands beside its best."""
    hits = [hit for video in videos for hit in video.hits]
    names = [
        [f"{video.rank}", video.video] if not place else ["", ""]
        for video in videos
        for place in range(len(video.hits))
    ]
    rows = [[*name, *cells] for name, cells in zip(names, _parts(hits, modalities))]
    _print(title, rows, hits, modalities)


def _print(title: str, rows: Sequence[Sequence[str]], hits: Sequence[Hit], modalities: Sequence[str]) -> None:
    constant = ["constant"] if _with_constants(hits) else []
    print_table(title, ["#", "video", "moment", "score", *modalities, *constant], rows, words=2)
    print(flush=True)


def _parts(hits: Sequence[Hit], modalities: Sequence[str]) -> list[list[str]]:
    """Moment, score and parts of each hit; with constants, what is taken off stands last."""
    longest = max((abs(share.contribution) for hit in hits for share in hit.experts.values()), default=1.0) or 1.0
    constants = _with_constants(hits)
    rows = []
    for hit in hits:
        cells = []
        for modality in modalities:
            share = hit.experts.get(modality)
            part = share.contribution + 0.0 if share else 0.0  # not -0.0
            cells.append(f"{bar(part / longest, 6):6} {part:5.2f}" if share else "-")
        if constants:
            cells.append(f"{0 - hit.constant:.2f}")
        moment = f"{clock(hit.start_s)}-{clock(hit.end_s)}" if hit.end_s > hit.start_s else "-"  # a still
        rows.append([moment, f"{hit.score:.3f}", *cells])
    return rows


def _with_constants(hits: Sequence[Hit]) -> bool:
    return any(hit.constant for hit in hits)
