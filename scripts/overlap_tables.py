"""What mee overlap found, as a table, as JSON lines, and as a file.

train_video test_video why bits|similarity train_s test_s        .csv or .parquet, one row a pair
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.whole import write_whole
from mee.errors import InputError
from scripts.console import clock, print_table, say

if TYPE_CHECKING:
    from mee.near_duplicates.overlap import NearPair, Overlap

SUFFIXES = (".csv", ".parquet")


def check_out(path: Path, *, overwrite: bool) -> None:
    """Refuse, before the work, a file that could not be written after it.

    Raises:
        InputError: it is neither .csv nor .parquet, or it is there already.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {path}: pairs are written to {' or '.join(SUFFIXES)}, not '{path.suffix}'")
    if path.is_dir() or (path.exists() and not overwrite):
        raise InputError(
            f"'{path}' is there already; name another file, or put this one in its place with --overwrite"
        )


def print_overlap(overlap: Overlap, by: str, *, as_json: bool) -> None:
    """Print the pairs, and in a sentence what they come to; of JSON lines, the sentence goes to stderr."""
    if as_json:
        for pair in overlap.pairs:
            print(json.dumps(_row(pair, overlap)))
        say(summary(overlap, by))
        return
    if overlap.pairs:
        header = [
            "training video",
            "test video",
            "",
            "bits apart" if overlap.measure == "bits" else overlap.measure,
        ]
        print_table("", [*header, "at", "at"], [_cells(pair, overlap) for pair in overlap.pairs], words=3)
        print()
    print(summary(overlap, by))


def summary(overlap: Overlap, by: str) -> str:
    """What was found, of how much, and by which rule."""
    rule = (
        f"frames at most {overlap.threshold:g} bits apart"
        if overlap.measure == "bits"
        else f"'{by}' at least {overlap.threshold:g} similar"
    )
    same = sum(pair.why != "alike" for pair in overlap.pairs)
    of_these = f", {same:,} of those listed the same file or name" if same else ""
    have = "video has" if len(overlap.blank) == 1 else "videos have"
    blank = f" {len(overlap.blank):,} {have} nothing to compare but name and content." if overlap.blank else ""
    return (
        f"{len(overlap.leaked):,} of {overlap.test:,} test videos have a near-duplicate among {overlap.train:,} "
        f"training videos: {overlap.found:,} of {overlap.compared:,} pairs ({rule}{of_these}).{blank}"
    )


def write_overlap(overlap: Overlap, path: Path) -> None:
    """Write the pairs, whole or not at all."""
    import pandas as pd

    columns = ["train_video", "test_video", "why", overlap.measure, "train_s", "test_s"]
    kinds: dict[str, Any] = dict.fromkeys(columns[:3], "string") | dict.fromkeys(columns[3:], "Float64")
    if overlap.measure == "bits":
        kinds["bits"] = "Int64"
    table = pd.DataFrame([_row(pair, overlap) for pair in overlap.pairs], columns=columns).astype(kinds)
    content = io.BytesIO()
    if path.suffix.lower() == ".csv":
        table.to_csv(content, index=False)
    else:
        table.to_parquet(content, index=False)
    write_whole(path, content.getvalue())


def _row(pair: NearPair, overlap: Overlap) -> dict[str, Any]:
    value = None if pair.value is None else int(pair.value) if overlap.measure == "bits" else round(pair.value, 6)
    moments = [None if second is None else round(second, 3) for second in (pair.train_s, pair.test_s)]
    return {
        "train_video": pair.train, "test_video": pair.test, "why": pair.why, overlap.measure: value,
        "train_s": moments[0], "test_s": moments[1],
    }  # fmt: skip


def _cells(pair: NearPair, overlap: Overlap) -> list[str]:
    value = (
        "-" if pair.value is None else f"{pair.value:.0f}" if overlap.measure == "bits" else f"{pair.value:.3f}"
    )
    moments = ["-" if second is None else clock(second) for second in (pair.train_s, pair.test_s)]
    return [pair.train, pair.test, pair.why, value, *moments]
