"""Look at an index, check it, put it in order, and take clips out of it.

example:
  mee gallery list index/
  mee gallery list index/ --clips --where 'duration < 30 and split == "test"'
  mee gallery verify index/
  mee gallery compact index/ --kind fastscan
  mee gallery remove index/ --where 'video.startswith("old/")' --dry-run
  mee gallery normalise index/ --bank captions.csv

Each form explains itself: mee gallery remove --help
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from index.scanners import Choice, Settings
from mee.errors import InputError
from scripts.console import (
    COULD_NOT,
    DONE,
    Device,
    complain,
    counting_bar,
    errors_as_sentences,
    parse,
    pick_device,
    say,
)
from scripts.gallery_tables import clips_of, measure_recall, print_clips, print_facts, print_index

Index = Annotated[Positional[Path], arg(metavar="INDEX", help="made by mee index")]
Where = Annotated[str | None, arg(metavar="FILTER", constructor=str)]  # tyro reads the word None as nothing


@dataclass(frozen=True, kw_only=True)
class ListForm:
    """What an index holds, in all or clip by clip."""

    index: Index
    clips: bool = False  # one line a clip
    where: Where = None  # the clips for which this holds: 'duration < 30 and split == "test"'
    without_stream: bool = False  # the clips that have no stream, so that nothing finds them
    json: bool = False  # one JSON object a line

    def __post_init__(self) -> None:
        if self.without_stream and (self.clips or self.where is not None):
            raise ValueError("--without-stream lists clips that nothing finds; ask for it alone")

    def run(self) -> int:
        from index.storage import read_snapshot

        snapshot = read_snapshot(self.index)
        if self.without_stream:
            for clip_id in snapshot.without_stream():
                print(json.dumps({"clip_id": clip_id}) if self.json else clip_id)
        elif self.clips or self.where is not None:
            print_clips(snapshot, self.where, as_json=self.json)
        else:
            print_facts(self.index, snapshot, as_json=self.json)
        return DONE


@dataclass(frozen=True, kw_only=True)
class VerifyForm:
    """Read every file and compare it with what was written. Exit code 1: not equal."""

    index: Index

    def run(self) -> int:
        from index.storage import verify_index

        with counting_bar("verify", "bytes") as on_bytes:
            findings = verify_index(self.index, on_bytes)
        for finding in findings:
            complain(f"error: {finding}")
        if findings:
            return COULD_NOT
        print(f"{self.index}: every file is what was written")
        return DONE


@dataclass(frozen=True, kw_only=True)
class CompactForm:
    """Make one segment of all, without what was removed; with --kind, of another kind."""

    index: Index
    kind: Choice | None = None  # how clips are scanned from now on, see mee index --help
    recall: float | None = None  # share of the true best 10 that fastscan shall find
    drop_offsets: bool = False  # take the clips' offsets off: scores are plain from now on

    def __post_init__(self) -> None:
        Settings().changed(self.kind, self.recall)

    def run(self) -> int:
        from index.storage import IndexWriter, read_snapshot

        with IndexWriter.open(self.index) as writer:
            carried = writer.snapshot.offsets is not None
            if self.drop_offsets and not carried:
                say(f"{self.index} carries no offsets")
            settings, drop = (
                writer.snapshot.settings.changed(self.kind, self.recall),
                self.drop_offsets and carried,
            )
            with counting_bar("compact", "clips") as on_compacted:
                writer.compact(settings=settings, drop_offsets=drop, progress=on_compacted)
        measure_recall(self.index)
        snapshot = read_snapshot(self.index)
        print_index(f"{len(snapshot)} clips in {self.index}", self.index, snapshot)
        return DONE


@dataclass(frozen=True, kw_only=True)
class RemoveForm:
    """Take clips out; it asks nothing. What the store still has comes back with mee index."""

    index: Index
    clips: tuple[str, ...] = ()  # ids of clips
    where: Where = None  # the clips for which this holds
    dry_run: bool = False  # only say how many there are

    def __post_init__(self) -> None:
        if bool(self.clips) == (self.where is not None):
            raise ValueError("say which clips to remove: with --clips ID [ID ...], or with --where FILTER")

    def run(self) -> int:
        from index.storage import IndexWriter

        with IndexWriter.open(self.index) as writer:
            clip_ids = list(dict.fromkeys(self.clips))
            if self.where is not None:
                clip_ids = clips_of(writer.snapshot, self.where)["clip_id"].to_pylist()
            unknown = [clip_id for clip_id in self.clips if writer.snapshot.find(clip_id) is None]
            if unknown:
                raise InputError(f"there is no clip '{unknown[0]}' in the index")
            if self.dry_run:
                print(f"{len(clip_ids)} clips would be removed from {self.index}")
                return DONE
            removed, left = writer.remove(clip_ids), len(writer.snapshot)
        print(f"{removed} clips removed from {self.index}; {left} can be found in it now")
        return DONE


@dataclass(frozen=True, kw_only=True)
class NormaliseForm:
    """Give every clip an offset (NNN) that mee search takes off its scores, against clips that are near to every
    sentence. Clips put later have none: mee gallery compact --drop-offsets, then mee index, then this again."""

    index: Index
    bank: Path  # captions of training: a caption table, of which split train counts, or one sentence a line
    neighbours: int = 128  # captions of the bank that a clip's offset is the mean of
    alpha: float = 0.75  # weight of that mean
    model: Path | None = None  # the model, if it was moved since the index was made
    device: Device = "auto"

    def __post_init__(self) -> None:
        if self.neighbours < 1 or not 0 <= self.alpha < math.inf:
            raise ValueError("neighbours must be at least 1, and alpha finite and at least 0")

    def run(self) -> int:
        from index.normalise import normalise

        with counting_bar("offsets", "clips") as on_written:
            facts = normalise(
                self.index,
                self.bank,
                neighbours=self.neighbours,
                alpha=self.alpha,
                device=pick_device(self.device),
                model=self.model,
                progress=on_written,
            )
        print(f"{self.index}: every clip carries an offset of {facts['method']}, made of {facts['bank']}")
        return DONE


@dataclass(frozen=True, kw_only=True)
class GalleryArgs:
    """Arguments of mee gallery."""

    form: OmitSubcommandPrefixes[
        Annotated[ListForm, subcommand("list")]
        | Annotated[VerifyForm, subcommand("verify")]
        | Annotated[CompactForm, subcommand("compact")]
        | Annotated[RemoveForm, subcommand("remove")]
        | Annotated[NormaliseForm, subcommand("normalise")]
    ]


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return parse(GalleryArgs, "gallery", argv, __doc__ or "").form.run()


if __name__ == "__main__":
    sys.exit(main())
