"""The first minutes of `mee open`: when there is a page, a hit, all videos, everything, and what it finds by then.

examples:
  python -m benchmarks.open.first_minutes CLIPS
  python -m benchmarks.open.first_minutes VIDEOS --captions CSV --runs 1 --picture docs/open-growth.webp

Each run begins without a state. Seconds from the start of the process:

page       / answers with 200                   first hit    /api/search answers with one
all once   every video that can be read has a clip in the index, by at least its first frame
done       /api/library says so: all streams are read, and the model and the index are made of them
CPU s      of all processes until then          MB           peak of their proportional set sizes, once a second

R@10: whenever the index has changed it is copied (as hard links: its files never change). Afterwards all captions
are searched in every copy, against all videos of the captions; one that is not in it is not found. A video has the
score of its best clip; expected rank under ties; the standard error is clustered by video. Of several runs the one
that takes the median time is searched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tyro.conf import Positional

from benchmarks.open.opened import ROLES, opened, pacing
from benchmarks.timing import arguments, print_table
from index import Queries, VideoIndex
from index.storage import INDEX_FILE, text_name
from index.sync import rows_of
from index.text_side import TextSide
from mee.errors import InputError
from mee.evaluation.metrics import paired_difference
from scripts.pictures import GREY, INK, STYLE

SENTENCE, LOOK_S, K, BLUE = "a person", 0.2, 10, "#225ea8"
TIMES = ("page", "first hit", "all once", "done", "CPU s")
COLUMNS = {"run": "{run}"} | {name: f"{{{name}:.1f}}" for name in TIMES}
COLUMNS |= {name: f"{{{name}:.0f}}" for name in ("MB", *ROLES)}
GROWTH = {"after s": "{after:.0f}", "videos": "{videos}", "R@10": "{r10:.1f} ± {error:.1f}", "then": "{step}"}
Facts = dict[str, Any]


@dataclass(frozen=True)
class Args:
    videos: Positional[Path]  # folder
    # video or video_id, with an ending or without; caption; kind: those of "query" are left out
    captions: Path | None = None
    runs: int = 3
    picture: Path | None = None  # of R@10 and the share of videos over time


def main() -> None:
    args = arguments(Args, __doc__)
    print(f"{args.videos.resolve().name}; {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory(prefix="mee-open-") as work:
        runs = [watched(args.videos, Path(work) / str(number)) for number in range(args.runs)]
        middle = {name: median(facts[name] for facts, _ in runs) for name in [*COLUMNS][1:]}
        rows = [{"run": number, **facts} for number, (facts, _) in enumerate(runs, start=1)]
        print_table(COLUMNS, [*rows, {"run": "median", **middle}], 6)
        if args.captions is None:
            return
        facts, copies = sorted(runs, key=lambda run: run[0]["done"])[(len(runs) - 1) // 2]
        growth = list(grown(copies, args.captions))
        print()
        print_table(GROWTH, growth, 7)
        if args.picture is not None:
            draw(growth, facts, args.picture)


def watched(videos: Path, work: Path) -> tuple[Facts, list[Facts]]:
    """Look at a folder that is opened until all is read; what was seen, and the copies of the index."""
    facts: Facts = {}
    copies: list[Facts] = []
    last = b""
    with opened(videos, work / "cache") as its:
        for turn, _ in enumerate(pacing(LOOK_S)):
            if "page" not in facts and its.get("/") is not None:
                facts["page"] = time.time() - its.begun
            if "first hit" not in facts and (its.get("/api/search", q=SENTENCE) or {}).get("hits"):
                facts["first hit"] = time.time() - its.begun
            status = its.get("/api/library")["status"] if "page" in facts else {"step": "", "done": False}
            place = work / f"copy{turn:06}"
            if (manifest := copied(its.state / "index", place, last)) != last:
                copies.append({"place": place, "after": time.time() - its.begun, "step": status["step"]})
                last = manifest
            if turn % 5 == 0:
                now = its.memory()
                facts |= {
                    name: max(mb, facts.get(name, 0)) for name, mb in {**now, "MB": sum(now.values())}.items()
                }
            if status["done"]:
                facts |= {"done": time.time() - its.begun, "CPU s": its.processor()}
                break
    counts = [len({*clips_of(VideoIndex.open(copy["place"])).values()}) for copy in copies]
    return facts | {"all once": copies[counts.index(max(counts))]["after"]}, copies


def copied(index: Path, place: Path, last: bytes) -> bytes:
    """Copy the index if its manifest is not `last`; returns that of the copy, or `last`: there is no new copy."""
    with suppress(OSError, shutil.Error, InputError):  # there is none, or it is being changed: try again next turn
        if (manifest := (index / INDEX_FILE).read_bytes()) == last:
            return last
        shutil.copytree(index, place, copy_function=os.link, ignore=shutil.ignore_patterns(".*", "lock"))
        with_text = (place / text_name(VideoIndex.open(place).origin)).exists()  # sentences can be encoded
        if with_text and (index / INDEX_FILE).read_bytes() == (place / INDEX_FILE).read_bytes() == manifest:
            return manifest
    shutil.rmtree(place, ignore_errors=True)
    return last


def clips_of(index: VideoIndex) -> dict[str, str]:
    """Of each clip its video's name, without ending."""
    return {str(clip): Path(name).stem for clip, name in rows_of(index.snapshot.segments)["video"].items()}


