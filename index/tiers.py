"""Which segments are written anew together with what comes, so that they stay few and each clip is seldom copied.

    level(n) = floor(log4(n / 1024)), 0 at least

Of segments of one level or below, the fourth takes the others with it; so there are at most three for each
level, O(log N) in all, and a clip is copied O(log N) times. One of which less than half still counts goes along.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from index.segment import Segment

FANOUT, FLOOR = 4, 1024


def level_of(clips: int) -> int:
    """Of a segment of so many clips."""
    return max(0, math.floor(math.log(max(clips, 1) / FLOOR, FANOUT)))


def to_merge(segments: Sequence[Segment], coming: int) -> list[Segment]:
    """Those that go into one new segment with so many clips that come."""
    chosen = [segment for segment in segments if 2 * len(segment) < len(segment.table)]
    left = [segment for segment in segments if segment not in chosen]
    total = coming + sum(map(len, chosen))
    while True:
        peers = [segment for segment in left if level_of(len(segment)) <= level_of(total)]
        if len(peers) < FANOUT - 1:
            return chosen
        chosen += peers
        left = [segment for segment in left if segment not in peers]
        total += sum(map(len, peers))
