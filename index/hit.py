"""A hit: which moment of which file, its score, and why.

score = sum over the clip's experts of contribution - offset,    contribution = weight * similarity
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Share:
    """What one expert has to say about a hit."""

    weight: float  # mixture weight for this query and this clip's streams; of one sentence they add up to 1
    similarity: float  # inner product in the expert's space, in [-1, 1]

    @property
    def contribution(self) -> float:
        """The expert's part of the score."""
        return self.weight * self.similarity


@dataclass(frozen=True)
class Hit:
    """One answer to one query."""

    rank: int  # the first is 1
    clip_id: str
    video: str
    start_s: float
    end_s: float
    score: float
    experts: dict[str, Share]  # the clip's experts only; missing streams have no entry
    offset: float = 0.0  # what test-time normalisation takes off

    def to_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        content = asdict(self)
        for name, share in self.experts.items():
            content["experts"][name]["contribution"] = share.contribution
        return content
