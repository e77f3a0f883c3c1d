"""What a store has that an index has not, and the other way round.

    new        in the store only
    changed    in both, but made from another file or stream since, or with other metadata now
    left       in the index only

Metadata that is given now counts for the clips it names, and the others keep what they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mee.errors import InputError
from scripts.index_facts import FILE, PLACE, VERSION

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from index.storage.snapshot import Snapshot

OWN = (*PLACE, VERSION, *FILE, "pattern", "constant", "active")
WORDS = {"string": "text", "Int64": "numbers", "Float64": "numbers", "boolean": "true or false"}
NUMBERS = {"Int64", "Float64"}


@dataclass(frozen=True)
class Plan:
    """What is to do so that an index holds what a store has."""

    clips: pd.DataFrame  # all that the store can use: index clip_id, columns as they shall stand in the index
    new: list[str]
    changed: list[str]
    left: list[str]

    @property
    def put(self) -> list[str]:
        """Clips to embed, in the store's order."""
        asked = {*self.new, *self.changed}
        return [clip_id for clip_id in self.clips.index if clip_id in asked]


def rows_of(snapshot: Snapshot) -> pd.DataFrame:
    """All clips of an index, those without a stream included: index clip_id, nullable columns."""
    import pyarrow as pa

    counting = []
    for segment in snapshot.segments:
        table = segment.table.arrow
        counting.append(table if segment.live is None else table.filter(pa.array(segment.live)))
    return _rows(counting)


def no_rows() -> pd.DataFrame:
    """The same, of an index without clips."""
    return _rows([])


def _rows(tables: Sequence[pa.Table]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    from index.storage.columns import NEEDED, OPTIONAL, joined

    fields = {**NEEDED, "pattern": pa.string(), **OPTIONAL}
    none = pa.table({name: pa.array([], kind) for name, kind in fields.items()})
    kinds = {
        pa.string(): pd.StringDtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.null(): pd.StringDtype(),
    }
    rows: pd.DataFrame = joined([none, *tables]).to_pandas(types_mapper=kinds.get)
    rows = rows.set_index("clip_id")
    rows.index = rows.index.astype("string").astype(object)
    return rows


def planned(facts: pd.DataFrame, there: pd.DataFrame, metadata: pd.DataFrame | None) -> Plan:
    """Compare.

    Args:
        facts: of the store's clips, see `scripts.index_facts`.
        there: of the index's, see `rows_of`.
        metadata: what is given now, by clip_id.

    Raises:
        InputError: a column of the metadata is numbers here and text there, say.
    """
    import pandas as pd

    both = facts.index.intersection(there.index)
    old, now = there.reindex(facts.index), facts.copy()
    differs = pd.Series(False, index=facts.index)
    differs[both] = ~_same(old.loc[both, VERSION], facts.loc[both, VERSION].astype("string"))
    given = [] if metadata is None else list(metadata.columns)
    for name in dict.fromkeys([*(name for name in there if name not in OWN), *given]):
        merged = _merged(str(name), old.get(name), None if metadata is None else metadata.get(name), facts.index)
        now[name] = merged
        before = old[name] if name in old else pd.Series(pd.NA, index=facts.index, dtype=merged.dtype)
        differs |= ~_same(before, merged)
    is_new = ~facts.index.isin(there.index)
    return Plan(
        now,
        facts.index[is_new].tolist(),
        facts.index[differs.to_numpy() & ~is_new].tolist(),
        there.index.difference(facts.index).tolist(),
    )


def _same(one: pd.Series, other: pd.Series) -> pd.Series:
    """Row by row, where nothing equals nothing."""
    return (one == other).fillna(False).astype(bool) | (one.isna() & other.isna())


def _merged(name: str, old: pd.Series | None, given: pd.Series | None, clips: pd.Index) -> pd.Series:
    """A column: what is given, else what was there."""
    if given is None:
        assert old is not None
        return old
    if old is None or old.isna().all():
        return given.reindex(clips)
    if given.isna().all():
        given = given.astype(old.dtype)
    kinds = {str(old.dtype), str(given.dtype)}
    if len(kinds) > 1 and kinds != NUMBERS:
        raise InputError(
            f"column '{name}' of the metadata is {WORDS[str(given.dtype)]}, and in the index it is "
            f"{WORDS[str(old.dtype)]}; give it another name, or make the index anew with --overwrite"
        )
    if len(kinds) > 1:
        old, given = old.astype("Float64"), given.astype("Float64")
    return old.where(~clips.isin(given.index), given.reindex(clips))
