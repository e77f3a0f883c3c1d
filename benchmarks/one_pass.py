"""One pass over a file for all streams, beside one pass for each stream, as others read: decodings, CPU seconds.

example:
  python -m benchmarks.one_pass CLIPS
  python -m benchmarks.one_pass CLIPS --streams appearance motion audio face --rounds 9

For each stream alone, and for all in one pass, what is spent on

  pictures     opening, finding out about the file, and decoding its pictures
  sound        decoding and resampling the sound
  scaling      turning decoded pictures into RGB of the size that a stream asks for
  extracting   the extractor, on clips that are in memory

Each in a new process for each round, taking turns, one thread; imports and one file to warm up are not counted.
The most demanding stream has the most expensive pictures; scaling, sound and extracting are a stream's own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tyro.conf import Positional

from benchmarks.timing import apart_in_turns, arguments, print_table, spread

ALL = "all"
PARTS = ("pictures", "sound", "scaling", "extracting")
COLUMNS = {"streams": "{side}", "tracks opened": "{opened:.0f}", "pictures decoded": "{decoded:.0f}"}
COLUMNS |= {part: f"{{{part}:.3f}}" for part in (*PARTS, "total")}
RATIOS = (
    "pictures for all / for the most demanding stream",
    "one pass / (pictures for the most demanding stream + all streams' own)",
    "one by one / one pass",
)
Run = dict[str, float]


@dataclass(frozen=True)
class Args:
    folder: Positional[Path]  # files to read
    streams: tuple[str, ...] = ("appearance", "motion", "audio", "face")
    rounds: int = 7


def main() -> None:
    args = arguments(Args, __doc__)
    os.environ["OMP_NUM_THREADS"] = "1"  # of each side's process
    files = [file for file in sorted(args.folder.iterdir()) if file.suffix in (".mp4", ".mkv", ".webm", ".avi")]
    sides = {**{stream: (stream,) for stream in args.streams}, ALL: args.streams}
    runs = apart_in_turns(_timed, {side: (streams, files) for side, streams in sides.items()}, args.rounds)
    rows = {side: {key: median(run[key] for run in own) for key in own[0]} for side, own in runs.items()}
    rows["one by one"] = {key: sum(rows[stream][key] for stream in args.streams) for key in rows[ALL]}
    print(f"{len(files)} files, {args.rounds} rounds; CPU s, medians\n")
    print_table(COLUMNS, ({"side": side, **row} for side, row in rows.items()), 10, threads=1)
    print()
    for name, values in zip(RATIOS, zip(*(_ratios(*of_round) for of_round in zip(*runs.values())))):
        print(name + ": {min:.2f}, {median:.2f}, {max:.2f} (min, median, max)".format_map(spread(values)))


def _ratios(*of_round: Run) -> tuple[float, float, float]:
    """RATIOS of what each stream costs alone, and, the last, all in one pass."""
    *alone, whole = of_round
    costliest = max(run["pictures"] for run in alone)
    own = sum(run["total"] - run["pictures"] for run in alone)
    one_by_one = sum(run["total"] for run in alone)
    return whole["pictures"] / costliest, whole["total"] / (costliest + own), one_by_one / whole["total"]


def _timed(streams: Sequence[str], files: Sequence[Path]) -> Run:
    """What one pass over all files costs for these streams."""
    from features.extractors.base import Extractor
    from features.extractors.registry import make_extractor
    from features.job.process import use_one_thread
    from features.media.clip import Need
    from features.media.reader import read_clips

    use_one_thread()
    extractors: list[Extractor] = [make_extractor(stream) for stream in streams]
    needs: tuple[Need, ...] = tuple(dict.fromkeys(need for extractor in extractors for need in extractor.needs))
    spent = _counting()

    def read_all(which: Sequence[Path]) -> None:
        spent.update(dict.fromkeys(spent, 0.0))
        begun = time.process_time()
        for file in which:
            for clip in read_clips(file, file.name, needs):
                before = time.process_time()
                for extractor in extractors:
                    extractor.extract([clip])
                spent["extracting"] += time.process_time() - before
        spent["total"] = time.process_time() - begun
        spent["pictures"] = spent["total"] - sum(spent[part] for part in PARTS[1:])

    read_all(files[:1])  # warms up
    read_all(files)
    return spent


def _counting() -> Run:
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
            try:
                return what(*words)
            finally:
                spent[part] += time.process_time() - before

        return done

    Decoder.frames = counted  # type: ignore[method-assign,assignment]
    pyav_reader.upright = timed(upright, "scaling")
    SoundTrack.read = timed(sound, "sound")  # type: ignore[method-assign]
    SoundTrack.__init__ = timed(begin, "sound")  # type: ignore[method-assign]
    return spent


if __name__ == "__main__":
    main()
