"""What `mee store list` prints: a table of streams, of clips, or of what failed; or JSON, one object a line.

Clips may be millions: their lines are put together column by column, not cell by cell.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from scripts.console import print_table

if TYPE_CHECKING:
    import pandas as pd

    from features.store.feature_store import FeatureStore

BATCH = 50_000  # clips printed at once
UNITS = ("B", "kB", "MB", "GB", "TB")


def size_of(count: float) -> str:
    """Bytes for people: 12.3 MB."""
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {UNITS[-1]}"


def print_streams(store: FeatureStore, *, as_json: bool) -> None:
    """One line a stream, in two tables: how much there is, and what made it."""
    from features.store.rows import are_failures
    from features.store.summary import summarise

    summaries = summarise(store)
    if as_json:
        for summary in summaries:
            print(json.dumps(summary.to_dict()))
        return
    failures = int(are_failures(store.rows).sum())
    clips = store.clips
    cut = store.manifest.clip_seconds
    rows = [
        [
            each.stream,
            f"{each.size}",
            f"{each.present}",
            f"{each.missing}",
            f"{each.unknown}",
            f"{100 * each.present / max(1, each.present + each.missing):.0f} %",
            f"{each.rows}",
            "yes" if each.timed else "no",
            size_of(each.bytes),
        ]
        for each in summaries
    ]
    title = (
        f"{store.name}: {len(clips)} usable clips of {clips['video'].nunique()} videos, {failures} failed; cut by "
        f"{'the default rule' if cut is None else f'{cut:g} s'}"
    )
    header = ["stream", "size", "present", "missing", "unknown", "share", "rows", "times", "on disk"]
    print_table(title, header, rows)
    print()
    made = [
        [
            each.stream,
            each.model or each.extractor.removeprefix("features.").removeprefix("pretrained."),
            (each.revision or "-")[:12],
            ", ".join(each.sampling) or "-",
            f"{each.fingerprint} v{each.version}",
            each.code.get("mee", "-"),
        ]
        for each in summaries
    ]
    print_table("", ["stream", "made by", "revision", "reads", "fingerprint", "mee"], made, words=6)


def print_failed(store: FeatureStore, *, as_json: bool) -> None:
    """One line a video that cannot be used."""
    if as_json:
        for video, why in store.failed.items():
            print(json.dumps({"video": video, "why": why}))
        return
    title = f"{len(store.failed)} videos of {store.name} cannot be used"
    print_table(title, ["video", "why"], [[video, why] for video, why in store.failed.items()], words=2)


def print_clips(store: FeatureStore, *, as_json: bool) -> None:
    """One line a clip or failure."""
    rows = store.rows.reset_index()
    if as_json:
        for first in range(0, len(rows), BATCH):
            print(rows[first : first + BATCH].to_json(orient="records", lines=True, force_ascii=False), end="")
        return
    columns = _in_words(rows, list(store.manifest.streams))
    widths = {name: max(len(name), int(values.str.len().max() or 0)) for name, values in columns.items()}
    last = list(columns)[-1]
    print("  ".join(name if name == last else name.ljust(widths[name]) for name in columns))
    for first in range(0, len(rows), BATCH):
        cells = (
            values[first : first + BATCH].str.pad(0 if name == last else widths[name], "right").tolist()
            for name, values in columns.items()
        )
        print(*map("  ".join, zip(*cells)), sep="\n")


def _in_words(rows: pd.DataFrame, streams: list[str]) -> dict[str, pd.Series[str]]:
    """The columns for people."""

    def text(values: pd.Series[str]) -> pd.Series[str]:
        return values.astype("string").fillna("-").replace("", "-")

    def rounded(name: str, digits: int) -> pd.Series[str]:
        return text(rows[name].round(digits).astype("Float64").astype("string"))

    picture = rows["width"].astype("string") + "x" + rows["height"].astype("string")
    sound = rows["audio_codec"].astype("string") + " " + rows["audio_rate"].astype("string")
    return {
        "clip": text(rows["clip_id"]),
        "start": rounded("start_s", 2),
        "end": rounded("end_s", 2),
        "of file": rounded("file_seconds", 2),
        "picture": text(picture),
        "fps": rounded("fps", 2),
        "video": text(rows["video_codec"]),
        "sound": text(sound),
        "bytes": text(rows["file_bytes"]),
        "sha256": text(rows["file_sha256"].astype("string").str[:12]),
        "reader": text(rows["reader"]),
        **{stream: text(rows[stream].astype("string").fillna("unknown")) for stream in streams},
        "verdict": text(rows["verdict"]),
        "note": text(rows["note"]),
    }