def grown(copies: Sequence[Facts], captions: Path) -> Iterator[Facts]:
    """The same with how many videos there are, and R@10 with its standard error."""
    table = pd.read_csv(captions, dtype=str).rename(columns={"video_id": "video"})
    table = table[table["kind"] != "query"] if "kind" in table else table
    of_caption = [Path(name).stem for name in table["video"]]
    videos, right = np.unique(of_caption, return_inverse=True)
    encoded: dict[str, Queries] = {}  # models that differ in their clips have one text side
    for copy in copies:
        index = VideoIndex.open(copy["place"])
        text = TextSide(copy["place"] / text_name(index.origin), index.layout)
        if text.made_of not in encoded:
            encoded[text.made_of] = text.encode(table["caption"].tolist())
        hits = found_within(scores(index, encoded[text.made_of], videos.tolist()), right, K)
        r10, error = paired_difference(np.zeros(len(hits)), hits, right)
        count = len({*clips_of(index).values()}.intersection(videos))
        yield {**copy, "videos": count, "share": 100 * count / len(videos), "r10": r10, "error": error}


def scores(index: VideoIndex, queries: Queries, videos: Sequence[str]) -> NDArray[np.float32]:
    """(Q, V) of the best clip of each video; -inf: it has none among the best."""
    column, clips = {name: number for number, name in enumerate(videos)}, clips_of(index)
    place = {clip: column[video] for clip, video in clips.items() if video in column}
    depth = 4 * K * -(-len(clips) // len({*clips.values()}))  # who is behind so many clips is not among K videos
    ranked = index.rank(index.scaled(queries), depth)
    found = np.full((len(queries), len(videos)), -np.inf, np.float32)
    for row, ids, values in zip(found, ranked.ids, ranked.scores):
        for clip, value in reversed([*zip(ids, values)]):  # a video's best clip comes last
            if clip in place:
                row[place[clip]] = value
    return found


def found_within(scores: NDArray[np.float32], right: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(Q,) 100 where the expected rank of the right one of (Q, V) scores is at most k, else 0."""
    own = scores[np.arange(len(right)), right][:, None]
    rank = 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    return np.where(np.isfinite(own[:, 0]) & (rank <= k), 100.0, 0.0)


@rc_context(STYLE)
def draw(growth: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], picture: Path) -> None:
    """R@10 with its standard error, and the share of videos that can be found, over time."""
    keys = ("after", "r10", "error", "share")
    after, r10, error, share = (np.array([0.0, *(row[key] for row in growth), growth[-1][key]]) for key in keys)
    r10[0] = error[0] = share[0] = 0
    after[-1] = facts["done"]
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(after, r10 - error, r10 + error, step="post", color=BLUE, alpha=0.2, linewidth=0)
    for values, colour, words in ((share, GREY, "videos that can be found"), (r10, BLUE, "R@10 of all captions")):
        axes.step(after, values, where="post", color=colour, linewidth=2)
        spot = (after[-1], values[-1])
        axes.annotate(words, spot, (-4, -22), textcoords="offset points", ha="right", color=colour)
    for name, side in zip(TIMES[1:4], ("right", "left", "center")):  # the first two may be close
        axes.axvline(facts[name], color="#c9c9c9", linewidth=0.8, zorder=0)
        axes.text(facts[name], 105, name, ha=side, color=GREY, fontsize=8)
    axes.set(xlim=(0, 1.02 * after[-1]), ylim=(0, 104), ylabel="%")
    axes.set_xlabel("seconds since the command was started", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main()
