"""What a browser plays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Playable:
    """How a file can be shown in a page."""

    kind: Literal["video", "audio", "image"]
    direct: bool  # the file as it is, with ranges; else its moments are converted
    mime: str  # of the file where direct, else of what a conversion gives
    zero_s: float = 0.0  # where time 0 of clips is on the player's time line of the file as it is
    why: str = ""  # a part of a sentence, why the file is converted: "its video codec is hevc"


def playable(path: Path) -> Playable:
    """How a file can be shown; reads its header and packets.

    Raises:
        MediaError: it cannot be read.
    """
    raise NotImplementedError
