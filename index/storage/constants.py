"""Constants of clips for an index: what test-time normalisation takes off, of each clip that can be found.

From a file of mee/evaluation/constants_file.py, which must then have one for every such clip; else as the index
has them already, where clips that are new to it have none. One index has constants of one kind, or none at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from mee.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mee.evaluation.constants_file import FileConstants

COLUMNS = ("constant", "active")


@final
@dataclass(frozen=True)
class Constants:
    """Of some clips."""

    facts: Mapping[str, Any]  # what they are: method, bank, parameters
    table: pd.DataFrame  # by clip_id: constant, active

    @classmethod
    def of_file(cls, file: FileConstants, clip_ids: Sequence[str]) -> Constants:
        """Those of a file.

        Raises:
            InputError: a clip has none.
        """
        import pandas as pd

        constant, active = file.of(clip_ids)
        columns = {"constant": constant.astype("float64"), "active": active}
        table = pd.DataFrame(columns, index=list(clip_ids))
        return cls(file.facts.model_dump(mode="json"), table.astype({"constant": "Float64", "active": "boolean"}))

    @classmethod
    def of_index(cls, facts: Mapping[str, Any], rows: pd.DataFrame, clip_ids: Sequence[str]) -> Constants:
        """Those that an index carries.

        Args:
            facts: what they are.
            rows: of the index: constant and active by clip_id.
            clip_ids: clips that need one.

        Raises:
            InputError: a clip has none.
        """
        table = rows.reindex(list(clip_ids))[list(COLUMNS)]
        lacking = table.index[table["constant"].isna()]
        if len(lacking):
            raise InputError(
                f"the index carries constants ({facts.get('method')}), and {len(lacking)} clips have none, "
                f"'{lacking[0]}' among them; give those of all clips with --constants, or take them off "
                "first: mee gallery compact INDEX --drop-constants (mee gallery normalise makes them again)"
            )
        return cls(facts, table)

    def columns(self, clip_ids: Sequence[str]) -> dict[str, pd.Series]:
        """For a table of these clips; nothing where one has none because it has no stream."""
        table = self.table.reindex(list(clip_ids))
        return {name: table[name] for name in COLUMNS}

    def mapping(self, clip_ids: Iterable[str]) -> dict[str, tuple[float, bool]]:
        """Of those clips that have one."""
        table = self.table[self.table.index.isin(list(clip_ids))]
        return dict(zip(table.index, zip(table["constant"].tolist(), table["active"].tolist())))

    def differ_from(self, facts: Mapping[str, Any] | None, rows: pd.DataFrame) -> bool:
        """Whether an index carries others, or none; of those clips that are in it."""
        here = self.table[self.table.index.isin(rows.index)]
        there = rows.loc[here.index, list(COLUMNS)]
        return facts is None or dict(facts) != dict(self.facts) or not here.equals(there.astype(here.dtypes))
