"""One pass over a file for all streams, beside one pass for each stream, as others read: decodings, CPU seconds.

example:
  python -m benchmarks.one_pass CLIPS
  python -m benchmarks.one_pass CLIPS --streams appearance motion audio face --rounds 9 --json

For each stream alone, and for all in one pass, what is spent on

  pictures     opening, finding out about the file, and decoding its pictures
  sound        decoding and resampling the sound
  scaling      turning decoded pictures into RGB of the size that a stream asks for
  extracting   the extractor, on clips that are in memory

Each in a process of its own for each round, taking turns, one thread; imports and one file to warm up are not
counted. The most demanding stream is the one with the dearest pictures; scaling, sound and extracting are a
stream's own. Pictures decoded are counted as they leave the decoder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ALL = "all"
PARTS = ("pictures", "sound", "scaling", "extracting")
RATIOS = {
    "pictures for all / for the most demanding stream": "pictures",
    "one pass / (pictures for the most demanding stream + all streams' own)": "whole",
    "one by one / one pass": "saved",
}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="files to read")
    parser.add_argument("--streams", nargs="+", default=["appearance", "motion", "audio", "face"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the streams of one round, for the parent
    args = parser.parse_args(argv)
    files = [file for file in sorted(args.folder.iterdir()) if file.suffix in (".mp4", ".mkv", ".webm", ".avi")]
    if args.one:
        print(json.dumps(_timed(args.one.split(), files)))
        return 0
    report = _report(args.folder, args.streams, args.rounds)
    if args.json:
        print(json.dumps({"files": len(files), "load": os.getloadavg()[0], **report}))
        return 0
    print(f"{len(files)} files, {args.rounds} rounds, load {os.getloadavg()[0]:.1f}; CPU s, medians\n")
    print(f"{'':12}{'tracks opened':>14}{'pictures decoded':>18}", *(f"{part:>11}" for part in (*PARTS, "total")))
    for name, row in report["rows"].items():
        spent = [*(row[part] for part in PARTS), _total(row)]
        print(f"{name:12}{row['opened']:14.0f}{row['decoded']:18.0f}", *(f"{seconds:11.3f}" for seconds in spent))
    for name, key in RATIOS.items():
        low, middle, high = report[key]
        print(f"{name}: {low:.2f}, {middle:.2f}, {high:.2f} (min, median, max)")
    return 0


def _report(folder: Path, streams: Sequence[str], rounds: int) -> dict[str, Any]:
    sides = {**{stream: stream for stream in streams}, ALL: " ".join(streams)}
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(rounds):
        order = list(sides)
        for side in order[number % len(order) :] + order[: number % len(order)]:
            command = [sys.executable, "-m", "benchmarks.one_pass", str(folder), "--one", sides[side]]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[side].append(json.loads(done.stdout.splitlines()[-1]))
    rows = {
        side: {key: statistics.median(run[key] for run in of_side) for key in of_side[0]}
        for side, of_side in runs.items()
    }
    one_by_one = {key: sum(rows[stream][key] for stream in streams) for key in rows[ALL]}
    rounds_of = [{side: of_side[number] for side, of_side in runs.items()} for number in range(rounds)]
    return {
        "rows": {**rows, "one by one": one_by_one},
        **{key: _spread([ratios(each, streams)[key] for each in rounds_of]) for key in RATIOS.values()},
    }


def ratios(round_: dict[str, dict[str, float]], streams: Sequence[str]) -> dict[str, float]:
    """Of one round: cost by part of each stream, and of all in one pass."""
    dearest = max(round_[stream]["pictures"] for stream in streams)
    own = sum(_total(round_[stream]) - round_[stream]["pictures"] for stream in streams)
    return {
        "pictures": round_[ALL]["pictures"] / dearest,
        "whole": _total(round_[ALL]) / (dearest + own),
        "saved": sum(_total(round_[stream]) for stream in streams) / _total(round_[ALL]),
    }


def _total(run: dict[str, float]) -> float:
    return sum(run[part] for part in PARTS)


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _timed(streams: Sequence[str], files: Sequence[Path]) -> dict[str, float]:
    """What one pass over all files costs for these streams."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from features.extractors.base import Extractor
    from features.extractors.registry import make_extractor
    from features.job.process import use_one_thread
    from features.media.clip import Need
    from features.media.cutting import Cutting
    from features.media.reader import open_reader

    use_one_thread()
    extractors: list[Extractor] = [make_extractor(stream) for stream in streams]
    needs: tuple[Need, ...] = tuple(dict.fromkeys(need for extractor in extractors for need in extractor.needs))

    spent = _counting()

    def read_all(which: Sequence[Path]) -> None:
        for file in which:
            clips = open_reader("pyav", file).read(file, file.name, needs, Cutting())
            while True:
                before = time.process_time()
                clip = next(clips, None)
                spent["pictures"] += time.process_time() - before  # the rest is taken off where it is counted
                if clip is None:
                    break
                before = time.process_time()
                for extractor in extractors:
                    extractor.extract([clip])
                spent["extracting"] += time.process_time() - before

    read_all(files[:1])
    spent.update(dict.fromkeys(spent, 0.0))
    read_all(files)
    return spent


def _counting() -> dict[str, float]:
    """Count and time, from now on, what readers do."""
    from features.media import pyav_reader
    from features.media.container import Decoder
    from features.media.sound import SoundTrack

    spent = dict.fromkeys(("opened", "decoded", *PARTS), 0.0)
    frames, upright, sound, begin = Decoder.frames, pyav_reader.upright, SoundTrack.read, SoundTrack.__init__

    def counted(self: Any, *words: Any) -> Iterator[Any]:
        spent["opened"] += 1
        for timed in frames(self, *words):
            spent["decoded"] += self.stream.type == "video"
            yield timed

    def timed(what: Callable[..., Any], part: str) -> Callable[..., Any]:
        def done(*words: Any) -> Any:
            before = time.process_time()
            result = what(*words)
            seconds = time.process_time() - before
            spent[part] += seconds
            spent["pictures"] -= seconds
            return result

        return done

    Decoder.frames = counted  # type: ignore[method-assign,assignment]
    pyav_reader.upright = timed(upright, "scaling")
    SoundTrack.read = timed(sound, "sound")  # type: ignore[method-assign]
    SoundTrack.__init__ = timed(begin, "sound")  # type: ignore[method-assign]
    return spent


if __name__ == "__main__":
    sys.exit(main())
