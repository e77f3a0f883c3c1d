"""The process that reads a library for `mee open`: it follows the folder, runs the passes, keeps the index.

Its stdout is one JSON object a line, as scripts.serve.progress takes them. It stops in order when its stdin is
closed. What can pass, such as a full disk or a drive that is not connected, is said, and it goes on after it.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, final

from tyro.conf import OmitArgPrefixes, Positional, arg

from features.errors import InputError as FeaturesInputError
from features.extractors import PRESETS
from features.job import Follower, Seen
from features.media import Library, Selection, Stamp, stamp_of
from mee.errors import InputError
from mee.files import read_json, whole_file
from scripts.console import DONE, parse, prepare_process, sigterm_stops
from scripts.open.messages import Away, Messages, causes, passing, reason_and_advice
from scripts.open.passes import (
    NO_TEXT_SIDE,
    USUAL_S,
    Estimate,
    Pass,
    choose_preset,
    has_speech,
    hub_reached,
    is_here,
    offline_here,
    passes_of,
    stay_offline,
)
from scripts.open.state import LibraryState
from scripts.open.upkeep import Upkeep
from scripts.serve import FileState

if TYPE_CHECKING:
    from features.job import Job, JobReport

log = logging.getLogger(__name__)

BROUGHT_S, BROUGHT_CLIPS, APART = 20.0, 50, 10  # between updates of the index; times as long as one takes
EARLY_S = 10.0  # of a first look, after which its first clips become searchable
PASS_S = 20.0  # that a pass goes on, at least, where there are new files
AGAIN_S, LATER_S = 5.0, 60.0  # until what has a problem is tried again, first and at most
IDLE_S = 30.0  # between looks where nothing happens
NICE = 10  # the page comes first
KEPT_S = 24 * 3600.0  # what is read of a file that is gone
LOOKED = "first look"  # as a stream


class NewFiles(Exception):
    """There are new files, of which a first look comes first."""


@final
class Conductor:
    """Reads one library until it is stopped."""

    def __init__(self, folder: Path, state: LibraryState, selection: Selection, preset: str, out: TextIO) -> None:
        """preset: as `choose_preset` takes it; out: for the messages."""
        self.state, self.wanted, self.follower = state, preset, Follower(folder, selection)
        self.messages, self.upkeep, self.estimate = Messages(out), Upkeep(state), Estimate()
        self.preset, self.passes = "", tuple[Pass, ...]()
        self.seen = Seen(Library(folder, (), Counter()))
        self.gone: dict[str, float] = {}  # unix time since when a video is missing
        self._done: dict[str, set[str]] = {}  # videos by stream
        self._failed: dict[str, str] = {}  # why
        self._seconds: dict[str, float] = {}  # of each video
        self._usual = USUAL_S
        self._tried: defaultdict[str, dict[Pass, Stamp | None]] = defaultdict(dict)  # where it failed, as it was
        self._new = self._fewer = self._vanished = self._declared = self._away = False
        self._todo = True
        self._brought, self._pause = time.monotonic(), AGAIN_S

    def run(self) -> None:
        """Follow the folder; only an exception ends it."""
        with self.follower:
            while True:
                try:
                    self.round()
                    while not self.follower.changed() and not self._expired():
                        self.follower.wait(IDLE_S)
                except NewFiles:
                    continue
                except Exception as error:
                    sentence = passing(error, self.state.directory)
                    if not sentence or isinstance(error, BrokenPipeError):
                        raise
                    log.warning("%s", sentence)
                    self._todo = True
                    self.messages.send(now=True, problem=sentence, left_s=None)
                    self.follower.wait(self._pause)
                    self._pause = min(2 * self._pause, LATER_S)

    def round(self) -> None:
        """Look at the folder, and read what is not read yet.

        Raises:
            NewFiles, Away, InputError, OSError: before all is read.
        """
        if not self.passes:
            self._read_stores()
            with suppress(OSError, InputError):
                self.gone = dict(read_json(self.state.directory / "gone.json"))
        self._look()
        if not self.passes:
            self._choose()
            if self.upkeep.clips and self.passes:  # what has gone in the meantime is hidden
                self._bring_up()
        expired = self._expired()
        if not (self._todo or self._fewer or expired) or not self.passes:
            self.messages.send(now=True)
            return
        self.estimate.share = 0.0 if self._new else self.estimate.share
        self._new, notes = False, list[str]()
        self.messages.send(now=True, clips=self.upkeep.clips)
        for number, each in enumerate(self.passes if self._todo else ()):
            try:
                self._pass(each)
            except FeaturesInputError as error:
                if number < 2 or any(isinstance(one, OSError) for one in causes(error)):
                    raise
                notes.append(f"{each.step} is left out: {error}")
        if self._new:  # they came after passes that they need
            raise NewFiles
        for directory in (self.state.first, self.state.store):
            self._drop(directory, expired)
        self._bring_up(final=True)
        self._read_stores()
        self._note_gone()
        self._todo, self._fewer, self._pause = False, False, AGAIN_S
        note, done = " ".join(notes) or self.messages.status.note, not self.seen.copying
        step = "all is read" if done else "waiting for files that are still copied"
        self.messages.send(now=True, step=step, share=1.0, left_s=0.0, done=done, problem="", note=note)

    def _choose(self) -> None:
        """Decide what the library is read with."""
        self.preset, note = choose_preset(self.wanted, self.state.record().get("read_with"))
        if self.preset:
            self._read_with(self.preset, note)
        else:
            self.messages.send(problem=note)

    def _read_with(self, preset: str, note: str) -> None:
        speech = preset != NO_TEXT_SIDE and has_speech()
        self.preset, self.passes = preset, passes_of(preset, speech=speech)
        if not all(is_here(word) for each in self.passes for word in each.words) and not hub_reached():
            stay_offline()
        self.state.write(read_with=preset)
        self.messages.send(note=note)

    def _look(self) -> None:
        """See which files there are; those that are gone are hidden at once."""
        seen = self.follower.look()
        if seen.problem:
            self._away = True
            raise Away(seen.problem)
        if self._away:
            self.messages.send(problem="")
        new = set(seen.library.videos).difference(self.seen.library.videos)
        self.seen, self._vanished, self._away = seen, False, False
        self._new, self._todo = self._new or bool(new), self._todo or bool(new)
        self._note_gone()

    def _note_gone(self) -> None:
        """Compare what is read with what is there, and show it."""
        now, read = time.time(), set[str]().union(*self._done.values())
        gone = {video: self.gone.get(video, now) for video in read if self.seen.is_gone(video)}
        if gone != self.gone:
            with whole_file(self.state.directory / "gone.json", "names of files") as aside:
                aside.write_text(json.dumps(gone), encoding="utf-8")
            hides, self.gone, self._fewer = gone.keys() != self.gone.keys(), gone, True
            if hides and self.upkeep.clips and self.passes:
                self._bring_up()
        known = {*self.seen.library.videos, *self.seen.copying, *read}
        for video in self.messages.files.keys() - known:
            self.messages.drop(video)
        for video in sorted(known):
            self.messages.show(self._file(video))
        self.messages.send()

    def _expired(self) -> list[str]:
        return [video for video, since in self.gone.items() if time.time() > since + KEPT_S]

    def _file(self, video: str) -> FileState:
        """How a file is."""
        streams = tuple(stream for stream, videos in self._done.items() if video in videos)
        if video in self.gone or video in self.seen.copying:
            return FileState(video=video, state="gone" if video in self.gone else "copying", streams=streams)
        if video in self._failed and not streams:
            why, advice = reason_and_advice(self._failed[video])
            return FileState(video=video, state="problem", why=why, advice=advice)
        done = self.passes and not any(self._lacks(each, video) for each in self.passes)
        return FileState(
            video=video, state="done" if done else "reading" if streams else "waiting", streams=streams
        )

    def _lacks(self, each: Pass, video: str) -> bool:
        """Whether a pass has something to read of a file."""
        if each.first_look and video in self._done.get(LOOKED, ()):
            return False
        return not all(video in self._done.get(stream, ()) for stream in each.streams) and not self._skips(
            each, video
        )

    def _skips(self, each: Pass, video: str) -> bool:
        """Whether a file has failed, and is as it was then."""
        now = stamp_of(self.seen.library.root / video) if video in self._tried else None
        failed = {one for one, stamp in self._tried.get(video, {}).items() if stamp == now and stamp is not None}
        useless = not any(video in videos for stream, videos in self._done.items() if stream != LOOKED)
        return each in failed or (useless and any(not one.first_look for one in failed))

    def _pass(self, each: Pass) -> None:
        """Read all files by one pass."""
        from features.job import Job, PrecomputeConfig

        directory = self.state.first if each.first_look else self.state.store
        known = self._done.get(LOOKED, set()) if each.first_look else None
        videos = [video for video in self.seen.library.videos if not self._skips(each, video)]
        if known is not None:  # no first look at what is read already
            videos = [video for video in videos if video in known or self._lacks(each, video)]
        library, config = replace(self.seen.library, videos=tuple(videos)), PrecomputeConfig(streams=each.words)
        if any(self._lacks(each, video) for video in videos):  # before its models are downloaded and loaded
            self.messages.send(now=True, step=each.step, done=False)
        try:
            job = Job(library, directory, config, first_look=each.first_look)
        except FeaturesInputError as error:
            if not (self.wanted == "auto" and self.preset == "clip" and offline_here()) or self._done:
                raise
            for place in (self.state.first, self.state.store):
                shutil.rmtree(place, ignore_errors=True)
            self._read_with("offline", f"read by the models on this machine, the preset offline, since {error}")
            raise NewFiles from error
        if job.tasks:
            self.messages.send(now=True, step=each.step, done=False)
        for video in job.changes.changed:
            for done in self._done.values():
                done.discard(video)
        try:
            self._run(each, job)
        except NewFiles:
            self._end(job)
            raise
        self._end(job)
        if each.first_look or job.tasks:
            self._bring_up(final=True)  # what is usual is of all clips that are read so far

    def _end(self, job: Job) -> None:
        """Take note of what a job has made; what it found under another name is dropped under the old one."""
        renamed = [old for old, _ in job.changes.taken.values() if self.seen.is_gone(old)]
        self._drop(job.directory, renamed)
        self._read_stores()
        self._note_gone()
        with suppress(OSError, AttributeError):  # what frames took is given back to the system
            ctypes.CDLL(None).malloc_trim(0)

    def _run(self, each: Pass, job: Job) -> None:
        """Run a job; meanwhile the index is brought up, and the folder is followed."""
        videos = [video for video in self.seen.library.videos if video not in self._failed]
        ahead = self.passes[self.passes.index(each) + 1 :]
        todo = {one: sum(self._length(video) for video in videos if self._lacks(one, video)) for one in ahead}
        todo[each] = sum(self._length(task.video) for task in job.tasks)
        self.estimate.begin(each, todo, dict.fromkeys(self.passes, sum(map(self._length, videos))))
        if job.tasks:
            self.messages.send(**self.estimate.status(0.0))
        began, seen, brought = time.monotonic(), 0, 0

        def on_report(report: JobReport) -> None:
            nonlocal seen, brought
            now = time.monotonic()
            for outcome in report.outcomes[seen:]:
                self._note(each, outcome.video, outcome.note, failed=not outcome.clips)
            seen = len(report.outcomes)
            share = max(seen / len(job.tasks), min(1.0, report.seconds_so_far / max(todo[each], 1e-3)))
            self.messages.send(**self.estimate.status(share * todo[each]), problem="")
            if self.follower.changed() or self._vanished:
                self._look()
            if self._new and not each.first_look and now > began + PASS_S:
                raise NewFiles
            rest = (now - began) * (len(job.tasks) / max(1, seen) - 1)
            early = not self.upkeep.clips and report.clips_so_far and min(now - began, rest) > EARLY_S
            since, enough = now - self._brought, report.clips_so_far - brought >= BROUGHT_CLIPS
            if early or ((since > BROUGHT_S or enough) and since > APART * self.upkeep.took):
                brought = report.clips_so_far
                job.flush()
                self._bring_up()
                self.estimate.skip(self.upkeep.took)

        job.run(on_report, on_report)

    def _note(self, each: Pass, video: str, note: str, *, failed: bool) -> None:
        """Take note of how a file went in a pass."""
        if failed:
            stamp = self._tried[video][each] = stamp_of(self.seen.library.root / video)
            self._vanished = self._vanished or stamp is None  # that is not its fault
            if stamp is not None:
                self._failed[video] = note
        else:
            for stream in (LOOKED,) if each.first_look else each.streams:
                self._done.setdefault(stream, set()).add(video)
        if video in self.messages.files and video not in self.gone:
            self.messages.show(self._file(video))

    def _length(self, video: str) -> float:
        """Seconds of a video, or a guess."""
        return self._seconds.get(video, self._usual)

    def _bring_up(self, *, final: bool = False) -> None:
        """Make searchable what is read of the files that are there."""
        from features.job import PrecomputeConfig, declare_streams

        if self.preset == NO_TEXT_SIDE:
            return
        if not self._declared:  # so that later streams make no other model
            words = [*PRESETS[self.preset].words, *(word for each in self.passes for word in each.words)]
            here = tuple(word for word in dict.fromkeys(words) if is_here(word))
            declare_streams(self.state.store, PrecomputeConfig(streams=here))
            self._declared = True
        there = set[str](self.seen.library.videos).union(self.seen.copying, *self._done.values())
        self.upkeep.bring_up(there - self.gone.keys(), final=final)
        self._brought = time.monotonic()
        self.messages.send(now=True, clips=self.upkeep.clips, note=self.upkeep.note or self.messages.status.note)

    def _drop(self, directory: Path, videos: Sequence[str]) -> None:
        """Forget what a store has of some videos."""
        from features.store import STORE_FILE, FeatureStore, drop_videos

        if videos and (directory / STORE_FILE).is_file():
            drop_videos(FeatureStore(directory), videos)

    def _read_stores(self) -> None:
        """Read what is done, what has failed, and how long videos are."""
        from features.store import STORE_FILE, FeatureStore, are_failures

        self._done, self._failed, self._seconds = {}, {}, {}
        for directory in (self.state.first, self.state.store):
            if (directory / STORE_FILE).is_file():
                store = FeatureStore(directory)
                bad, looked = are_failures(store.rows), directory == self.state.first
                streams = ["appearance"] if looked else list(store.manifest.streams)
                self._done |= {LOOKED if looked else stream: store.done(stream) for stream in streams}
                self._failed |= dict(zip(store.rows.loc[bad, "video"], store.rows.loc[bad, "note"]))
                self._seconds |= {
                    str(v): float(s) for v, s in store.rows[~bad].groupby("video")["end_s"].max().items()
                }
        self._done = {stream: videos for stream, videos in self._done.items() if videos}
        self._usual = sum(self._seconds.values()) / len(self._seconds) if self._seconds else USUAL_S


@dataclass(frozen=True, kw_only=True)
class ConductorArgs:
    """Arguments of the process."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]  # of videos
    state: Annotated[Positional[Path], arg(metavar="STATE_DIR")]  # what is kept of it
    preset: str = "auto"  # as of mee open
    select: OmitArgPrefixes[Selection] = field(default_factory=Selection)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until stdin is closed; returns 0."""
    prepare_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for mee open, which closes our stdin
    args = parse(ConductorArgs, "open", argv, __doc__ or "")
    os.nice(NICE)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take the workers' cores
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    with sigterm_stops(), suppress(KeyboardInterrupt, BrokenPipeError):
        threading.Thread(target=_stop_at_end, args=(threading.get_ident(),), daemon=True).start()
        Conductor(args.folder, LibraryState(args.state), args.select, args.preset, out).run()
    return DONE


def _stop_at_end(thread: int) -> None:
    """Stop a thread when stdin is closed, whatever it waits for."""
    while os.read(0, 1 << 12):
        pass
    signal.pthread_kill(thread, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
