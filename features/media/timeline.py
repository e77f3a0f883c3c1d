"""One clock for a file whose own clock starts anew: transport and program streams joined end to end.

Every packet from the place on where the clock falls back, or leaps ahead, is shifted so that it goes on where the
part before it ended. In other containers time stamps are believed: ten hours between two pictures may be meant.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import av
from av.container import InputContainer

JOINABLE = frozenset(("mpegts", "mpeg"))
FALL_S, LEAP_S = 0.1, 10.0  # of decode times, which otherwise rise steadily; ffmpeg takes the same


class Timeline:
    """Shifts packets. The first walk over a file learns where; a later one applies what is known."""

    def __init__(self, container: InputContainer) -> None:
        self._joinable = container.format.name in JOINABLE
        self._starts: list[int] = []  # bytes into the file, ascending, at which a new part begins
        self._shifts: list[float] = [0.0]  # seconds: one before the first start, then one for each
        self._ends: dict[int, float] = {}  # by track: when the last packet ended, shifted
        self._place = 0

    def learn(self, packet: av.Packet[Any]) -> None:
        """Note where the clock starts anew, and shift the packet."""
        if not self._joinable or packet.dts is None or packet.size == 0:
            return
        own, lasts = float(packet.dts * packet.time_base), float((packet.duration or 0) * packet.time_base)
        place = self._place_of(packet)
        end = self._ends.get(packet.stream_index)
        time = own + self._shift(place)
        if end is not None and not end - FALL_S <= time <= end + LEAP_S:
            self._begin(place, end - own)
            time = end
        self._ends[packet.stream_index] = time + lasts
        self.apply(packet)

    def apply(self, packet: av.Packet[Any]) -> None:
        """Shift a packet of any track as `learn` did."""
        if not self._starts:
            return
        shift = round(self._shift(self._place_of(packet)) / packet.time_base)
        if packet.pts is not None:
            packet.pts += shift
        if packet.dts is not None:
            packet.dts += shift

    def _place_of(self, packet: av.Packet[Any]) -> int:
        if packet.pos is not None:  # the second picture of one unit has none
            self._place = packet.pos
        return self._place

    def _shift(self, place: int) -> float:
        return self._shifts[bisect_right(self._starts, place)]

    def _begin(self, place: int, shift: float) -> None:
        number = bisect_right(self._starts, place)
        if number < len(self._starts):  # the other track told first, by a packet a little further on
            self._starts[number] = place
        else:
            self._starts.append(place)
            self._shifts.append(shift)
