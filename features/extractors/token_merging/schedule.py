"""How many tokens merge in every layer of a transformer.

    text           layer i of L, N tokens at the start                      Bolya et al. 2023, Token Merging
    8              8                                                        constant, section 4.1
    0.066          floor(0.066 N): a share, for inputs of many tokens
    13:falling     floor(2 * 13 * (L - 1 - i) / (L - 1)): 26 … 0            decreasing, section 4.1
    0.066:falling  the same from 2 floor(0.066 N) to 0

At most half of the tokens that may merge do so in one layer, so `per_layer` can give less. Nothing here imports
torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import final

_NUMBER = re.compile(r"(?P<count>[0-9]{1,6})|(?P<share>0?\.[0-9]{1,12})")
_FALLING = ":falling"


@final
@dataclass(frozen=True)
class MergeSchedule:
    """Tokens to merge away in a layer: a count, or a share of the tokens that the first layer sees."""

    amount: Fraction  # whole unless it is a share
    share: bool = False
    falling: bool = False

    def __post_init__(self) -> None:
        fits = self.amount < 1 if self.share else self.amount.denominator == 1
        if self.amount < 0 or not fits:
            raise ValueError(f"merge must be a whole number, or a share of the tokens below 1, got {self.text}")

    @classmethod
    def parse(cls, text: str) -> MergeSchedule:
        """From one of the module's forms: "8", "0.066", either with ":falling"; raises ValueError."""
        number = text.strip().removesuffix(_FALLING)
        found = _NUMBER.fullmatch(number)
        if found is None:
            raise ValueError(
                f"merge '{text}' is neither a number of tokens a layer, such as 8, nor a share of the tokens, "
                "such as 0.066; either may end in :falling"
            )
        return cls(Fraction(number), share=found["share"] is not None, falling=text.strip().endswith(_FALLING))

    @property
    def text(self) -> str:
        """The same schedule always in the same letters; `parse` reads them."""
        number = f"{float(self.amount):.12f}".rstrip("0").rstrip(".") if self.share else str(self.amount)
        return f"{number}{_FALLING}" if self.falling and self.merges else number

    def __str__(self) -> str:
        return self.text

    @property
    def merges(self) -> bool:
        """Whether any tokens merge at all."""
        return self.amount > 0

    def wanted(self, layers: int, tokens: int) -> list[int]:
        """Tokens to merge in each layer, before the limit of half of the ``tokens`` that the first one sees."""
        amount = int(self.amount * tokens) if self.share else int(self.amount)
        if not self.falling or layers == 1:  # one layer: the mean of 2r and 0
            return [amount] * layers
        return [2 * amount * (layers - 1 - layer) // (layers - 1) for layer in range(layers)]

    def per_layer(self, layers: int, tokens: int, protected: int) -> list[int]:
        """Tokens that each layer really merges away; the first ``protected`` never merge."""
        return limited(self.wanted(layers, tokens), tokens, protected)


def limited(wanted: list[int], tokens: int, protected: int) -> list[int]:
    """At most half of the tokens that are there and not protected, layer after layer."""
    merged = []
    for count in wanted:
        merged.append(max(0, min(count, (tokens - protected) // 2)))
        tokens -= merged[-1]
    return merged
