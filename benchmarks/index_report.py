"""Rows of the benchmark of the index as tables, or one JSON object a line."""

from __future__ import annotations

import json
from typing import Any, final

from benchmarks.index_data import Made

WIDTH = 40  # of a side's name
HEADS = {
    "build": "put s  compact s     tune s   bytes a clip   open ms  first answer ms   own MB  mapped MB",
    "one": "p50 ms     p99     CPU  ratio: min  median    max   recall  held B/clip  read MB  floor ms  x floor",
    "many": "wall s   CPU s  queries/s  ratio: min  median    max   recall   floor s  x floor",
}


@final
class Report:
    """Prints as rows come."""

    def __init__(self, as_json: bool) -> None:
        self.as_json, self.table = as_json, ""

    def machine(self, facts: dict[str, Any]) -> None:
        """What it runs on."""
        if self.as_json:
            print(json.dumps(facts), flush=True)
        else:
            print(*(f"{key}: {value}" for key, value in facts.items()), sep="\n")

    def case(self, made: Made) -> None:
        """Rows of another case follow."""
        self.table = ""
        if not self.as_json:
            sizes = " + ".join(map(str, made.sizes))
            print(f"\n{made.clips:,} clips, {sizes}, {made.missing:.0%} of the streams missing, {made.data}")

    def row(self, row: dict[str, Any]) -> None:
        """One side's figures."""
        if self.as_json:
            print(json.dumps(row), flush=True)
            return
        if row["table"] != self.table:
            self.table = row["table"]
            print(f"\n{'':{WIDTH}}{HEADS[self.table]}")
        shown = {"build": _build, "one": _one, "many": _many}[self.table]
        print(f"{row['side']:{WIDTH}}{shown(row)}", flush=True)


def _build(row: dict[str, Any]) -> str:
    tuned = f"{row['tune_s']:11.1f}" if "tune_s" in row else f"{'':11}"
    opening = f"{1000 * row['open_s']:10.1f}{1000 * row['first_answer_s']:17.1f}"
    memory = f"{row['memory_mb']:9.0f}{row['mapped_mb']:11.0f}"
    return f"{row['put_s']:5.1f}{row['compact_s']:11.1f}{tuned}{row['bytes_a_clip']:15.0f}{opening}{memory}"


def _one(row: dict[str, Any]) -> str:
    times = f"{1000 * row['p50_s']:6.2f}{1000 * row['p99_s']:8.2f}{1000 * row['processor_s']:8.2f}"
    if "recall" not in row:
        return f"{times}{'':49}{row['bytes'] / 1e6:9.1f}   {row['bandwidth'] / 1e9:.1f} GB/s"
    line = f"{times}{_ratio(row['ratio'])}{row['recall']:9.4f}{row['held_a_clip']:13.0f}"
    if not row["bytes"]:  # a graph reads what it reads
        return line
    times_floor = row["processor_s"] / row["floor_s"]
    return f"{line}{row['bytes'] / 1e6:9.1f}{1000 * row['floor_s']:10.2f}{times_floor:9.2f}"


def _many(row: dict[str, Any]) -> str:
    if "operations_a_second" in row:
        return f"{row['p50_s']:6.3f}{row['processor_s']:8.3f}   {row['operations_a_second'] / 1e9:.0f} GFLOP/s"
    rate = row["queries"] / row["p50_s"]
    line = f"{row['p50_s']:6.3f}{row['processor_s']:8.3f}{rate:11.0f}{_ratio(row['ratio'])}{row['recall']:9.4f}"
    if "floor_s" not in row:
        return line
    return f"{line}{row['floor_s']:10.3f}{row['processor_s'] / row['floor_s']:9.2f}"


def _ratio(ratio: dict[str, float]) -> str:
    return f"{ratio['min']:12.2f}{ratio['median']:8.2f}{ratio['max']:7.2f}"
